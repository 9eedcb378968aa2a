"""Requests on files whose fields lie (rows 17, 22, 23, 25 to 27, 32 to 34, 38 of bad inputs)."""

import os
import struct
import time

import pytest
from smbtest import raw, smb2
from smbtest.raw import Raw
from smbtest.smb2 import ECHO, ECHO_BODY, create_body, create_context

from .conftest import Connect, Target, refused, survives

HUGE = (1 << 63) - 1
ODD_OFFSETS = (1 << 62, HUGE - 1, HUGE, 1 << 63, (1 << 64) - 2, (1 << 64) - 1)


# --- names --------------------------------------------------------------------------------

BAD_NAMES = {
    "..": "..",
    "up": "..\\passwd",
    "up and down": "a\\..\\..\\b",
    "slashes": "../../etc/passwd",
    "mixed": "a/../..\\x",
    "up in the midst": "dir\\..\\..\\..\\etc\\passwd",
    "a dot": ".\\x",
    "NUL": "a\0b",
    "NUL at the end": "name\0",
    "leading backslash": "\\abs",
    "two backslashes in front": "\\\\abs",
    "a letter of two lone surrogates": "\udcc3\udca9",
    "nothing but backslashes": "\\\\\\",
    "wildcards": "a*?",
    "control": "a\x01",
    "a stream of nothing": ":",
    "a stream of a stream": "a:b:c:d",
    "a stream type": "a:b:$INDEX_ALLOCATION",
    "a stream up": "a:..\\..\\x",
    "a stream with a slash": "a:b/c",
    "a stream with NUL": "a:b\0c:$DATA",
    "component too long": "x" * 256,
    "component too long in bytes": "ÿ" * 200,
    "path too long": "x\\" * 3000 + "y",
    "quote": 'a"b',
    "pipe": "a|b",
}


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("options", [0, smb2.DIRECTORY_FILE])
def test_bad_names(client: Raw, target: Target, name: str, options: int) -> None:
    before = sorted(path.name for path in target.data.iterdir())
    refused(client, smb2.CREATE, create_body(BAD_NAMES[name], options=options))
    assert sorted(path.name for path in target.data.iterdir()) == before


@pytest.mark.parametrize(
    "data", [b"a", b"a\0b", b"\0\xd8", b"\0\xdc", b"\0\xd8\0\xd8", b"a\0\0\xd8"]
)
def test_odd_utf16(client: Raw, target: Target, data: bytes) -> None:
    """Odd lengths are refused; lone surrogates may be names, which then work as such."""
    answer = client.call(smb2.CREATE, create_body(data, options=smb2.DELETE_ON_CLOSE))
    if len(data) % 2:
        assert answer.status in (smb2.OBJECT_NAME_INVALID, smb2.INVALID_PARAMETER)
    assert answer.status != smb2.INTERNAL_ERROR
    if answer.status == smb2.SUCCESS:
        root = client.open("", disposition=smb2.OPEN, options=1, access=0x120089)
        survives(client, smb2.QUERY_DIRECTORY, smb2.directory_body(root))
        survives(client, smb2.QUERY_INFO, smb2.query_body(answer.file_id, 1, 18))
        client.call(smb2.CLOSE, smb2.close_body(answer.file_id))
    for command, body in (
        (smb2.TREE_CONNECT, smb2.tree_body("\\\\x\\".encode("utf-16-le") + data)),
        (smb2.TREE_CONNECT, smb2.tree_body(data)),
    ):
        client.signs = True
        refused(client, command, body)
        client.signs = False


@pytest.mark.parametrize(
    "wrong",
    [
        {"name_offset": 0, "name_length": 100},
        {"name_offset": 0xFFFF},
        {"name_offset": 119},
        {"name_length": 0xFFFE},
        {"name_length": 0xFFFF},
        {"name_offset": 64, "name_length": 64},
    ],
)
def test_name_offsets(client: Raw, wrong: dict[str, int]) -> None:
    survives(client, smb2.CREATE, create_body("name", **wrong))


def test_a_name_of_64_kib(client: Raw) -> None:
    refused(client, smb2.CREATE, create_body("n" * 32767))
    refused(client, smb2.CREATE, create_body("n\\" * 16383))


