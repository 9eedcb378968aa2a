"""DFS: what is told of roots and links, referrals, and paths that are served elsewhere."""

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from smbengine import requests
from smbengine.client import Client, Reply
from smbengine.configured import Configured

from usmbd.mountd.ipc.dfs import parse_link
from usmbd.mountd.ipc.settings import DfsSite
from usmbd.protocol.commands import dfs
from usmbd.protocol.wire.create import FILE_OPEN, FILE_OPEN_REPARSE_POINT
from usmbd.protocol.wire.fsctl import FSCTL_DFS_GET_REFERRALS, FSCTL_DFS_GET_REFERRALS_EX
from usmbd.protocol.wire.header import RELATED_ID, SMB2_FLAGS_DFS_OPERATIONS, Command
from usmbd.protocol.wire.ioctl import IoctlResponse
from usmbd.protocol.wire.negotiate import SMB2_GLOBAL_CAP_DFS, NegotiateResponse
from usmbd.protocol.wire.status import NtStatus
from usmbd.protocol.wire.tree_connect import TreeConnectResponse

SUCCESS, NOT_FOUND, NOT_COVERED = NtStatus.SUCCESS, NtStatus.NOT_FOUND, NtStatus.PATH_NOT_COVERED
R, S, T = 1, 2, 4

SHARES = """[root]
path = {path}/root
msdfs root = yes
read only = no
[away]
msdfs proxy = \\fs9\\all,/fs8/all
[plain]
path = {path}/root
[closed]
path = {path}/root
msdfs root = yes
valid users = bob
"""

Serve = Callable[..., Configured]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return what serves a root with links."""
    made: list[Configured] = []

    def start(server: str = "", shares: str = SHARES) -> Configured:
        path = tmp_path / str(len(made))
        (path / "root/folder/inner").mkdir(parents=True)
        (path / "root/file").write_text("here")
        for name, text in {
            "link": "msdfs:fs1\\a,fs2\\b\\c",
            "folder/deep": "msdfs:/fs3/d",
            "other": "folder",
            "within": "msdfs:USMBDHERE\\root",
            "bad": "msdfs:nothing",
        }.items():
            os.symlink(text, path / "root" / name)
        made.append(Configured(path, f"[global]\nnetbios name = USMBDHERE\n{server}\n{shares}"))
        return made[-1]

    yield start
    for engine in made:
        engine.close()


def asks(
    client: Client, path: str, level: int = 4, *, site: str | None = None, limit: int = 8192
) -> Reply:
    """Ask for a referral by IPC$."""
    name = path.encode("utf-16-le")
    code, data = FSCTL_DFS_GET_REFERRALS, struct.pack("<H", level) + name + b"\0\0"
    if site is not None:
        wide = site.encode("utf-16-le")
        body = struct.pack("<H", len(name)) + name + struct.pack("<H", len(wide)) + wide
        code, data = FSCTL_DFS_GET_REFERRALS_EX, struct.pack("<HHI", level, 1, len(body)) + body
    every = (RELATED_ID, RELATED_ID)
    return client.call(Command.IOCTL, requests.ioctl(every, code, data, limit))


def referral(reply: Reply) -> tuple[str, list[str], int, list[bool]]:
    """Return the part of the path that counts, the targets, the header's flags, the boundaries."""
    assert reply.status is SUCCESS
    response = reply.parse(IoctlResponse)
    data = reply.message[response.output_offset :][: response.output_count]
    consumed, count, flags = struct.unpack_from("<HHI", data)
    targets, boundaries, path = [], [], ""
    for index in range(count):
        start = 8 + 34 * index
        _, size, kind, entry, _, of_path, _, address = struct.unpack_from("<4HI3H", data, start)
        assert (size, kind) == (34, 1 if flags == R | S else 0)
        path = data[start + of_path :].decode("utf-16-le").partition("\0")[0]
        targets.append(data[start + address :].decode("utf-16-le").partition("\0")[0])
        boundaries.append(bool(entry & 4))
    assert consumed == 2 * len(path)
    return path, targets, flags, boundaries


def ready(engine: Configured, share: str = "IPC$") -> Client:
    return Client(engine).ready(share=share)


def test_links_as_samba_keeps_them() -> None:
    assert parse_link("msdfs:a\\b,/c/d/e, \\f\\g") == ["\\a\\b", "\\c\\d\\e", "\\f\\g"]
    for text in ("a\\b", "msdfs:", "msdfs:a", "MSDFS:a\\b", "msdfs:,\\,"):
        assert parse_link(text) == []
    assert len(parse_link("msdfs:" + ",".join(["a\\b"] * 500))) == 64


