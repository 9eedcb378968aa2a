"""What macOS asks for by its create context AAPL, and what listings then tell it.

As Samba's vfs_fruit answers, on shares that have it. FLUSH with Reserved1 0xFFFF (F_FULLFSYNC)
needs nothing of its own: every FLUSH is an fsync(2), which has the disk write its cache.
"""

import os
from contextlib import suppress
from functools import partial

from usmbd.protocol.commands import security
from usmbd.protocol.commands.request import Request
from usmbd.protocol.state.session import SessionState
from usmbd.protocol.state.store.records import file_key
from usmbd.protocol.vfs import apple, apple_convert, kernel
from usmbd.protocol.vfs.apple_fork import AFP_RESOURCE
from usmbd.protocol.vfs.base import VolumeBase
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.pace import LongCallError
from usmbd.protocol.vfs.scan import Describes
from usmbd.protocol.wire.access import FILE_ALL_ACCESS, FILE_WRITE_DATA, FILE_WRITE_EA
from usmbd.protocol.wire.create_contexts import Contexts
from usmbd.protocol.wire.create_contexts_aapl import (
    AAPL_CASE_SENSITIVE,
    AAPL_SERVER_CAPS,
    AAPL_SUPPORTS_FULL_SYNC,
    AAPL_SUPPORTS_NFS_ACE,
    AAPL_SUPPORTS_OSX_COPYFILE,
    AAPL_SUPPORTS_READ_DIR_ATTR,
    AAPL_UNIX_BASED,
    SMB2_CREATE_AAPL,
    parse_server_query,
    server_query_response,
)
from usmbd.protocol.wire.fscc.directory import AppleEntry
from usmbd.protocol.wire.status import NtStatus, SmbError


def answer_aapl(request: Request, contexts: Contexts) -> tuple[bytes, bytes] | None:
    """Tell macOS what the server and the share can, and remember that it has asked.

    None where the share has nothing for it. SmbError(INVALID_PARAMETER) for a command that Samba
    does not know either: kAAPL_RESOLVE_ID wants the path of an inode, which no file system tells.
    """
    tree = request.tree
    fruit = tree.share.fruit
    if fruit is None or not fruit.aapl or SMB2_CREATE_AAPL not in contexts:
        return None
    query = parse_server_query(contexts[SMB2_CREATE_AAPL])
    if query is None:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    tree.aapl = True
    tree.zero_file_ids = fruit.zero_file_id
    tree.nfs_aces = fruit.nfs_aces
    tree.posix_renames = fruit.posix_rename
    server, volume = AAPL_UNIX_BASED, 0
    if query.request_bitmap & AAPL_SERVER_CAPS:
        if query.client_capabilities & AAPL_SUPPORTS_READ_DIR_ATTR:
            server |= AAPL_SUPPORTS_READ_DIR_ATTR
            tree.lists_finder_info = True
        if fruit.copyfile:
            server |= AAPL_SUPPORTS_OSX_COPYFILE
            tree.copies_files = True
        if fruit.nfs_aces:
            server |= AAPL_SUPPORTS_NFS_ACE
    if tree.share.case_sensitive:
        volume |= AAPL_CASE_SENSITIVE
    if fruit.time_machine:
        volume |= AAPL_SUPPORTS_FULL_SYNC
    return server_query_response(query, server, volume, fruit.model)


def convert(request: Request, node: Node) -> None:
    """Make streams of what macOS has put into `._NAME`, where the user may write the file."""
    apple_convert.convert(node, apple.new_finder_info, partial(_may_convert, request, node))


def _may_convert(request: Request, node: Node) -> bool:
    """Whether the user may write the streams of a file whose fork nobody has open.

    Both the kernel and what is stored have to say so: nothing of a conversion is privileged.
    """
    tree, needed, stat = request.tree, FILE_WRITE_DATA | FILE_WRITE_EA, node.last_stat
    if not tree.writable or request.session.state is SessionState.SUSPENDED:
        return False
    if not kernel.access(node.fd, os.W_OK):
        return False
    if needed & ~(security.maximal_access(request, node, needed) & tree.maximal_access):
        return False
    exact = node.volume.options.case_sensitive
    fork = file_key(stat.dev, stat.ino, AFP_RESOURCE, exact=exact)
    return not request.connection.server.store.count_opens(fork)


def describes(request: Request) -> Describes | None:
    """Return what tells macOS of a listing's files, if it has asked for that."""
    return partial(_describe, request) if request.tree.lists_finder_info else None


def _describe(request: Request, volume: VolumeBase, fd: int, path: str) -> bytes:
    """Return what a listing tells of one file; takes over `fd`; OSError."""
    tree = request.tree
    with Node(volume, fd, path, False, False) as node:
        stat = node.last_stat
        fruit = tree.share.fruit
        assert fruit is not None
        maximal = FILE_ALL_ACCESS
        if fruit.aapl_max_access:
            maximal = security.maximal_access(request, node, FILE_ALL_ACCESS)
        with suppress(LongCallError):  # when it is asked for by itself, a thread does it
            convert(request, node)
        size, finder = apple.listed(node)
        return AppleEntry(
            maximal_access=maximal & tree.maximal_access,
            resource_size=size if fruit.aapl_rsize else 0,
            finder_info=finder if fruit.aapl_finder_info else bytes(16),
            mode=stat.mode & 0xFFFF,
            file_id=0 if tree.zero_file_ids else stat.ino,
        ).pack()
