"""What no share should have in it: the password file, and the state directory with keys."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePath

from usmbd.mountd.config.load import Configuration


def exposed(configuration: Configuration, passwords: Path) -> Iterator[str]:
    """Yield a warning for each share whose folder has one of them in it.

    Their modes keep users out, but not those whom `admin users` or `force user` makes root. The
    share's path is taken as it is written: its file system may hang.
    """
    with contextlib.suppress(OSError):
        if passwords.stat().st_mode & 0o077:
            yield f"{passwords} is not its owner's alone: what is in it is as good as passwords"
    secrets = {
        "the password file": passwords,
        "the state directory": Path(configuration.server.state_directory),
    }
    for share in configuration.shares.values():
        folder = PurePath(os.path.normpath(share.config.path or ""))
        if not folder.is_absolute() or share.config.msdfs_proxy:
            continue
        for what, path in secrets.items():
            places = (Path(os.path.abspath(path)), path.resolve())
            if any(place.is_relative_to(folder) for place in places):
                yield f"{what}, {path}, lies in the share {share.config.name}, {folder}"
