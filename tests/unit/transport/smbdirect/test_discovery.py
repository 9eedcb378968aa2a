"""RDMA devices found in a tree that is laid out as the kernel's."""

from pathlib import Path

import pytest

from usmbd.transport.smbdirect import discovery
from usmbd.transport.smbdirect.discovery import Found, FoundPort, devices
from usmbd.transport.smbdirect.provider import LinkType


def write(root: Path, **files: str) -> None:
    """Write files whose names have `__` for a slash."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def test_no_driver(tmp_path: Path) -> None:
    assert devices(tmp_path / "infiniband") == []


def test_a_roce_port_with_its_interfaces(tmp_path: Path) -> None:
    write(
        tmp_path,
        mlx5_0__node_type="1: CA",
        mlx5_0__ports__1__link_layer="Ethernet",
        mlx5_0__ports__1__state="4: ACTIVE",
        mlx5_0__ports__1__rate="2.5 Gb/sec (1X SDR)",
        mlx5_0__ports__1__gids__0="fe80:0000:0000:0000:0000:0000:0000:0001",
        mlx5_0__ports__1__gids__1="0000:0000:0000:0000:0000:ffff:c000:0201",
        mlx5_0__ports__1__gids__2="0000:0000:0000:0000:0000:ffff:c000:0202",
        mlx5_0__ports__1__gid_attrs__ndevs__0="eth0",
        mlx5_0__ports__1__gid_attrs__ndevs__1="eth0.5",
        mlx5_0__ports__1__gid_attrs__ndevs__2="eth0",
    )
    port = FoundPort(1, LinkType.ROCE, True, 2_500_000_000, ("eth0", "eth0.5"))
    assert devices(tmp_path) == [Found("mlx5_0", (port,))]
    assert not devices(tmp_path)[0].iwarp


def test_a_long_table_of_addresses_is_read_only_for_the_interfaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start of the server needs the devices alone."""
    write(tmp_path, rxe0__ports__1__link_layer="Ethernet", rxe0__ports__1__state="4: ACTIVE")
    read: list[int] = []
    monkeypatch.setattr(discovery, "gids", lambda _device, number, _root: read.append(number) or ())
    port = FoundPort(1, LinkType.ROCE, True, 0, ())
    assert devices(tmp_path, interfaces=False) == [Found("rxe0", (port,))]
    assert read == []
    assert devices(tmp_path) == [Found("rxe0", (port,))]
    assert read == [1]


def test_infiniband_takes_the_interface_of_the_same_port(tmp_path: Path) -> None:
    write(
        tmp_path,
        ib0__node_type="1: CA",
        ib0__ports__2__link_layer="InfiniBand",
        ib0__ports__2__state="1: DOWN",
        ib0__ports__2__rate="?",
        ib0__device__net__ibs0__dev_port="0",
        ib0__device__net__ibs1__dev_port="1",
    )
    (found,) = devices(tmp_path)
    assert found.ports == (FoundPort(2, LinkType.INFINIBAND, False, 0, ("ibs1",)),)


@pytest.mark.parametrize("layer", ["Ethernet", ""])
def test_iwarp_is_told_by_the_node(tmp_path: Path, layer: str) -> None:
    write(tmp_path, siw0__node_type="4: RNIC", siw0__ports__1__link_layer=layer)
    (found,) = devices(tmp_path)
    assert found.iwarp