def test_it_is_told_only_where_it_is_true(serve: Serve) -> None:
    def told(engine: Configured, share: str) -> tuple[int, int, int]:
        client = Client(engine)
        capabilities = client.negotiate().parse(NegotiateResponse).capabilities
        client.login()
        tree = client.connect(share).parse(TreeConnectResponse)
        return capabilities & SMB2_GLOBAL_CAP_DFS, tree.share_flags & 3, tree.capabilities & 8

    engine = serve()
    assert told(engine, "root") == told(engine, "away") == (1, 3, 8)
    assert told(engine, "plain") == told(engine, "IPC$") == (1, 0, 0)
    assert told(serve("host msdfs = no"), "root") == (0, 0, 0)
    plain = "[plain]\npath = {path}/root\n"
    assert told(serve(shares=plain), "plain") == (0, 0, 0)


@pytest.mark.parametrize(
    ("path", "consumed"),
    [
        ("\\s\\root\\link\\x", "\\s\\root\\link"),
        ("s\\root\\link\\x", "s\\root\\link"),
        ("\\\\s\\root\\\\link\\\\x", "\\\\s\\root\\\\link"),
        ("/s/root/link/x", "/s/root/link"),
        ("\\s\\root\\", "\\s\\root"),
    ],
)
def test_what_is_consumed_is_the_client_s_own_spelling(
    serve: Serve, path: str, consumed: str
) -> None:
    """[MS-DFSC] 2.2.3: bytes of the request's path, behind which the client goes on."""
    reply = asks(ready(serve()), path)
    response = reply.parse(IoctlResponse)
    (size,) = struct.unpack_from("<H", reply.message, response.output_offset)
    assert size == 2 * len(consumed)


@pytest.mark.parametrize(
    ("path", "consumed", "targets", "flags"),
    [
        ("\\s\\root", "\\s\\root", ["\\s\\root"], R | S),
        ("\\s\\root\\link", "\\s\\root\\link", ["\\fs1\\a", "\\fs2\\b\\c"], S),
        ("\\s\\ROOT\\LINK\\x\\y", "\\s\\ROOT\\LINK", ["\\fs1\\a", "\\fs2\\b\\c"], S),
        ("\\s\\root\\folder\\deep\\x", "\\s\\root\\folder\\deep", ["\\fs3\\d"], S),
        ("\\s\\root\\within", "\\s\\root\\within", ["\\USMBDHERE\\root"], R),
        ("\\s\\away", "\\s\\away", ["\\fs9\\all", "\\fs8\\all"], S),
        ("\\s\\away\\x", "\\s\\away", ["\\fs9\\all", "\\fs8\\all"], S),
    ],
)
def test_referrals(serve: Serve, path: str, consumed: str, targets: list[str], flags: int) -> None:
    client = ready(serve())
    assert referral(asks(client, path))[:3] == (consumed, targets, flags)
    assert referral(asks(client, path, site=""))[:3] == (consumed, targets, flags)
    for level in (1, 2, 3, 9):
        assert asks(client, path, level).status is SUCCESS


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("", NOT_FOUND),
        ("\\domain", NOT_FOUND),
        ("\\s\\none", NOT_FOUND),
        ("\\s\\plain\\link", NOT_FOUND),
        ("\\s\\closed\\link", NOT_FOUND),
        ("\\s\\root\\folder", NOT_FOUND),
        ("\\s\\root\\none\\link", NOT_FOUND),
        ("\\s\\root\\bad", NOT_FOUND),
        ("\\s\\root\\..\\link", NtStatus.INVALID_PARAMETER),
        ("\\s\\root\\" + "x" * 5000, NtStatus.INVALID_PARAMETER),
    ],
)
def test_what_has_no_referral(serve: Serve, path: str, status: NtStatus) -> None:
    engine = serve()
    client = ready(engine)
    assert asks(client, path).status is status
    assert not engine._service.trees.count("root")  # it was no tree connect


def test_bad_requests(serve: Serve) -> None:
    client = ready(serve())
    assert asks(client, "\\s\\root\\link", 0).status is NtStatus.INVALID_PARAMETER
    assert asks(client, "\\s\\root\\link", limit=40).status is NtStatus.BUFFER_OVERFLOW
    every = (RELATED_ID, RELATED_ID)
    for code in (FSCTL_DFS_GET_REFERRALS, FSCTL_DFS_GET_REFERRALS_EX):
        reply = client.call(Command.IOCTL, requests.ioctl(every, code, b"\4"))
        assert reply.status is NtStatus.INVALID_PARAMETER
    assert asks(ready(serve("host msdfs = no")), "\\s\\root\\link").status is NOT_FOUND


def test_a_user_s_rights_count(serve: Serve) -> None:
    client = Client(serve())
    client.negotiate()
    client.login("bob", "hidden")
    client.connect("IPC$")
    assert asks(client, "\\s\\closed\\link").status is SUCCESS


