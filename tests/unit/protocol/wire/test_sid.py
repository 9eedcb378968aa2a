"""The well-known SIDs, as [MS-DTYP] 2.4.2.4 writes them."""

import pytest

from usmbd.protocol.wire import sid
from usmbd.protocol.wire.sid import Sid


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (sid.EVERYONE, "S-1-1-0"),
        (sid.CREATOR_OWNER, "S-1-3-0"),
        (sid.CREATOR_GROUP, "S-1-3-1"),
        (sid.OWNER_RIGHTS, "S-1-3-4"),
        (sid.NETWORK, "S-1-5-2"),
        (sid.ANONYMOUS, "S-1-5-7"),
        (sid.AUTHENTICATED_USERS, "S-1-5-11"),
        (sid.LOCAL_SYSTEM, "S-1-5-18"),
        (sid.BUILTIN_ADMINISTRATORS, "S-1-5-32-544"),
        (sid.BUILTIN_USERS, "S-1-5-32-545"),
        (sid.BUILTIN_GUESTS, "S-1-5-32-546"),
        (sid.unix_user(1000), "S-1-22-1-1000"),
        (sid.unix_group(100), "S-1-22-2-100"),
    ],
)
def test_well_known(found: Sid, text: str) -> None:
    authority, *rest = map(int, text.split("-")[2:])
    assert found == Sid(authority, tuple(rest))
    assert str(found) == text
