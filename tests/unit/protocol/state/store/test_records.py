"""Keys of files and streams, and the packed records."""

from typing import Any

import msgspec

from usmbd.protocol.state.store.records import (
    OPEN_HEAD,
    OPEN_WORKER_OFFSET,
    WORKER,
    OpenRecord,
    base_key,
    file_key,
    parse_opens,
)

LMDB_KEY_MAX = 511


def test_keys_of_streams_extend_their_files_key() -> None:
    base = file_key(0x801, 42)
    stream = file_key(0x801, 42, "Zone.Identifier")
    assert len(base) == 16
    assert stream.startswith(base)
    assert stream == file_key(0x801, 42, "zone.IDENTIFIER")
    assert stream != file_key(0x801, 42, "other")
    assert base_key(stream) == base_key(base) == base


def test_long_and_broken_stream_names_make_valid_distinct_keys() -> None:
    names = ["\u4e2d" * 255, "\u4e2d" * 254 + "x", "\ud800", "\ufb03" * 255]
    keys = {file_key(1, 2, name) for name in names}
    assert len(keys) == len(names)
    assert all(len(key) < LMDB_KEY_MAX for key in keys)


def test_an_open_survives_packing() -> None:
    values: dict[str, Any] = {
        field.name: bytes(range(16)) if isinstance(field.default, bytes) else number
        for number, field in enumerate(msgspec.structs.fields(OpenRecord), 1)
    }
    record = OpenRecord(**values)
    packed = record.pack()
    assert parse_opens(packed + packed) == [record, record]
    head = (record.open_id, record.granted_access, record.share_access, record.flags)
    assert OPEN_HEAD.unpack_from(packed) == head
    assert WORKER.unpack_from(packed, OPEN_WORKER_OFFSET)[0] == record.worker
