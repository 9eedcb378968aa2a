"""The numbers of SMB2, and its bodies, contexts and compounds packed by hand, wrong on purpose."""

import struct

(NEGOTIATE, SESSION_SETUP, LOGOFF, TREE_CONNECT, TREE_DISCONNECT, CREATE, CLOSE, FLUSH, READ,
 WRITE, LOCK, IOCTL, CANCEL, ECHO, QUERY_DIRECTORY, CHANGE_NOTIFY, QUERY_INFO, SET_INFO,
 OPLOCK_BREAK) = range(19)  # fmt: skip

RESPONSE, ASYNC, RELATED, SIGNED = 1, 2, 4, 8
CCM, GCM = 1, 2
ALL_ONES = b"\xff" * 16
NO_SIGNATURE = bytes(16)

SUCCESS = 0
PENDING = 0x103
BUFFER_OVERFLOW, NO_MORE_FILES = 0x80000005, 0x80000006
INVALID_INFO_CLASS, INFO_LENGTH_MISMATCH = 0xC0000003, 0xC0000004
INVALID_PARAMETER, NO_SUCH_FILE = 0xC000000D, 0xC000000F
INVALID_DEVICE_REQUEST, END_OF_FILE = 0xC0000010, 0xC0000011
MORE_PROCESSING_REQUIRED, ACCESS_DENIED, BUFFER_TOO_SMALL = 0xC0000016, 0xC0000022, 0xC0000023
OBJECT_NAME_INVALID, OBJECT_NAME_NOT_FOUND, OBJECT_NAME_COLLISION = (
    0xC0000033, 0xC0000034, 0xC0000035)  # fmt: skip
OBJECT_PATH_NOT_FOUND, OBJECT_PATH_SYNTAX_BAD = 0xC000003A, 0xC000003B
SHARING_VIOLATION, FILE_LOCK_CONFLICT, LOCK_NOT_GRANTED = 0xC0000043, 0xC0000054, 0xC0000055
INVALID_ACL, LOGON_FAILURE, RANGE_NOT_LOCKED = 0xC0000077, 0xC000006D, 0xC000007E
INVALID_SECURITY_DESCR, DISK_FULL, INSUFFICIENT_RESOURCES = 0xC0000079, 0xC000007F, 0xC000009A
FILE_IS_A_DIRECTORY, NOT_SUPPORTED, NETWORK_NAME_DELETED = 0xC00000BA, 0xC00000BB, 0xC00000C9
BAD_NETWORK_NAME, INTERNAL_ERROR, CANCELLED = 0xC00000CC, 0xC00000E5, 0xC0000120
REQUEST_NOT_ACCEPTED = 0xC00000D0
FILE_CLOSED, INVALID_LOCK_RANGE, USER_SESSION_DELETED = 0xC0000128, 0xC00001A1, 0xC0000203
PIPE_DISCONNECTED, PIPE_BROKEN = 0xC00000B0, 0xC000014B

READ_WRITE = 0x0013019F
OPEN, MAKE, OPEN_IF, OVERWRITE_IF = 1, 2, 3, 5
DIRECTORY_FILE, DELETE_ON_CLOSE = 1, 0x1000


def context(kind: int, data: bytes, length: int | None = None) -> bytes:
    """Pack a negotiate context, unpadded; `length` may lie."""
    return struct.pack("<HHI", kind, len(data) if length is None else length, 0) + data


PREAUTH = context(1, struct.pack("<HHH", 1, 32, 1) + bytes(32))


def contexts(*packed: bytes) -> bytes:
    """Put contexts one behind the other, each at 8 bytes."""
    return b"".join(c + bytes(-len(c) % 8) for c in packed[:-1]) + packed[-1]


def negotiate_body(
    offered: tuple[int, ...], guid: bytes, extra: bytes = b"", count: int = 0, **wrong: int
) -> bytes:
    """Pack a NEGOTIATE; `extra` are its contexts, `wrong` may set count and offset."""
    head = 36 + 2 * len(offered)
    pad = -(64 + head) % 8 if extra else 0
    offset = wrong.get("offset", 64 + head + pad) if extra else 0
    tail = struct.pack("<IHH", offset, count, 0) if extra else bytes(8)
    return (
        struct.pack(
            "<HHHHI", 36, wrong.get("dialects", len(offered)), wrong.get("mode", 1), 0, 0x7F
        )
        + guid
        + tail
        + struct.pack(f"<{len(offered)}H", *offered)
        + bytes(pad)
        + extra
    )


def setup_body(
    token: bytes,
    flags: int = 0,
    previous: int = 0,
    *,
    mode: int = 1,
    offset: int = 88,
    length: int | None = None,
) -> bytes:
    """Pack a SESSION_SETUP."""
    return (
        struct.pack(
            "<HBBIIHHQ", 25, flags, mode, 1, 0, offset,
            len(token) if length is None else length, previous,
        ) + token
    )  # fmt: skip


def tree_body(path: bytes, offset: int = 72, length: int | None = None) -> bytes:
    """Pack a TREE_CONNECT."""
    return struct.pack("<HHHH", 9, 0, offset, len(path) if length is None else length) + path