def test_links_out_of_the_share(client: Raw, target: Target) -> None:
    outside = target.folder / "outside"
    outside.write_text("secret")
    (target.data / "link").symlink_to(outside)
    (target.data / "up").symlink_to("..")
    (target.data / "loop").symlink_to("loop")
    for name in ("link", "up\\outside", "up\\data\\x", "loop", "loop\\x", "link:stream"):
        status = survives(client, smb2.CREATE, create_body(name, disposition=smb2.OPEN))
        assert status != smb2.SUCCESS
        survives(client, smb2.CREATE, create_body(name, disposition=smb2.OVERWRITE_IF))
    assert outside.read_text() == "secret"
    for name in ("link", "up", "loop"):
        (target.data / name).unlink(missing_ok=True)
    outside.unlink()


def rename(name: bytes | str, size: int | None = None, root: int = 0) -> bytes:
    """Pack FileRenameInformation."""
    data = name.encode("utf-16-le", "surrogatepass") if isinstance(name, str) else name
    return struct.pack("<QQI", 1, root, len(data) if size is None else size) + data


def test_renames_and_links(client: Raw, target: Target) -> None:
    file_id = client.open("renamed", access=0x1F01FF)
    for level in (10, 11, 65, 72):
        for name in (
            *BAD_NAMES.values(),
            "",
            "..\\..\\tmp\\x",
            b"a",
            b"\0\xd8",
            "\\",
            "/etc/passwd",
        ):
            data = rename(name)
            if name == "\\abs":
                continue
            status = survives(
                client, smb2.SET_INFO, smb2.set_body(file_id, 1, level, data), charge=2
            )
            assert status != smb2.SUCCESS or name == b"\0\xd8", (level, name)
        for data in (rename("x", 0xFFFFFFFF), rename("x", 100), rename("x", root=5), bytes(10)):
            status = survives(client, smb2.SET_INFO, smb2.set_body(file_id, 1, level, data))
            assert status != smb2.SUCCESS
    assert not (target.folder / "x").exists()


# --- create contexts ----------------------------------------------------------------------

MXAC, EXTA, SECD, ALSI, DHNC, DH2Q, DH2C, RQLS, TWRP = (
    b"MxAc", b"ExtA", b"SecD", b"AlSi", b"DHnC", b"DH2Q", b"DH2C", b"RqLs", b"TWrp",
)  # fmt: skip
CONTEXTS = {
    "next past the end": create_context(MXAC, b"", 4096),
    "next loops": create_context(MXAC, b"", 0xFFFFFFE8),
    "next of 1": create_context(MXAC, b"", 1) + bytes(64),
    "next of 8": create_context(MXAC, b"", 8) + bytes(64),
    "name past the end": create_context(MXAC, b"", name_length=200),
    "name of 65535": create_context(MXAC, b"", name_length=0xFFFF),
    "name of none": create_context(MXAC, b"", name_length=0),
    "name offset": create_context(MXAC, b"", name_offset=0xFFFF),
    "data offset": create_context(MXAC, b"x" * 8, offset=0xFFFF),
    "data offset 0": create_context(MXAC, b"x" * 8, offset=0),
    "data length": create_context(MXAC, b"x" * 8, length=0xFFFFFFFF),
    "cut": create_context(MXAC, b"")[:15],
    "one byte": b"\0",
    "mxac of 3 bytes": create_context(MXAC, b"abc"),
    "ea of 3 bytes": create_context(EXTA, b"abc"),
    "ea loop": create_context(EXTA, struct.pack("<IBBH", 0xFFFFFFFC, 0, 1, 1) + b"a\0b" + bytes(9)),
    "sd of 3 bytes": create_context(SECD, b"abc"),
    "allocation of 3 bytes": create_context(ALSI, b"abc"),
    "allocation of 2^64": create_context(ALSI, b"\xff" * 8),
    "allocation of 2^62": create_context(ALSI, struct.pack("<Q", 1 << 62)),
    "durable reconnect of 3 bytes": create_context(DHNC, b"abc"),
    "durable 2 of 3 bytes": create_context(DH2Q, b"abc"),
    "durable 2 reconnect of 3 bytes": create_context(DH2C, b"abc"),
    "durable 2 reconnect": create_context(DH2C, bytes(36)),
    "lease of 3 bytes": create_context(RQLS, b"abc"),
    "lease of 33 bytes": create_context(RQLS, bytes(33)),
    "timewarp of 3 bytes": create_context(TWRP, b"abc"),
    "thousand": create_context(b"ABCD", b"", 24) * 1000 + create_context(b"ABCD", b""),
}


