"""`hosts allow` and `hosts deny`."""

import ipaddress
import re

import pytest

from usmbd.mountd.hosts import EMPTY, Address, is_allowed, parse_address, parse_hosts, resolve


def resolver(name: str) -> list[Address]:
    if name == "server":
        return [ipaddress.ip_address("192.0.2.7"), ipaddress.ip_address("2001:db8::7")]
    raise ValueError(f"{name!r} unknown")


@pytest.mark.parametrize(
    ("words", "address", "meant"),
    [
        ("127.", "127.4.5.6", True),
        ("192.168.7.", "192.168.70.1", False),
        ("10.0.0.0/8", "10.255.0.1", True),
        ("10.0.0.0/255.255.0.0", "10.1.0.1", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::/32", "2001:db8::1", True),
        ("fe80::/10", "fe80::1%eth0", True),
        ("server", "2001:db8::7", True),
        ("server", "192.0.2.8", False),
        ("ALL", "2001:db8::1", True),
        ("ALL EXCEPT 10.0.0.0/8", "10.1.1.1", False),
        ("10.0.0.0/8 except 10.9.", "10.8.1.1", True),
    ],
)
def test_what_is_meant(words: str, address: str, meant: bool) -> None:
    hosts = parse_hosts(words.split(), resolver)
    assert hosts.matches(parse_address(address)) is meant


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("nowhere", "'nowhere' unknown"),
        ("300.1.1.1", "'300.1.1.1' unknown"),
        ("1.2.3.4/40", "1.2.3.4/40"),
        ("10.0.0.0/255.0.255.0", "10.0.0.0/255.0.255.0"),
        ("10.0.0.0/0.255.0.255", "10.0.0.0/0.255.0.255"),
        ("10.0.0.0/256.0.0.0", "10.0.0.0/256.0.0.0"),
        ("2001:db8::/129", "2001:db8::/129"),
        ("10.0.0.0/", "10.0.0.0/"),
        ("@netgroup", "netgroups"),
        (".example.org", "domains"),
        ("EXCEPT 10.", "between two lists"),
        ("10. EXCEPT", "between two lists"),
        ("ALL EXCEPT 10. EXCEPT 11.", "twice"),
        ("1.2.3.4.", "no prefix"),
        ("1.2.3.4.5.", "no prefix"),
        ("1.300.", "300"),
    ],
)
def test_what_means_nothing(words: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        parse_hosts(words.split(), resolver)


def test_a_network_may_be_written_by_an_address_in_it() -> None:
    hosts = parse_hosts(["10.1.2.3/255.255.0.0", "2001:db8::7/64"])
    assert [str(network) for network in hosts.networks] == ["10.1.0.0/16", "2001:db8::/64"]


def test_names_are_looked_up() -> None:
    assert ipaddress.ip_address("127.0.0.1") in resolve("localhost")
    with pytest.raises(ValueError, match="no host of this name is known"):
        resolve("no host of this name")


@pytest.mark.parametrize(
    ("allow", "deny", "client", "allowed"),
    [
        ("", "", "192.0.2.1", True),
        ("192.0.2.1", "", "192.0.2.1", True),
        ("192.0.2.1", "", "192.0.2.2", False),
        ("10.", "", "127.0.0.1", True),
        ("10.", "", "::1", True),
        ("10.", "", "127.0.0.2", False),
        ("10.", "ALL", "127.0.0.1", False),
        ("10.", "127.", "127.0.0.1", False),
        ("127.0.0.1", "ALL", "127.0.0.1", True),
        ("", "127.0.0.1", "127.0.0.1", False),
        ("", "192.0.2.", "192.0.2.1", False),
        ("", "192.0.2.", "198.51.100.1", True),
        ("192.0.2.1", "ALL", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.", "192.0.2.2", False),
        ("192.0.2.1", "192.0.2.", "198.51.100.1", True),
        ("ALL", "", "not an address", False),
    ],
)
def test_allow_comes_before_deny(allow: str, deny: str, client: str, allowed: bool) -> None:
    allow_list = parse_hosts(allow.split(), resolver) if allow else EMPTY
    deny_list = parse_hosts(deny.split(), resolver) if deny else EMPTY
    assert is_allowed(client, allow_list, deny_list) is allowed
