"""Texts of parameters at their edges: quotes, lists, substitutions, ports, modules, the machine."""

import os
import re
import resource
from collections.abc import Callable

import pytest

from usmbd.mountd.config import values
from usmbd.mountd.config.values import Noted
from usmbd.mountd.ipc.settings import Encryption
from usmbd.mountd.substitute import Template

Parse = Callable[[object], object]


def value(parse: object, said: object) -> object:
    return parse(said)  # type: ignore[operator]


MEANT: list[tuple[object, object, object]] = [
    (values.text, "plain", "plain"),
    (values.text, '"in quotes"', "in quotes"),
    (values.text, '"', '"'),
    (values.text, '""', ""),
    (values.text, 'say "it"', 'say "it"'),
    (values.text, '"begun', '"begun'),
    (values.text, "100%%", "100%"),
    (values.template, "plain", "plain"),
    (values.template_path, "/srv//a/../b/", "/srv/b"),
    (values.template_path, "", ""),
    (values.template_path, "%H/x", "%H/x"),
    (values.template_path, "/srv/%U/", "/srv/%U/"),
    (values.path, "/srv/./a/", "/srv/a"),
    (values.path, "", ""),
    (values.name_text(3), "abc", "abc"),
    (values.name_text(3), "a", "a"),
    (values.number(1, 10), "10", 10),
    (values.number(1, 10), "1", 1),
    (values.number(0, 1 << 70), "9" * 20, int("9" * 20)),
    (values.number(0, 1 << 40), "1g", 1 << 30),
    (values.minutes, "7", 420),
    (values.minutes, str(60 * 24 * 365), 60 * 24 * 365 * 60),
    (values.mode, "0o17", 0o17),
    (values.mode, "7777", 0o7777),
    (values.mode, "0", 0),
    (values.mode, "07777", 0o7777),
    (values.words, "a, b\tc  d,", ["a", "b", "c", "d"]),
    (values.words, '"two words" one', ["two words", "one"]),
    (values.words, "a#b it's a\\b", ["a#b", "it's", "a\\b"]),
    (values.words, "", []),
    (values.words, ["a b", "", "c"], ["a b", "c"]),
    (values.users, "alice, @staff +wheel", ["alice", "@staff", "@wheel"]),
    (values.users, "%U @%G", ["%U", "@%G"]),
    (values.veto_patterns, "/a b/*.tmp//", ["a b", "*.tmp"]),
    (values.veto_patterns, "", []),
    (values.veto_patterns, ["a", "", "b"], ["a", "b"]),
    (values.lowest_dialect, "default", 0x202),
    (values.lowest_dialect, "SMB3", 0x311),
    (values.highest_dialect, "default", 0x311),
    (values.highest_dialect, "SMB2", 0x210),
    (values.log_level, "3", 3),
    (values.log_level, "10", 10),
    (values.port, "445", 445),
    (values.port, "1", 1),
    (values.port, "65535", 65535),
    (values.port, "139", 139),
    (values.auto_boolean("auto", meaning=True), "AUTO", True),
    (values.auto_boolean("auto", meaning=False), "auto", False),
    (values.auto_boolean("auto", meaning=True), "no", False),
    (values.without_effect("later"), "no", False),
    (values.vfs_objects, "streams_xattr ACL_XATTR", ["streams_xattr", "acl_xattr"]),
    (values.vfs_objects, "", []),
    (
        values.choice(Encryption, never_ever=Encryption.DESIRED.value),
        "NEVER EVER",
        Encryption.DESIRED,
    ),
    (values.choice(Encryption), Encryption.REQUIRED.value, Encryption.REQUIRED),
    (values.interfaces, "eth0 192.0.2.0/24 lo* 2001:db8::/32", None),
    (values.interfaces, "192.0.2.1", ["192.0.2.1"]),
    (values.workers, "1", 1),
    (values.workers, "256", 256),
]


@pytest.mark.parametrize(("parse", "said", "meant"), MEANT)
def test_what_is_meant(parse: object, said: object, meant: object) -> None:
    if meant is None:
        assert value(parse, said) == str(said).split()
    else:
        assert value(parse, said) == meant


