"""Which addresses are one client."""

from usmbd.mountd.ipc.network import network


def test_one_network_of_ipv6_is_one_client() -> None:
    assert network("2001:db8::1") == network("2001:db8::ffff:0:1") == "2001:db8::"
    assert network("2001:db8:0:1::1") == "2001:db8:0:1::"
    assert network("fe80::1%eth0") == network("fe80::2%eth1")


def test_each_address_of_ipv4_is_a_client() -> None:
    assert network("192.0.2.1") == "192.0.2.1"


def test_what_is_no_address_stands_for_itself() -> None:
    assert network("memory") == "memory"
    assert network("no:address") == "no:address"