def create_body(
    name: bytes | str,
    access: int = READ_WRITE,
    disposition: int = OPEN_IF,
    options: int = 0,
    extra: bytes = b"",
    **wrong: int,
) -> bytes:
    """Pack a CREATE; `extra` are its create contexts."""
    raw = name.encode("utf-16-le", "surrogatepass") if isinstance(name, str) else name
    start = 120 + len(raw) + (-len(raw) % 8)
    return (
        struct.pack(
            "<HBBIQQIIIIIHHII", 57, 0, wrong.get("oplock", 0), 2, 0, 0, access, 0,
            wrong.get("share", 7), disposition, options,
            wrong.get("name_offset", 120), wrong.get("name_length", len(raw)),
            wrong.get("offset", start) if extra else 0,
            wrong.get("length", len(extra)) if extra else 0,
        )
        + raw + (bytes(start - 120 - len(raw)) + extra if extra else b"" if raw else b"\0")
    )  # fmt: skip


def create_context(name: bytes, data: bytes, following: int = 0, **wrong: int) -> bytes:
    """Pack one create context."""
    start = 16 + len(name) + (-len(name) % 8)
    packed = struct.pack(
        "<IHHHHI", following, wrong.get("name_offset", 16), wrong.get("name_length", len(name)), 0,
        wrong.get("offset", start if data else 0), wrong.get("length", len(data)),
    )  # fmt: skip
    return packed + name + bytes(start - 16 - len(name)) + data


def close_body(file_id: bytes, flags: int = 0) -> bytes:
    """Pack a CLOSE."""
    return struct.pack("<HHI", 24, flags, 0) + file_id


def read_body(file_id: bytes, length: int, offset: int = 0, minimum: int = 0) -> bytes:
    """Pack a READ."""
    return (
        struct.pack("<HBBIQ", 49, 0, 0, length, offset)
        + file_id
        + struct.pack("<IIIHHB", minimum, 0, 0, 0, 0, 0)
    )


def write_body(
    file_id: bytes,
    data: bytes,
    offset: int = 0,
    *,
    data_offset: int = 112,
    length: int | None = None,
) -> bytes:
    """Pack a WRITE."""
    size = len(data) if length is None else length
    return (
        struct.pack("<HHIQ", 49, data_offset, size, offset) + file_id + bytes(16) + (data or b"\0")
    )


def lock_body(
    file_id: bytes, ranges: list[tuple[int, int, int]], count: int | None = None
) -> bytes:
    """Pack a LOCK of (offset, length, flags)."""
    packed = b"".join(struct.pack("<QQII", *element, 0) for element in ranges)
    return struct.pack("<HHI", 48, len(ranges) if count is None else count, 0) + file_id + packed


def query_body(
    file_id: bytes,
    kind: int,
    level: int,
    size: int = 4096,
    data: bytes = b"",
    additional: int = 0,
    **wrong: int,
) -> bytes:
    """Pack a QUERY_INFO."""
    return (
        struct.pack(
            "<HBBIHHIII", 41, kind, level, size, wrong.get("offset", 104 if data else 0), 0,
            wrong.get("length", len(data)), additional, 0,
        ) + file_id + (data or b"\0")
    )  # fmt: skip


def set_body(
    file_id: bytes, kind: int, level: int, data: bytes, additional: int = 0, **wrong: int
) -> bytes:
    """Pack a SET_INFO."""
    return (
        struct.pack(
            "<HBBIHHI", 33, kind, level, wrong.get("length", len(data)),
            wrong.get("offset", 96), 0, additional,
        ) + file_id + (data or b"\0")
    )  # fmt: skip


def directory_body(
    file_id: bytes,
    pattern: bytes | str = "*",
    size: int = 65536,
    level: int = 37,
    flags: int = 0,
    **wrong: int,
) -> bytes:
    """Pack a QUERY_DIRECTORY."""
    raw = pattern.encode("utf-16-le") if isinstance(pattern, str) else pattern
    return (
        struct.pack("<HBBI", 33, level, flags, 0)
        + file_id
        + struct.pack("<HHI", wrong.get("offset", 96), wrong.get("length", len(raw)), size)
        + (raw or b"\0")
    )


def ioctl_body(
    file_id: bytes, code: int, data: bytes = b"", size: int = 65536, **wrong: int
) -> bytes:
    """Pack an IOCTL."""
    return (
        struct.pack("<HHI", 57, 0, code)
        + file_id
        + struct.pack(
            "<IIIIIIII", wrong.get("offset", 120), wrong.get("length", len(data)),
            wrong.get("max_input", 0), 120, 0, size, wrong.get("flags", 1), 0,
        ) + (data or b"\0")
    )  # fmt: skip


ECHO_BODY = LOGOFF_BODY = TREE_DISCONNECT_BODY = CANCEL_BODY = b"\4\0\0\0"


def compound(*elements: bytes) -> bytes:
    """Join requests (header and body each) with NextCommand set."""
    message = b""
    for element in elements[:-1]:
        padded = element + bytes(-len(element) % 8)
        message += padded[:20] + struct.pack("<I", len(padded)) + padded[24:]
    return message + elements[-1]


def split(message: bytes) -> list[bytes]:
    """Take a compound reply apart."""
    parts = []
    while True:
        (following,) = struct.unpack_from("<I", message, 20)
        if not following:
            return [*parts, message]
        parts.append(message[:following])
        message = message[following:]
