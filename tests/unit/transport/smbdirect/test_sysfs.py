"""A port's addresses and their network interfaces, from a copy of sysfs' tree."""

import sys
from pathlib import Path

from usmbd.transport.smbdirect.provider import Gid
from usmbd.transport.smbdirect.sysfs import gids


def test_gids_with_their_interfaces(tmp_path: Path) -> None:
    port = tmp_path / "rxe0" / "ports" / "1"
    (port / "gids").mkdir(parents=True)
    (port / "gid_attrs" / "ndevs").mkdir(parents=True)
    entries = {
        10: "0000:0000:0000:0000:0000:ffff:0a00:0001",
        0: "fe80:0000:0000:0000:5054:00ff:fe12:3456",
        3: "0000:0000:0000:0000:0000:0000:0000:0000",
    }
    for index, gid in entries.items():
        (port / "gids" / str(index)).write_text(f"{gid}\n")
    (port / "gid_attrs" / "ndevs" / "10").write_text("eth0\n")
    assert gids("rxe0", 1, tmp_path) == (
        Gid(0, "fe80::5054:ff:fe12:3456", ""),
        Gid(10, "::ffff:a00:1", "eth0"),
    )
    assert gids("rxe0", 2, tmp_path) == ()


def test_a_long_table_is_read_by_few_calls(tmp_path: Path) -> None:
    """soft-RoCE's has 1,024 entries, and the worker's loop waits for it."""
    table = tmp_path / "rxe0" / "ports" / "1" / "gids"
    table.mkdir(parents=True)
    for index in range(1024):
        (table / str(index)).write_text("0000:0000:0000:0000:0000:0000:0000:0000\n")
    (table / "1000").write_text("0000:0000:0000:0000:0000:ffff:0a00:0001\n")
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        found = gids("rxe0", 1, tmp_path)
    finally:
        sys.setprofile(None)
    assert found == (Gid(1000, "::ffff:a00:1", ""),)
    assert calls < 7 * 1024


def test_an_entry_that_goes_meanwhile_is_none(tmp_path: Path) -> None:
    table = tmp_path / "rxe0" / "ports" / "1" / "gids"
    table.mkdir(parents=True)
    (table / "0").symlink_to(tmp_path / "gone")
    assert gids("rxe0", 1, tmp_path) == ()
