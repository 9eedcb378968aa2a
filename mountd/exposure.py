"""The password file, keys and sockets: what no share should have in it, and no worker see."""

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path, PurePath

from usmbd.mountd.config.load import Configuration
from usmbd.mountd.ipc.directory import SECRETS_DIRECTORY

SYSTEM_KEYTAB = "/etc/krb5.keytab"

TOO_MUCH = frozenset(
    {"/", "/etc", "/home", "/lib", "/opt", "/proc", "/run", "/srv", "/tmp", "/usr", "/var"}
)
"""Folders in which too much else lies that workers need."""


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
    if os.path.dirname(os.path.realpath(passwords)) in TOO_MUCH:
        yield f"{passwords} cannot be hidden from workers that are taken over: give it a folder"
    for name, folder in _folders(configuration):
        for what, path in secrets.items():
            places = (Path(os.path.abspath(path)), path.resolve())
            if any(place.is_relative_to(folder) for place in places):
                yield f"{what}, {path}, lies in the share {name}, {folder}"


def hidden(configuration: Configuration, passwords: Path) -> dict[str, list[str]]:
    """Return the folders that workers shall not see, each with what they shall see in it.

    A folder that is a share cannot be hidden; one in a share is empty to its users. Of a keytab in
    a folder that workers need the file alone is hidden: the library writes it in place.
    """
    server = configuration.server
    state = os.path.realpath(server.state_directory)
    data = os.path.realpath(server.data_directory)
    shares = {_constant_part(folder) for _, folder in _folders(configuration)}
    seen = shares | {state, data}
    secrets = {os.path.join(each, SECRETS_DIRECTORY) for each in (state, data)}
    secrets.add(os.path.dirname(os.path.realpath(passwords)))
    if server.kerberos and configuration.kerberos is not None:
        named = configuration.kerberos.keytab.removeprefix("FILE:") or SYSTEM_KEYTAB
        keytab = os.path.realpath(named)
        folder = os.path.dirname(keytab)
        secrets.add(keytab if folder in TOO_MUCH | shares else folder)
    return {
        folder: sorted(each for each in seen if PurePath(each).is_relative_to(folder))
        for folder in secrets - shares - TOO_MUCH
    }


def _constant_part(folder: PurePath) -> str:
    """Return a share's folder up to what differs by user or client (`/srv` of `/srv/%U`)."""
    parts = itertools.takewhile(lambda part: "%" not in part, folder.parts)
    return str(PurePath(*parts))


def _folders(configuration: Configuration) -> Iterator[tuple[str, PurePath]]:
    """Yield the name and the folder of each share that has one that can be told."""
    for share in configuration.shares.values():
        folder = PurePath(os.path.normpath(share.config.path or ""))
        if folder.is_absolute() and not share.config.msdfs_proxy:
            yield share.config.name, folder
