"""SMB2 QUERY_DIRECTORY ([MS-SMB2] 3.3.5.18)."""

from functools import partial

from usmbd.protocol.commands.apple import describes
from usmbd.protocol.commands.request import Answer, Handling, Request
from usmbd.protocol.effects import Blocking, Sliced
from usmbd.protocol.state.enumeration import Enumeration
from usmbd.protocol.state.sequence import check_charge
from usmbd.protocol.vfs.acl import may_see
from usmbd.protocol.vfs.wildcard import Pattern
from usmbd.protocol.wire.access import FILE_LIST_DIRECTORY
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.fscc.directory import FIXED_SIZES, DirectoryWriter
from usmbd.protocol.wire.fscc.posix import FilePosixInformation
from usmbd.protocol.wire.query_directory import (
    SMB2_INDEX_SPECIFIED,
    SMB2_REOPEN,
    SMB2_RESTART_SCANS,
    SMB2_RETURN_SINGLE_ENTRY,
    QueryDirectoryRequest,
    build_query_directory_response,
    search_pattern,
)
from usmbd.protocol.wire.status import NtStatus, SmbError


def query_directory(request: Request) -> Answer | Handling:
    """Return the next entries of a directory."""
    body = parse_body(QueryDirectoryRequest, request.message)
    connection, open_ = request.connection, request.open
    minimum = FIXED_SIZES.get(body.file_information_class)
    if open_.pipe is not None or not open_.node.is_directory or open_.stream is not None:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if body.file_information_class == FilePosixInformation and not open_.node.volume.options.posix:
        minimum = None
    if minimum is None:
        raise SmbError(NtStatus.INVALID_INFO_CLASS)
    if body.output_buffer_length > connection.max_transact_size:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if connection.supports_multi_credit:
        check_charge(request.header.credit_charge, body.output_buffer_length)
    if body.output_buffer_length < minimum:
        raise SmbError(NtStatus.INFO_LENGTH_MISMATCH)
    text = search_pattern(request.message, body)
    if not text or "\\" in text or "/" in text:
        raise SmbError(NtStatus.OBJECT_NAME_INVALID)
    open_.require(FILE_LIST_DIRECTORY)
    restart = body.flags & (SMB2_REOPEN | SMB2_RESTART_SCANS)
    index = body.file_index if body.flags & SMB2_INDEX_SPECIFIED and not restart else 0
    listing = open_.enumeration
    # It goes on behind the entry that the client says (3.3.5.18): where that is not the last one,
    # the directory is read anew up to there.
    if listing is None or restart or index not in (0, listing.given):
        # A new pattern counts with the restart ([MS-FSA] 2.1.5.6.3).
        if listing is None or restart:
            exact = open_.node.volume.options.case_sensitive
            pattern = Pattern(text, case_sensitive=exact)
        else:
            pattern = listing.pattern
        tree, shows = open_.tree, None
        if tree.share.acl_xattr and tree.share.hide_unreadable:
            shows = partial(may_see, tree.identity)
        if listing is not None:
            listing.end()
            open_.enumeration = None  # where there is no room for the next, nobody goes on with it
        # FirstQuery; who reopens the directory has asked nothing yet ([MS-SMB2] 3.3.5.18).
        again = listing is not None and not body.flags & SMB2_REOPEN
        listing = Enumeration(
            open_.node, pattern, shows, describes(request), index, open_.place, again=again
        )
        open_.enumeration = listing
    return _list(request, listing, body)


def _list(request: Request, enumeration: Enumeration, body: QueryDirectoryRequest) -> Handling:
    """Fill a buffer with entries."""
    open_ = request.open
    apple = open_.tree.lists_finder_info
    writer = DirectoryWriter(body.file_information_class, body.output_buffer_length, apple=apple)
    single = bool(body.flags & SMB2_RETURN_SINGLE_ENTRY)
    open_.in_use += 1  # a CLOSE does not overtake
    try:
        yield from enumeration.take()
        try:
            if open_.tree.closed:  # meanwhile
                raise SmbError(NtStatus.FILE_CLOSED)
            if not enumeration.started and open_.node.volume.options.lists_short_names:
                yield Blocking(open_.node.know_short_names)
            yield Sliced(enumeration.fill, writer, single)
        finally:
            enumeration.leave(request.connection)
    finally:
        open_.release()
    return list(build_query_directory_response(writer.finish()))