REFUSED: list[tuple[object, object, str]] = [
    (values.text, ["a", "b"], "not a list"),
    (values.text, "a\x07b", "control characters"),
    (values.text, "%U", "no substitutions such as %U"),
    (values.template, "%q", "%q is not known here, only %"),
    (values.template_path, "srv", "not an absolute path"),
    (values.template_path, "%U/x", "not an absolute path"),
    (values.path, "srv/a", "not an absolute path"),
    (values.name_text(3), "abcd", "1 to 3 characters"),
    (values.name_text(3), "", "1 to 3 characters"),
    (values.number(1, 10), "-5", "-5 is not between 1 and 10"),
    (values.number(1, 10), "0", "0 is not between 1 and 10"),
    (values.number(1, 10), "11", "11 is not between 1 and 10"),
    (values.number(0, 1 << 80), "9" * 21, "a number from 0 to"),
    (values.number(1, 10), "ten", "'ten' is not a number"),
    (values.minutes, str(60 * 24 * 365 + 1), "not between"),
    (values.mode, "77777", "octal mode"),
    (values.mode, "8", "octal mode"),
    (values.words, 'a "b', "a quote is not closed"),
    (values.words, "a %U", "no substitutions"),
    (values.users, "&nis", "netgroups"),
    (values.users, "@&nis", "netgroups"),
    (values.users, "+&nis", "netgroups"),
    (values.users, "&+nis", "netgroups"),
    (values.veto_patterns, "a*", "between slashes"),
    (values.dialect, "SMB1", "'SMB1' is none of SMB2_02"),
    (values.highest_dialect, "NT1", "is none of"),
    (values.log_level, "11", "not between 0 and 10"),
    (values.log_level, "", "is not a number"),
    (values.port, "0", "not between"),
    (values.port, "65536", "not between"),
    (values.port, "", "is not a number"),
    (values.vfs_objects, "nosuchmodule", "usmbd has no 'nosuchmodule', only acl_xattr"),
    (values.interfaces, "192.0.2.0/33", "no interface, address or network"),
    (values.interfaces, "fe80:::1", "no interface, address or network"),
    (values.workers, "0", "not between 1 and 256"),
    (values.workers, "257", "not between 1 and 256"),
    (values.choice(Encryption), "some", "'some' is none of"),
]


@pytest.mark.parametrize(("parse", "said", "why"), REFUSED)
def test_what_is_refused_and_why(parse: object, said: object, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        value(parse, said)


NOTED: list[tuple[object, object, object, str]] = [
    (values.dialect, "SMB2_22", 0x300, "SMB2_22 is taken for SMB3_00"),
    (values.dialect, "SMB2_24", 0x300, "SMB3_00"),
    (values.dialect, "smb3_10", 0x311, "SMB3_11"),
    *((values.lowest_dialect, old, 0x202, "not served") for old in ("NT1", "core", "LANMAN2")),
    (values.log_level, "1 auth:3", 1, "holds for all areas"),
    (values.port, "445 139", 445, "139: not listened on, only 445"),
    (values.port, "139 445", 445, "139: not listened on, only 445"),
    (values.port, "139 445 1445", 445, "139, 1445: not listened on"),
    (values.without_effect("later"), "yes", False, "later"),
    (values.interfaces, '"eth0;speed=1000" lo', ["eth0", "lo"], "speed=1000: left out"),
]


@pytest.mark.parametrize(("parse", "said", "meant", "note"), NOTED)
def test_what_is_taken_with_a_note(parse: object, said: object, meant: object, note: str) -> None:
    found = value(parse, said)
    assert isinstance(found, Noted)
    assert found.value == meant
    assert note in found.note


def test_what_stands_for_others_is_a_template() -> None:
    assert isinstance(values.template("/srv/%U"), Template)
    assert isinstance(values.template_path("/srv/%U"), Template)
    assert not isinstance(values.template("100%%"), Template)
    user, group, plain = values.users("%U @%G alice")
    assert isinstance(user, Template)
    assert isinstance(group, Template)
    assert not isinstance(plain, Template)


def test_modules_that_change_nothing_are_left_out_aloud() -> None:
    from usmbd.mountd.config.samba import MODULES, REFUSED_MODULES

    harmless = sorted(set(MODULES) - set(REFUSED_MODULES))[0]
    found = values.vfs_objects(f"streams_xattr {harmless}:x")
    assert isinstance(found, Noted)
    assert found.value == ["streams_xattr"]
    assert harmless in found.note
    refused = sorted(REFUSED_MODULES)[0]
    with pytest.raises(ValueError, match=refused):
        values.vfs_objects(refused.upper().lower())


def test_workers_are_as_many_as_cores_and_two_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, workers in ((1, 2), (2, 2), (3, 3), (16, 16)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid, n=cores: set(range(n)))
        assert values.workers("AUTO") == workers


@pytest.mark.parametrize(
    ("descriptors", "mebibytes", "connections"),
    [
        (1 << 20, 1 << 20, 16384),
        (1 << 20, 4000, 4000),
        (4096, 1 << 20, 1024),
        (4099, 1 << 20, 1024),
        (64, 1 << 20, 256),
        (1 << 20, 100, 256),
        (resource.RLIM_INFINITY, 1 << 20, 16384),
        (resource.RLIM_INFINITY, 8000, 8000),
        (16383 * 4, 1 << 20, 16383),
    ],
)
def test_a_machine_is_good_for_so_many_connections(
    monkeypatch: pytest.MonkeyPatch, descriptors: int, mebibytes: int, connections: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (10, descriptors))
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": mebibytes << 8}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    assert values.default_connections() == connections
    assert values.default_ip_connections() == connections // 2
