"""SMB2 FLUSH ([MS-SMB2] 3.3.5.11)."""

from usmbd.protocol.commands.data_change import flushing
from usmbd.protocol.commands.request import Handling, Request
from usmbd.protocol.wire.access import (
    FILE_ADD_FILE,
    FILE_ADD_SUBDIRECTORY,
    FILE_APPEND_DATA,
    FILE_WRITE_DATA,
)
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.flush import FlushRequest, FlushResponse

_RESPONSE = FlushResponse().pack()
_WRITE = FILE_WRITE_DATA | FILE_APPEND_DATA | FILE_ADD_FILE | FILE_ADD_SUBDIRECTORY


def flush(request: Request) -> Handling:
    """Put the file's data on stable storage."""
    parse_body(FlushRequest, request.message)
    open_ = request.open
    if open_.data is not None:
        open_.require(_WRITE)
        yield flushing(open_)
    return _RESPONSE