@pytest.mark.parametrize("name", CONTEXTS)
def test_create_contexts(client: Raw, name: str) -> None:
    for where in ("context", "context:stream"):
        survives(client, smb2.CREATE, create_body(where, extra=CONTEXTS[name]))
    for wrong in ({"offset": 0xFFFFFFFF}, {"length": 0xFFFFFFFF}, {"offset": 1}, {"offset": 121}):
        survives(client, smb2.CREATE, create_body("context", extra=CONTEXTS[name], **wrong))


# --- offsets ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["offsets", "offsets:stream"])
def test_odd_offsets(client: Raw, target: Target, name: str) -> None:
    """Rows 26 and 27."""
    before = target.memory()
    file_id = client.open(name)
    for offset in (*ODD_OFFSETS, 65535, 65536, 1 << 20, 1 << 40):
        for size in (1, 65536):
            client.call(smb2.READ, smb2.read_body(file_id, size, offset))
            if offset > 1 << 41 or ":" in name:
                status = survives(client, smb2.WRITE, smb2.write_body(file_id, b"x" * size, offset))
                assert offset == (1 << 64) - 1 or status != smb2.SUCCESS or offset < 65536
            locks = smb2.lock_body(file_id, [(offset, size, 0x12)])
            if survives(client, smb2.LOCK, locks) == smb2.SUCCESS:
                unlock = smb2.lock_body(file_id, [(offset, size, 4)])
                assert client.call(smb2.LOCK, unlock).status == smb2.SUCCESS
        for level in (19, 20, 14, 39):  # allocation, end of file, position, valid data length
            survives(
                client, smb2.SET_INFO, smb2.set_body(file_id, 1, level, struct.pack("<Q", offset))
            )
        survives(client, smb2.SET_INFO, smb2.set_body(file_id, 1, 20, bytes(8)))
    assert (
        client.call(smb2.SET_INFO, smb2.set_body(file_id, 1, 20, bytes(8))).status == smb2.SUCCESS
    )
    assert target.memory() - before < 16 << 20
    (target.data / "offsets").unlink()


@pytest.mark.parametrize(
    "wrong",
    [
        {"data_offset": 0, "length": 60000},
        {"data_offset": 0},
        {"data_offset": 64},
        {"data_offset": 0xFFFF},
        {"length": 0xFFFFFFFF},
        {"length": 4096},
        {"data_offset": 113},
        {"length": 9 << 20},
    ],
)
def test_write_buffers(client: Raw, target: Target, wrong: dict[str, int]) -> None:
    file_id = client.open("buffers")
    survives(client, smb2.WRITE, smb2.write_body(file_id, b"data", **wrong))
    if wrong != {"data_offset": 64}:
        assert (target.data / "buffers").stat().st_size <= 4


def test_reads_that_are_too_long(client: Raw) -> None:
    file_id = client.open("long")
    for length in ((8 << 20) + 1, 1 << 31, 0xFFFFFFFF):
        refused(client, smb2.READ, smb2.read_body(file_id, length), smb2.INVALID_PARAMETER)
    root = client.open("", disposition=smb2.OPEN, options=1, access=0x120089)
    for length in (0xFFFFFFFF, 1 << 30):
        refused(client, smb2.QUERY_DIRECTORY, smb2.directory_body(root, size=length))
        refused(client, smb2.QUERY_INFO, smb2.query_body(root, 1, 18, length))
        refused(client, smb2.IOCTL, smb2.ioctl_body(root, 0x1401C4, size=length))


# --- locks --------------------------------------------------------------------------------


def test_lock_arrays(connect: Connect) -> None:
    """Row 33: 64k elements take no worker's, and no store's, time."""
    client = connect(timeout=30).ready()
    file_id = client.open("locks")
    for count in (0, 2, 0xFFFF):
        refused(client, smb2.LOCK, smb2.lock_body(file_id, [(0, 1, 0x12)], count))
    began = time.monotonic()
    # neither a lock over the others, nor beside them, nor the unlock of all, holds anybody up
    for flags in (0x12, 0x11, 4):
        ranges = [(2 * i, 1, flags) for i in range(30000)]
        survives(client, smb2.LOCK, smb2.lock_body(file_id, ranges), charge=20)
    for i in range(20):
        ranges = [(500 * i + j, 1, 0x11) for j in range(500)]
        survives(client, smb2.LOCK, smb2.lock_body(file_id, ranges), charge=20)
    assert time.monotonic() - began < 30
    client.call(smb2.CLOSE, smb2.close_body(file_id))


