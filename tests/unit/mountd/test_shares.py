"""Who may connect to which share, in which role."""

import msgspec
import pytest
from mountd_helpers import FakeAccounts, configuration, tree

from usmbd.mountd.hosts import parse_hosts
from usmbd.mountd.identity import Account, Accounts
from usmbd.mountd.ipc.messages import TreeConnectResponse, TreeStatus
from usmbd.mountd.ipc.settings import ServerConfig, ShareConfig, ShareType
from usmbd.mountd.shares import NO_RESTRICTION, HostAccess, Share, ShareAccess, decide

IPC = Share(ShareConfig(name="IPC$", type=ShareType.PIPE, guest_ok=True))


def connect(
    access: ShareAccess | None = None,
    *,
    user: str = "alice",
    restrict_anonymous: int = 0,
    share: Share | None = None,
    hosts: HostAccess = NO_RESTRICTION,
    as_whom: str = "",
    other_addresses: tuple[str, ...] = (),
    **config: object,
) -> TreeConnectResponse:
    share = share or Share(
        ShareConfig(name="data", path="/srv", **config),  # type: ignore[arg-type]
        access or ShareAccess(),
    )
    request = tree("data", user, guest=as_whom == "guest", anonymous=as_whom == "anonymous")
    request = msgspec.structs.replace(request, other_addresses=list(other_addresses))
    server = ServerConfig(restrict_anonymous=restrict_anonymous)
    return decide(request, share, server, hosts, FakeAccounts())


def test_a_user_gets_his_own_ids_not_those_of_the_request() -> None:
    answer = connect()
    assert (answer.status, answer.uid, answer.gid) == (TreeStatus.OK, 1001, 101)
    assert answer.groups == [101, 500]
    assert (answer.writable, answer.admin, answer.guest) == (False, False, False)


@pytest.mark.parametrize(
    ("access", "user", "status"),
    [
        (ShareAccess(valid_users=("ALICE",)), "alice", TreeStatus.OK),
        (ShareAccess(valid_users=("@staff",)), "alice", TreeStatus.OK),
        (ShareAccess(valid_users=("@staff",)), "bob", TreeStatus.INVALID_USER),
        (ShareAccess(valid_users=("alice",), write_list=("bob",)), "bob", TreeStatus.INVALID_USER),
        (ShareAccess(invalid_users=("@staff",)), "alice", TreeStatus.INVALID_USER),
        (
            ShareAccess(invalid_users=("alice",), valid_users=("alice",), admin_users=("alice",)),
            "alice",
            TreeStatus.INVALID_USER,
        ),
        (ShareAccess(), "ghost", TreeStatus.NO_USER),
        (ShareAccess(valid_users=("@nogroup-at-all",)), "alice", TreeStatus.INVALID_USER),
    ],
)
def test_the_lists_of_users(access: ShareAccess, user: str, status: TreeStatus) -> None:
    assert connect(access, user=user).status is status


@pytest.mark.parametrize(
    ("read_only", "access", "writable"),
    [
        (False, ShareAccess(), True),
        (True, ShareAccess(write_list=("alice",)), True),
        (False, ShareAccess(read_list=("alice",)), False),
        (False, ShareAccess(read_list=("alice",), write_list=("alice",)), False),
        (True, ShareAccess(admin_users=("alice",)), False),
    ],
)
def test_who_may_write(read_only: bool, access: ShareAccess, writable: bool) -> None:
    assert connect(access, read_only=read_only).writable is writable


def test_admins_are_root_and_force_user_is_he() -> None:
    admin = connect(ShareAccess(admin_users=("@staff",)))
    assert (admin.admin, admin.uid, admin.groups) == (True, 0, [0])
    forced = ShareAccess(force_user="bob", force_account=Account("bob", 1002, 102, (102,)))
    answer = connect(forced, user="ghost", force_gid=77)
    assert (answer.status, answer.uid, answer.gid) == (TreeStatus.OK, 1002, 77)
    assert answer.groups == [77, 102]


@pytest.mark.parametrize(
    ("share", "as_whom", "restrict", "status"),
    [
        ("closed", "guest", 0, TreeStatus.INVALID_USER),
        ("closed", "anonymous", 0, TreeStatus.INVALID_USER),
        ("open", "guest", 2, TreeStatus.OK),
        ("open", "anonymous", 2, TreeStatus.OK),
        ("ipc", "anonymous", 1, TreeStatus.OK),
        ("ipc", "anonymous", 2, TreeStatus.INVALID_USER),
        ("ipc", "guest", 2, TreeStatus.OK),
    ],
)
def test_guests_and_null_sessions(
    share: str, as_whom: str, restrict: int, status: TreeStatus
) -> None:
    answer = connect(
        user="",
        share=IPC if share == "ipc" else None,
        as_whom=as_whom,
        restrict_anonymous=restrict,
        guest_ok=share == "open",
    )
    assert answer.status is status
    if status is TreeStatus.OK:
        assert (answer.guest, answer.uid) == (True, 65534)


def test_a_guest_is_never_an_admin() -> None:
    access = ShareAccess(guest_account="alice", admin_users=("alice",))
    answer = connect(access, as_whom="guest", guest_ok=True)
    assert (answer.admin, answer.uid) == (False, 1001)


def test_hosts_are_asked_first_and_both_lists_count() -> None:
    elsewhere = HostAccess(parse_hosts(["10."]))
    here = HostAccess(parse_hosts(["192.0.2."]))
    assert connect(hosts=elsewhere).status is TreeStatus.HOST_DENIED
    assert connect(ShareAccess(hosts=elsewhere), hosts=here).status is TreeStatus.HOST_DENIED
    assert connect(ShareAccess(hosts=here), hosts=here).status is TreeStatus.OK


def test_the_addresses_of_all_channels_count() -> None:
    here = HostAccess(parse_hosts(["192.0.2."]))
    for others, status in (
        (("192.0.2.7", "192.0.2.8"), TreeStatus.OK),
        (("192.0.2.7", "198.51.100.1"), TreeStatus.HOST_DENIED),
    ):
        assert connect(hosts=here, other_addresses=others).status is status
        assert connect(ShareAccess(hosts=here), other_addresses=others).status is status


def test_no_share() -> None:
    answer = decide(tree("x"), None, ServerConfig(), NO_RESTRICTION, FakeAccounts())
    assert answer.status is TreeStatus.NO_SHARE


@pytest.mark.parametrize(
    ("line", "as_whom", "expected"),
    [
        ("admin users = alice", "", (TreeStatus.OK, 0)),
        ("admin users = bob", "", (TreeStatus.OK, 1001)),
        ("guest account = alice", "guest", (TreeStatus.OK, 1001)),
        ("guest account = bob", "guest", (TreeStatus.OK, 1002)),
        ("hosts allow = 10.", "", (TreeStatus.HOST_DENIED, 0)),
        ("hosts allow = 192.0.2.", "", (TreeStatus.OK, 1001)),
    ],
)
def test_what_lines_of_a_file_say(
    monkeypatch: pytest.MonkeyPatch, line: str, as_whom: str, expected: tuple[TreeStatus, int]
) -> None:
    monkeypatch.setattr(Accounts, "uid", FakeAccounts().uid)
    share = configuration(f"[data]\npath = /tmp\nguest ok = yes\n{line}").find_share("data")
    answer = connect(share=share, as_whom=as_whom)
    assert (answer.status, answer.uid) == expected
