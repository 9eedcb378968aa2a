"""What administrators write into smb.conf by hand, and smbd takes."""

import difflib
from typing import Any, NoReturn

import pytest
from mountd_helpers import configuration

from usmbd.mountd.config.source import Entry


@pytest.mark.parametrize(
    "lines", ["writable = yes\nread only = yes", "read only = yes\nwrite ok = yes"]
)
def test_of_both_what_lets_nobody_do_more_counts(lines: str) -> None:
    """Many files say both; Samba follows the last, whatever it is."""
    config = configuration(f"[a]\npath = /tmp\n{lines}\nguest ok = no\npublic = yes\n")
    share = config.find_share("a")
    assert share is not None
    assert (share.config.read_only, share.config.guest_ok) == (True, False)
    told = [warning.split("'")[1] for warning in config.warnings if "is safer" in warning]
    assert told == ["writable" if "writable" in lines else "write ok", "public"]


def test_a_share_without_a_path_is_left_out_aloud() -> None:
    config = configuration("[globals]\nworkgroup = W\n[a]\nbrowseable = no\n[b]\npath = /tmp\n")
    assert sorted(config.shares) == ["b", "ipc$"]
    assert config.server.workgroup == "W"
    assert config.warnings == [
        "/etc/usmbd.conf:3: the share [a] has no path: path = /folder (it is left out)"
    ]


def test_a_group_without_a_name_is_nobody() -> None:
    """A list of it alone is not everybody's."""
    config = configuration("[a]\npath = /tmp\nvalid users = @\n")
    share = config.find_share("a")
    assert share is not None
    assert share.access.valid_users == ("@",)
    assert config.warnings == ["/etc/usmbd.conf:3: valid users: there is no group '' (now)"]


def test_what_all_shares_of_an_appliance_have_is_looked_for_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To look for the nearest name takes 0.5 ms, and there may be 2,000 shares."""
    asked: list[str] = []
    find = difflib.get_close_matches

    def counted(word: str, *about: Any, **more: Any) -> list[str]:
        asked.append(word)
        return find(word, *about, **more)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    share = "path = /tmp\nfancy of mine = no\n"
    (warning,) = configuration(f"[a]\n{share}[b]\n{share}[c]\n{share}").warnings
    assert "'fancy of mine', 'fancy of mine' (line 6), 'fancy of mine' (line 9)" in warning
    assert asked.count("fancyofmine") <= 2


def test_what_all_shares_of_an_appliance_have_is_gathered_without_a_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each among all before: 2,000 shares with three of them took two seconds."""

    def compared(*_: object) -> NoReturn:
        raise AssertionError

    monkeypatch.setattr(Entry, "__eq__", compared)
    share = "path = /tmp\nsyslog = 1\n"
    (warning,) = configuration(f"[a]\n{share}[b]\n{share}[c]\n{share}").warnings
    assert "'syslog', 'syslog' (line 6), 'syslog' (line 9)" in warning
