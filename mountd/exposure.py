"""Password file, keytab, keys, sockets: what no share should have in it, and no worker see."""

import contextlib
import itertools
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePath
from queue import Empty, SimpleQueue
from threading import Thread

from usmbd.mountd.config.load import Configuration
from usmbd.mountd.ipc.directory import SECRETS_DIRECTORY

SYSTEM_KEYTAB = "/etc/krb5.keytab"

OUR_NAMES = frozenset({"usmbd", "ksmbd"})
"""A folder so named that is the server's user's is this server's: nobody misses what is in it."""

FOLLOW_SECONDS = 1.0
"""How long the shares' file systems may think about where links lead: six thousand take 0.1 s."""

_DEFAULT_KEYTAB = re.compile(r"^\s*default_keytab_name\s*=\s*(\S+)", re.MULTILINE)
_FILE = re.compile("(?:WR)?FILE:")


def exposed(configuration: Configuration, passwords: Path) -> Iterator[str]:
    """Yield a warning for each that others may read, and for each share that has one in it.

    Their modes keep users out, but not those whom `admin users` or `force user` makes root. The
    share's path is taken as it is written: its file system may hang.
    """
    files = {"the password file": passwords}
    if (keytab := _keytab(configuration)) is not None:
        files["the keytab"] = keytab
    for path in files.values():
        with contextlib.suppress(OSError):
            if path.stat().st_mode & 0o077:
                yield f"{path} is not its owner's alone: what is in it is as good as passwords"
    secrets = {**files, "the state directory": Path(configuration.server.state_directory)}
    for name, folder in _folders(configuration):
        for what, path in secrets.items():
            places = (Path(os.path.abspath(path)), path.resolve())
            if any(place.is_relative_to(folder) for place in places):
                yield f"{what}, {path}, lies in the share {name}, {folder}"
    ours = {os.path.dirname(path): None for path in _secret_files(configuration, passwords)}
    for each in (*_folders_of_secrets(configuration), *ours):
        names = [name for name, folder in _folders(configuration) if folder.is_relative_to(each)]
        if names and _is_ours(each):
            yield f"workers that run already may not see new shares in {each} ({names[0]})"


def hidden(configuration: Configuration, passwords: Path) -> dict[str, list[str]]:
    """Return what workers shall not see: folders, each with the files for which it is hidden.

    A folder is hidden as a whole where it is ours and nothing that workers need is in it, as far
    as that is known; else the file alone is, and `visible` tells it. What is to be hidden is few
    and short: it is part of a message.
    """
    found: dict[str, list[str]] = {}
    needed = _needed(configuration)
    for folder in _folders_of_secrets(configuration):
        if not _is_around(folder, needed):
            found[folder] = []
    for path in _secret_files(configuration, passwords):
        folder = os.path.dirname(path)
        if folder in found:
            found[folder].append(path)
        elif _is_ours(folder) and not _is_around(folder, needed):
            found[folder] = [path]
        else:
            found[path] = []
    return found


def visible(
    configuration: Configuration, passwords: Path, found: Mapping[str, Collection[str]]
) -> Iterator[str]:
    """Yield what is said of secrets that are not hidden from workers with their folders.

    `found` is what `hidden` says of both.
    """
    for path in _secret_files(configuration, passwords):
        if path in found:
            folder = os.path.dirname(path)
            yield (
                f"at most {path} alone is hidden from workers, until it is replaced: "
                f"{folder} is not named usmbd, not the server's user's, or has a share in it"
            )
    for folder in _folders_of_secrets(configuration):
        if folder not in found:
            yield f"{folder} is not hidden from workers: they may need what is in it"


def _folders_of_secrets(configuration: Configuration) -> list[str]:
    """Return where mountd's keys and its registry are."""
    server = configuration.server
    places = map(os.path.realpath, (server.state_directory, server.data_directory))
    return [os.path.join(place, SECRETS_DIRECTORY) for place in places]


def _secret_files(configuration: Configuration, passwords: Path) -> Iterator[str]:
    """Yield where the password file and the keytab are."""
    yield os.path.realpath(passwords)
    if (keytab := _keytab(configuration)) is not None:
        yield os.path.realpath(keytab)


def _keytab(configuration: Configuration) -> Path | None:
    """Return the keytab as it is written; None where there is none, or it is no file."""
    if not configuration.server.kerberos or configuration.kerberos is None:
        return None
    named = configuration.kerberos.keytab or os.environ.get("KRB5_KTNAME") or _system_keytab()
    path = _FILE.sub("", named, count=1)
    return Path(path) if path.startswith("/") else None


def _system_keytab() -> str:
    """Return which keytab the library takes when none is named (krb5.conf(5))."""
    with contextlib.suppress(OSError):
        text = Path(os.environ.get("KRB5_CONFIG", "/etc/krb5.conf")).read_text(errors="replace")
        if found := _DEFAULT_KEYTAB.search(text):
            return found[1]
    return SYSTEM_KEYTAB


def _is_ours(folder: str) -> bool:
    """Tell whether a folder is this server's own."""
    try:
        named = os.path.basename(folder) in {*OUR_NAMES, SECRETS_DIRECTORY}
        return named and os.stat(folder).st_uid == os.geteuid()
    except OSError:
        return False


def _needed(configuration: Configuration) -> set[str] | None:
    """Return the folders that workers need, as written and where links lead.

    None: a file system does not say in time.
    """
    server = configuration.server
    written = {_constant_part(each) for _, each in _folders(configuration)}
    written |= {server.state_directory, server.data_directory}
    found: SimpleQueue[set[str]] = SimpleQueue()

    def follow() -> None:
        found.put({os.path.realpath(each) for each in written})

    Thread(target=follow, daemon=True).start()
    try:
        return written | found.get(timeout=FOLLOW_SECONDS)
    except Empty:
        return None


def _is_around(folder: str, needed: set[str] | None) -> bool:
    """Tell whether a folder is one of the needed ones or has one in it; in doubt it has."""
    return needed is None or any(PurePath(each).is_relative_to(folder) for each in needed)


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