def test_locks_that_are_wrong(client: Raw) -> None:
    file_id = client.open("wrong")
    for element in ((0, 1, 0), (0, 1, 3), (0, 1, 0x10), (0, 1, 0xFFFFFFFF), (0, 1, 6), (0, 1, 20)):
        refused(client, smb2.LOCK, smb2.lock_body(file_id, [element]))
    for element in ((2, (1 << 64) - 1, 0x12), ((1 << 64) - 1, 2, 0x12)):
        body = smb2.lock_body(file_id, [element])
        assert refused(client, smb2.LOCK, body) == smb2.INVALID_LOCK_RANGE
    for mixed in ([(0, 1, 0x12), (5, 1, 4)], [(0, 1, 4), (5, 1, 0x12)], [(0, 1, 2), (5, 1, 2)]):
        refused(client, smb2.LOCK, smb2.lock_body(file_id, mixed))
    again = smb2.lock_body(file_id, [(0, 10, 0x12)])
    assert client.call(smb2.LOCK, again).status == smb2.SUCCESS, "a failed LOCK left a lock"


def test_locks_that_wait(connect: Connect) -> None:
    """CANCEL, CLOSE and the end of a connection while blocked; more waiting than is bearable."""
    holder, waiter = connect().ready(), connect().ready()
    mine, theirs = holder.open("blocked"), waiter.open("blocked")
    assert holder.call(smb2.LOCK, smb2.lock_body(mine, [(0, 10, 2)])).status == smb2.SUCCESS
    body = smb2.lock_body(theirs, [(0, 10, 2)])
    waiter.post(smb2.LOCK, body)
    assert waiter.reply().status == smb2.PENDING
    waiter.post(smb2.CANCEL, ECHO_BODY, message_id=waiter.message_id - 1)
    assert waiter.reply().status == smb2.CANCELLED
    waiter.post(smb2.LOCK, body)
    assert waiter.reply().status == smb2.PENDING
    waiter.post(smb2.CLOSE, smb2.close_body(theirs))
    assert {waiter.reply().status, waiter.reply().status} == {smb2.RANGE_NOT_LOCKED, smb2.SUCCESS}
    theirs = waiter.open("blocked")
    body = smb2.lock_body(theirs, [(0, 10, 2)])
    statuses = []
    for _ in range(600):
        waiter.post(smb2.LOCK, body)
        statuses.append(waiter.reply().status)
    assert statuses[500] == smb2.PENDING
    assert statuses[-1] == smb2.INSUFFICIENT_RESOURCES
    waiter.close()
    holder.close()


# --- IOCTL, pipes, the rest ----------------------------------------------------------------

CODES = (
    0x00060194, 0x000601B0, 0x0011400C, 0x0011C017, 0x00110018, 0x00144064, 0x001440F2, 0x001480F2,
    0x001401FC, 0x00140204, 0x00140078, 0x0009009C, 0x000900A4, 0x000900A8, 0x000900AC,
    0x000900C4, 0x000980C8, 0x000940CF, 0x00098208, 0x00098344, 0x0009003C, 0x000900C0, 0x000900DF,
    0x0009C040, 0x00098268, 0xFFFFFFFF, 0,
    0x001401D4,  # the last: what is resilient outlives the connection that another code ends
)  # fmt: skip


@pytest.mark.parametrize("share", ["data", "IPC$", "readonly"])
def test_ioctls(connect: Connect, target: Target, share: str) -> None:
    """Row 32: each code with nothing, too little, and counts that lie, on each kind of file."""
    (target.folder / "readonly" / "file").touch()
    names = {"data": ("ioctl", "ioctl:s"), "IPC$": ("srvsvc",), "readonly": ("file",)}[share]
    how = smb2.OPEN if share == "readonly" else smb2.OPEN_IF
    access = 0x120089 if share == "readonly" else smb2.READ_WRITE
    datas = (b"", b"\1", b"\xff" * 24, b"\xff" * 32, bytes(24) + b"\xff" * 8, bytes(200),
             b"\xff" * 200,
             struct.pack("<QQ", (1 << 64) - 1, (1 << 64) - 1), struct.pack("<QQ", HUGE, HUGE),
             struct.pack("<QQQ", 0, (1 << 63), 1 << 63))  # fmt: skip
    for name in names:
        client = connect().ready(share=share)
        own = client.open(name, access, how)
        for code in CODES:
            for data in datas:
                for file_id in (own, smb2.ALL_ONES):
                    for size in (0, 4, 65536):
                        try:
                            survives(client, smb2.IOCTL, smb2.ioctl_body(file_id, code, data, size))
                        except raw.Closed:
                            assert code == 0x00140204  # a NEGOTIATE that does not fit
                            client = connect().ready(share=share)
                            own = client.open(name, access, how)
                            break
            for wrong in ({"offset": 1 << 31}, {"length": 1 << 31}, {"length": 500}, {"flags": 0}):
                survives(client, smb2.IOCTL, smb2.ioctl_body(own, code, b"x" * 40, **wrong))
        assert client.call(smb2.CLOSE, smb2.close_body(own)).status == smb2.SUCCESS


