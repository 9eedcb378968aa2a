"""What stands in the store, byte by byte: another version of the server may read it."""

import itertools

from usmbd.protocol.state.store import lmdb_dooms, records


def distinct(*flags: int) -> bool:
    """Whether each is a bit of its own."""
    bits = [flag.bit_count() for flag in flags]
    return set(bits) == {1} and all(not a & b for a, b in itertools.combinations(flags, 2))


def test_flags_do_not_meet() -> None:
    of_opens = {
        name: value
        for name, value in vars(records).items()
        if name.startswith("OPEN_") and isinstance(value, int) and not name.endswith("_OFFSET")
    }
    lasting = of_opens.pop("OPEN_LASTING")
    assert lasting == records.OPEN_RESILIENT | records.OPEN_PERSISTENT
    of_opens.pop("OPEN_SIZE", None)
    assert distinct(*of_opens.values()), of_opens
    of_files = [value for name, value in vars(lmdb_dooms).items() if name.startswith("FILE_")]
    assert distinct(*(flag for flag in of_files if isinstance(flag, int)))
    assert records.OPLOCK_HELD != records.OPLOCK_BREAKING


def test_keys() -> None:
    """Device and file of 8 bytes each; a stream's name behind them, or its digest."""
    key = records.file_key(1, 2)
    assert len(key) == records.BASE_KEY_SIZE == 16
    assert key[: records.DEVICE_SIZE] == (1).to_bytes(8, "little")
    assert records.file_key(1, 2, "Stream").startswith(key)
    longest = records.file_key(1, 2, "ä" * 127 + "x")
    assert len(longest) == 16 + 255
    assert longest[16] != 0xFF
    digest = records.file_key(1, 2, "ä" * 128)
    assert digest[16] == 0xFF
    assert len(digest) < 511 - 1


def test_where_parts_of_an_open_are() -> None:
    """They are read and changed in place, by other workers too."""
    record = records.OpenRecord(open_id=7, granted_access=1, share_access=2, worker=3)
    record.oplock_level, record.oplock_state = 8, records.OPLOCK_BREAKING
    record.client_guid, record.lease_key = b"c" * 16, b"k" * 16
    record.create_guid = b"g" * 16
    record.lease_state, record.break_to_lease_state, record.required_lease_state = 7, 3, 1
    record.lease_epoch, record.lease_version = 500, 2
    data = record.pack()
    assert len(data) == records.OPEN_SIZE == 192
    assert records.OPEN_HEAD.unpack_from(data) == (7, 1, 2, 0)
    assert records.WORKER.unpack_from(data, records.OPEN_WORKER_OFFSET) == (3,)
    at = records.OPEN_OPLOCK_OFFSET
    assert data[at : at + 2] == bytes((8, records.OPLOCK_BREAKING))
    at = records.OPEN_LEASE_OFFSET
    assert data[at : at + records.LEASE_ID_SIZE] == b"c" * 16 + b"k" * 16
    at = records.OPEN_LEASE_STATE_OFFSET
    assert records.LEASE_STATE.unpack_from(data, at) == (7, 3, 1, 500, 2)
    assert data[: records.OPEN_ID.size] == (7).to_bytes(8, "little")
    assert records.OPEN_GUIDS.unpack_from(data) == (b"c" * 16, b"g" * 16)
