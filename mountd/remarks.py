"""What has to be known of files that are right: for the log, and for whoever checks them."""

from collections.abc import Iterator
from pathlib import Path

from usmbd.mountd.config.load import Configuration
from usmbd.mountd.exposure import exposed
from usmbd.mountd.ipc.settings import MapToGuest, ShareType
from usmbd.mountd.users import UserTable


def remarks(
    configuration: Configuration | None, passwords: Path, users: UserTable | None
) -> Iterator[str]:
    """Yield the warnings; None: that file cannot be read, which is told as an error."""
    if configuration is not None:
        yield from configuration.warnings
        yield from exposed(configuration, passwords)
    if users is not None and not users.hashes and not _others_come(configuration):
        if passwords.exists():
            yield f"{passwords} has no users: nobody can log in until usmbd.adduser has added one"
        else:
            note = "there is no such file: nobody can log in until usmbd.adduser has made it"
            yield f"{passwords}: {note}"


def _others_come(configuration: Configuration | None) -> bool:
    """Tell whether a server without users of its own may be meant: for tickets, or for guests."""
    if configuration is None:
        return False
    if configuration.server.kerberos:
        return True
    shares = (share.config for share in configuration.shares.values())
    guests = any(share.guest_ok and share.type is ShareType.DISK for share in shares)
    return guests and configuration.server.map_to_guest is not MapToGuest.NEVER
