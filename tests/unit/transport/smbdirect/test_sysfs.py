"""A port's addresses and their network interfaces, from a copy of sysfs' tree."""

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
