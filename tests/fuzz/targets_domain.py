"""Targets of what a domain brings: referrals of DFS, and what a ticket says of a user."""

import atexit
import os
import struct
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from smbengine import requests
from smbengine.client import Client
from smbengine.configured import Configured
from targets import Deaf, target

from usmbd.mountd.kerberos.pac import MAX_SIDS, parse_logon_info
from usmbd.protocol.wire import dfs, fsctl
from usmbd.protocol.wire.header import RELATED_ID, Command
from usmbd.protocol.wire.ioctl import IoctlResponse
from usmbd.protocol.wire.status import SmbError

LIMIT = 4096
"""Bytes of an answer that the client has room for."""

ROOT = """[global]
netbios name = NAS
dfs sites = here=192.0.2.0/24,fs1 there=198.51.100.0/24,fs2
[root]
path = {path}/root
msdfs root = yes
[away]
msdfs proxy = \\fs9\\all,/fs8/all
"""


@target
def referral(data: bytes) -> None:
    """Ask where a path is served ([MS-DFSC] 2.2.2, 2.2.3), in the form that the first byte says."""
    extended, question = data[:1] > b"\x7f", data[1:]
    parse = dfs.parse_request_ex if extended else dfs.parse_request
    with suppress(SmbError):
        parse(memoryview(question))
    code = fsctl.FSCTL_DFS_GET_REFERRALS_EX if extended else fsctl.FSCTL_DFS_GET_REFERRALS
    client = _client()
    client.credits = max(client.credits, 16)
    every = RELATED_ID, RELATED_ID
    reply = client.call(Command.IOCTL, requests.ioctl(every, code, question, LIMIT))
    client.replies.clear()
    if reply.status:
        return
    answer = reply.parse(IoctlResponse)
    told = reply.message[answer.output_offset :][: answer.output_count]
    consumed, count, _ = struct.unpack_from("<HHI", told)
    assert consumed <= len(question)  # it is of the path that was asked for
    assert len(told) <= LIMIT
    at = dfs.ReferralResponse.SIZE
    for _ in range(count):  # each says how long it is
        _, size = struct.unpack_from("<HH", told, at)
        assert size >= dfs.ReferralV1.SIZE
        at += size
    assert at <= len(told)


def _client() -> Client:
    """Return the user of this process, at the pipes of a server that has roots."""
    if not _clients or _clients[0].transport.closed:
        _clients[:] = [Deaf(_engine()).ready(share="IPC$")]
    return _clients[0]


_clients: list[Client] = []


@cache
def _engine() -> Configured:
    """Make one server for all inputs of the process."""
    folder = tempfile.TemporaryDirectory(prefix="usmbd-fuzz-")
    atexit.register(folder.cleanup)
    root = Path(folder.name) / "root"
    (root / "folder").mkdir(parents=True)
    os.symlink("msdfs:fs1\\a,fs2\\b\\c", root / "link")
    os.symlink("msdfs:NAS\\root", root / "folder" / "within")
    return Configured(Path(folder.name), ROOT)


@target
def pac(data: bytes) -> None:
    """Read what a domain says of a user ([MS-PAC] 2.5)."""
    with suppress(ValueError):
        found = parse_logon_info(data)
        assert len(found.groups) <= MAX_SIDS
        assert all(each.startswith("S-1-") for each in (found.user, *found.groups))