def test_pipes(connect: Connect) -> None:
    """Row 38: readers when the pipe closes, a bind of 65535 contexts, names, garbage, floods."""
    client = connect().ready(share="IPC$")
    for name in ("srvsvc", "SRVSVC", "\\srvsvc"):
        client.call(smb2.CREATE, create_body(name))
    for name in ("", "none", "..\\srvsvc", "x" * 255, "x" * 300, "a\0b", "a:b", b"\0\xd8", b"a"):
        refused(client, smb2.CREATE, create_body(name))
    file_id = client.open("srvsvc")
    client.post(smb2.READ, smb2.read_body(file_id, 1000))
    assert client.reply().status == smb2.PENDING
    client.post(smb2.CLOSE, smb2.close_body(file_id))
    assert smb2.SUCCESS in {client.reply().status for _ in range(2)}
    bind = struct.pack("<BBBBIHHIHHI", 5, 0, 11, 3, 16, 0, 0, 1, 4280, 4280, 0) + b"\xff\xff\0\0"
    for data in (
        bind[:8] + struct.pack("<H", 28) + bind[10:],
        b"\5",
        b"\xff" * 5000,
        bytes(100),
        b"",
    ):
        file_id = client.open("srvsvc")
        survives(client, smb2.WRITE, smb2.write_body(file_id, data))
        client.post(smb2.READ, smb2.read_body(file_id, 100))
        client.post(smb2.CLOSE, smb2.close_body(file_id))
        open_ends = {smb2.READ, smb2.CLOSE}
        while open_ends:
            reply = client.reply()
            assert reply.status != smb2.INTERNAL_ERROR
            if reply.status != smb2.PENDING:
                open_ends.remove(reply.command)
        survives(client, ECHO, ECHO_BODY)
    for _ in range(3000):
        answer = client.call(smb2.CREATE, create_body("srvsvc"))
        if answer.status != smb2.SUCCESS:
            break
    assert answer.status == smb2.INSUFFICIENT_RESOURCES
    client.close()
    again = connect().ready(share="IPC$")
    for _ in range(50):
        if again.call(smb2.CREATE, create_body("srvsvc")).status == smb2.SUCCESS:
            break
        time.sleep(0.05)
    assert again.open("srvsvc")


def test_breaks_of_what_was_never_given(client: Raw) -> None:
    """Row 34."""
    file_id = client.open("oplock")
    for body in (
        struct.pack("<HBBI", 24, 8, 0, 0) + file_id,
        struct.pack("<HHI", 36, 0, 0) + bytes(16) + struct.pack("<IQ", 7, 0),
        struct.pack("<HHI", 36, 0, 0),
        struct.pack("<HBBI", 24, 255, 255, 0) + smb2.ALL_ONES,
    ):
        refused(client, smb2.OPLOCK_BREAK, body)


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 10), (72, 0xFFFF), (0xFFFF, 2), (72, 0), (73, 4)]
)
def test_tree_connect_paths(connect: Connect, offset: int, length: int) -> None:
    """Row 17."""
    client = connect()
    client.negotiate(0x0302)
    client.login()
    path = "\\\\x\\data".encode("utf-16-le")
    survives(client, smb2.TREE_CONNECT, smb2.tree_body(path, offset, length))
    for text in (
        "\\\\",
        "\\\\\\",
        "data",
        "\\\\x\\" + "y" * 5000,
        "\\\\x\\..",
        "\\\\x\\data\\..",
        "\0",
    ):
        refused(client, smb2.TREE_CONNECT, smb2.tree_body(text.encode("utf-16-le")))


def test_ten_thousand_opens(connect: Connect, target: Target) -> None:
    """A session that opens without end meets a limit; a second one does not feel it."""
    client = connect().ready()
    statuses = set()
    for _ in range(25):
        for i in range(450):
            client.post(smb2.CREATE, create_body(f"many{i}"))
        statuses |= {client.reply().status for _ in range(450)}
    assert len(statuses) == 2
    assert os.path.getsize(target.data / "many7") == 0
    other = connect().ready()
    assert other.open("many7")
