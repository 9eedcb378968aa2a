"""What a share's security descriptor lets a user do ([MS-SRVS] 3.1.6.8, [MS-SMB2] 3.3.5.7)."""

from collections.abc import Callable, Collection

from usmbd.mountd.admin.descriptors import ADMINISTRATORS, parse
from usmbd.mountd.ipc.messages import TreeConnectRequest, TreeConnectResponse, TreeStatus

GENERIC_ALL, GENERIC_WRITE, GENERIC_READ = 0x10000000, 0x40000000, 0x80000000

READ = 0x00000001 | GENERIC_READ | GENERIC_ALL
"""FILE_READ_DATA."""

WRITE = 0x00000002 | GENERIC_WRITE | GENERIC_ALL
"""FILE_WRITE_DATA: with it all that the files allow, without it reading."""


def limit(
    response: TreeConnectResponse, descriptor: bytes, sids: Collection[str]
) -> TreeConnectResponse:
    """Return a tree connect's answer with no more rights than the descriptor gives.

    Of the rights there are three kinds, as in Windows' dialog: none, reading, and writing.
    """
    granted = parse(descriptor).granted(sids)
    if not granted & (READ | WRITE):
        return TreeConnectResponse(TreeStatus.INVALID_USER)
    if not granted & WRITE:
        response.writable = False
    return response


def audits(
    response: TreeConnectResponse,
    holders: Collection[str],
    sids_of: Callable[[TreeConnectRequest], Collection[str]],
    request: TreeConnectRequest,
) -> bool:
    """Tell whether a tree connect's user holds a right: as an administrator, or one of `holders`.

    `sids_of` tells whom he is, where it comes to that.
    """
    if response.uid == 0 and ADMINISTRATORS in holders:
        return True
    others = {each for each in holders if each != ADMINISTRATORS}
    return bool(others) and not others.isdisjoint(sids_of(request))
