"""What clients are told of interfaces, from trees that are laid out as sysfs."""

import socket
from ipaddress import ip_address
from pathlib import Path

import pytest

from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.state import interfaces
from usmbd.protocol.state.interfaces import (
    DEFAULT_SPEED,
    carriers,
    network_interfaces,
    served_addresses,
)
from usmbd.protocol.wire.fsctl_smb2 import RDMA_CAPABLE, RSS_CAPABLE

GIGABIT = 1_000_000_000


def interface(
    root: Path, name: str, *lower: str, speed: int | None = None, queues: int = 1
) -> None:
    """Add an interface."""
    for queue in range(queues):
        (root / name / "queues" / f"rx-{queue}").mkdir(parents=True)
    for other in lower:
        (root / name / f"lower_{other}").symlink_to(root / other)
    if speed is not None:
        (root / name / "speed").write_text(f"{speed}\n")


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a bridge on a VLAN of a bond of two devices, and one more device."""
    interface(tmp_path, "eth0", speed=25_000, queues=8)
    interface(tmp_path, "eth1", speed=25_000, queues=8)
    interface(tmp_path, "eth2", speed=-1)
    interface(tmp_path, "bond0", "eth0", "eth1", speed=50_000)
    interface(tmp_path, "bond0.5", "bond0", speed=50_000)
    interface(tmp_path, "br0", "bond0.5")
    addresses = [
        (name, ip_address(f"192.0.2.{number}"))
        for number, name in enumerate(["eth0", "eth2", "bond0", "bond0.5", "br0"], start=1)
    ]
    addresses += [("lo", ip_address("127.0.0.1")), ("eth0", ip_address("fe80::1"))]
    monkeypatch.setattr(interfaces, "addresses", lambda: addresses)
    monkeypatch.setattr(socket, "if_nametoindex", lambda name: len(name))
    return tmp_path


def test_what_lies_below(net: Path) -> None:
    assert carriers("br0", net) == ["br0", "bond0.5", "bond0", "eth0", "eth1"]
    assert carriers("eth2", net) == ["eth2"]
    (net / "eth1" / "lower_br0").symlink_to(net / "br0")  # a circle ends
    assert carriers("br0", net) == ["br0", "bond0.5", "bond0", "eth0", "eth1"]


def test_speed_and_queues_are_those_of_the_hardware(net: Path) -> None:
    found = network_interfaces("192.0.2.1", {}, None, net)
    assert [(str(f.address), f.link_speed, f.capability) for f in found] == [
        ("192.0.2.1", 25 * GIGABIT, RSS_CAPABLE),
        ("192.0.2.2", DEFAULT_SPEED, 0),
        ("192.0.2.3", 50 * GIGABIT, RSS_CAPABLE),
        ("192.0.2.4", 50 * GIGABIT, RSS_CAPABLE),
        ("192.0.2.5", 50 * GIGABIT, RSS_CAPABLE),
    ]


def test_rdma_of_the_device_below_reaches_up(net: Path) -> None:
    found = network_interfaces(
        "192.0.2.1", {"eth1": 100 * GIGABIT, "eth2": 10 * GIGABIT}, None, net
    )
    rdma = {str(f.address): f.link_speed for f in found if f.capability & RDMA_CAPABLE}
    assert rdma == {
        "192.0.2.2": 10 * GIGABIT,  # the port knows what the interface does not
        "192.0.2.3": 50 * GIGABIT,
        "192.0.2.4": 50 * GIGABIT,
        "192.0.2.5": 50 * GIGABIT,
    }
    # Each of them without RDMA too, for channels by TCP to the same address.
    plain = [str(f.address) for f in found if not f.capability & RDMA_CAPABLE]
    assert sorted(plain) == sorted({str(f.address) for f in found})


def test_loopback_only_for_clients_that_came_by_it(net: Path) -> None:
    found = network_interfaces("127.0.0.1", None, None, net)
    assert "127.0.0.1" in [str(f.address) for f in found]


ADDRESSES = [
    ("lo", ip_address("127.0.0.1")),
    ("eth0", ip_address("192.0.2.7")),
    ("eth0", ip_address("fe80::1")),
    ("eth0", ip_address("2001:db8::7")),
    ("eth1", ip_address("198.51.100.3")),
]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["eth0"], ["192.0.2.7", "2001:db8::7"]),
        (["192.0.2.0/24"], ["192.0.2.7"]),
        (["192.0.2.200/24"], ["192.0.2.7"]),
        (["203.0.113.9"], ["203.0.113.9"]),
        (["lo", "eth1", "127.0.0.1"], ["127.0.0.1", "198.51.100.3"]),
        (["203.0.113.0/24", "none"], []),
        (["eth*"], ["192.0.2.7", "2001:db8::7", "198.51.100.3"]),
        (["eth?", "en*"], ["192.0.2.7", "2001:db8::7", "198.51.100.3"]),
    ],
)
def test_interfaces_by_name_address_or_network(
    names: list[str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interfaces, "addresses", lambda: ADDRESSES)
    config = ServerConfig(interfaces=names, bind_interfaces_only=True)
    assert [str(address) for address in served_addresses(config) or ()] == expected


@pytest.mark.parametrize(
    "config", [ServerConfig(interfaces=["eth0"]), ServerConfig(bind_interfaces_only=True)]
)
def test_all_addresses_are_served(config: ServerConfig) -> None:
    assert served_addresses(config) is None


def test_only_what_is_served_is_told(net: Path) -> None:
    found = network_interfaces("192.0.2.1", None, [ip_address("192.0.2.3")], net)
    assert [str(f.address) for f in found] == ["192.0.2.3"]


def test_rdma_is_told_of_only_where_it_is_listened_on(net: Path) -> None:
    rdma = {"eth2": 10 * GIGABIT, "br0": GIGABIT}
    for where, expected in (
        (None, ["192.0.2.2", "192.0.2.5"]),
        ([ip_address("192.0.2.5")], ["192.0.2.5"]),
        ([], []),
    ):
        found = network_interfaces("192.0.2.1", rdma, None, net, rdma_served=where)
        told = [str(f.address) for f in found if f.capability & RDMA_CAPABLE]
        assert told == expected
