"""A directory by the stream of its entries: `dir::$INDEX_ALLOCATION` ([MS-FSCC] 2.1.4)."""

from usmbd.protocol.commands.create_wanted import TRUNCATES
from usmbd.protocol.vfs.names import without_index
from usmbd.protocol.wire.create import FILE_DIRECTORY_FILE, FILE_NON_DIRECTORY_FILE, CreateRequest
from usmbd.protocol.wire.status import NtStatus, SmbError


def as_directory(body: CreateRequest, name: str) -> str:
    """Return the name of what a CREATE opens: of a directory also by the stream of its entries."""
    directory = without_index(name)
    if directory is None:
        return name
    if body.create_options & FILE_NON_DIRECTORY_FILE:
        raise SmbError(NtStatus.FILE_IS_A_DIRECTORY)
    if body.create_disposition in TRUNCATES:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    body.create_options |= FILE_DIRECTORY_FILE
    return directory