def test_an_address_is_in_a_site() -> None:
    sites = [DfsSite("Here", ["192.0.2.0/24", "2001:db8::/32"], []), DfsSite("x", [], ["fs"])]
    for peer, site in (
        ("192.0.2.7", "here"),
        ("2001:db8::1%eth0", "here"),
        ("198.51.100.1", ""),
        ("", ""),
    ):
        assert dfs._site_of_client(sites, peer) == site


def test_the_nearest_come_first(serve: Serve) -> None:
    sites = "dfs sites = here=192.0.2.0/24,fs2 there=198.51.100.0/24,fs1"
    client = ready(serve(sites))
    path = "\\s\\root\\link"
    both = ["\\fs1\\a", "\\fs2\\b\\c"]
    for site, targets, flags in (
        ("HERE", both[::-1], S | T),
        ("there", both, S | T),
        ("nowhere", both, S),
    ):
        _, found, told, boundaries = referral(asks(client, path, site=site))
        assert (found, told) == (targets, flags)
        assert boundaries == ([True, True] if told & T else [True, False])


def test_shuffled_targets(serve: Serve) -> None:
    away = "[away]\nmsdfs proxy = \\fs1\\a,\\fs2\\a,\\fs3\\a,\\fs4\\a\n"
    orders = {}
    for shuffle in ("no", "yes"):
        client = ready(serve(shares=f"{away}msdfs shuffle referrals = {shuffle}"))
        found = (referral(asks(client, "\\s\\away"))[1] for _ in range(40))
        orders[shuffle] = {tuple(each) for each in found}
    assert len(orders["no"]) == 1
    assert len(orders["yes"]) > 1
    assert {frozenset(each) for each in orders["yes"]} == {frozenset(*orders["no"])}


@pytest.mark.parametrize("flags", [0, SMB2_FLAGS_DFS_OPERATIONS])
@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("link", NOT_COVERED),
        ("LINK\\x", NOT_COVERED),
        ("folder\\deep\\a\\b", NOT_COVERED),
        ("other\\deep", NtStatus.STOPPED_ON_SYMLINK),
        ("file", SUCCESS),
        ("", SUCCESS),
        ("folder\\inner", SUCCESS),
        ("none", NtStatus.OBJECT_NAME_NOT_FOUND),
        ("none\\x", NtStatus.OBJECT_PATH_NOT_FOUND),
    ],
)
def test_paths(serve: Serve, name: str, status: NtStatus, flags: int) -> None:
    client = ready(serve(), "root")
    path = "\\".join(filter(None, ["s", "root", name])) if flags else name
    body = requests.create(path, disposition=FILE_OPEN, access=0x80)
    assert client.call(Command.CREATE, body, flags=flags).status is status


def test_paths_of_other_shares_and_of_a_proxy(serve: Serve) -> None:
    engine = serve()
    plain = ready(engine, "plain")
    # [MS-SMB2] 3.3.5.9: the flag says nothing where the share is none of DFS.
    body = requests.create("file", disposition=FILE_OPEN, access=0x80)
    reply = plain.call(Command.CREATE, body, flags=SMB2_FLAGS_DFS_OPERATIONS)
    assert reply.status is SUCCESS
    assert plain.create("link", disposition=FILE_OPEN, access=1) is not NOT_COVERED
    away = ready(engine, "away")
    for name in ("", "etc\\passwd", "x"):
        assert away.create(name, disposition=FILE_OPEN, access=0x80) is NOT_COVERED


def test_a_link_itself_is_seen_and_deleted(serve: Serve) -> None:
    engine = serve()
    client = ready(engine, "root")
    options = FILE_OPEN_REPARSE_POINT | 0x1000
    body = requests.create("link", 0x10000, FILE_OPEN, options=options)
    reply = client.call(Command.CREATE, body)
    assert reply.status is SUCCESS
    client.close(reply.file_id)
    assert client.create("link", disposition=FILE_OPEN) is NtStatus.OBJECT_NAME_NOT_FOUND


def test_listings_show_links_as_folders(serve: Serve) -> None:
    client = ready(serve(), "root")
    root = client.open("", 0x81, FILE_OPEN, options=1)
    reply = client.call(Command.QUERY_DIRECTORY, requests.query_directory(root, 0x25, "*"))
    found: dict[str, tuple[int, int]] = {}
    data, at = reply.message[64 + 8 :], 0
    while True:
        (following,) = struct.unpack_from("<I", data, at)
        attributes, length, tag = struct.unpack_from("<III", data, at + 56)
        name = data[at + 104 : at + 104 + length].decode("utf-16-le")
        found[name] = attributes & 0x410, tag
        if not following:
            break
        at += following
    assert found["link"] == found["within"] == (0x410, 0x8000000A)
    assert found["folder"] == (0x10, 0)
    assert found["bad"][1] != 0x8000000A
