"""Which account a principal is, and which it is not."""

import pytest
from mountd_helpers import FakeAccounts

from usmbd.mountd.identity import Account
from usmbd.mountd.kerberos.principals import Mapping, Principal, parse_principal
from usmbd.mountd.users import UserTable

NOBODY = UserTable()


def of(text: str, own: str = "R.TEST") -> Principal:
    return parse_principal(text, own)


def accounts(*names: str) -> FakeAccounts:
    made = FakeAccounts()
    made.accounts |= {name: Account(name, 5000, 100, ()) for name in names}
    return made


def test_the_spellings_of_a_domain_come_before_the_bare_name() -> None:
    mapping = Mapping("DOM")
    for name in ("DOM\\alice", "alice@R.TEST", "alice@r.test"):
        assert mapping.find(of("alice@R.TEST"), NOBODY, accounts(name)) == name
    assert mapping.find(of("alice@R.TEST"), NOBODY, accounts()) == "alice"
    assert mapping.find(of("ALICE@R.TEST"), NOBODY, accounts()) == "alice"
    assert mapping.find(of("alice@R.TEST"), NOBODY, accounts("PAC\\alice"), "PAC") == "PAC\\alice"
    plus = Mapping("DOM", separator="+")
    assert plus.find(of("alice@R.TEST"), NOBODY, accounts("DOM+alice")) == "DOM+alice"


def test_another_realm_has_no_bare_names_and_no_domains() -> None:
    """Whoever runs it could have an `alice`, or say that its domain is DOM."""
    mapping, stranger = Mapping("DOM"), of("alice@EVIL.TEST")
    assert mapping.find(stranger, NOBODY, accounts("DOM\\alice"), "DOM") is None
    assert mapping.find(stranger, UserTable({"alice": bytes(16)}), accounts()) is None
    assert mapping.find(stranger, NOBODY, accounts("alice@evil.test")) == "alice@evil.test"
    named = Mapping("DOM", realm="OTHER.TEST")
    assert named.find(of("alice@R.TEST"), NOBODY, accounts()) is None


def test_users_of_the_password_file_are_the_same_by_ticket() -> None:
    users = UserTable({"Alice": bytes(16), "ghost": bytes(16)})
    none = FakeAccounts()
    none.accounts = {}
    assert Mapping("DOM").find(of("alice@R.TEST"), users, none) == "Alice"
    assert Mapping("DOM").find(of("ghost@R.TEST"), users, none) == "ghost"
    assert Mapping("DOM").find(of("nobody2@R.TEST"), users, none) is None


def test_min_domain_uid() -> None:
    assert Mapping("DOM").find(of("root@R.TEST"), NOBODY, accounts()) is None
    assert Mapping("DOM", least_uid=0).find(of("root@R.TEST"), NOBODY, accounts()) == "root"
    users = UserTable({"root": bytes(16)})
    assert Mapping("DOM").find(of("root@R.TEST"), users, accounts()) is None


@pytest.mark.parametrize(
    "text", ["", "alice", "@R", "alice@", "a/b@R", "a\\@b@R", "a@b@R", "a\n@R"]
)
def test_what_is_no_user(text: str) -> None:
    with pytest.raises(ValueError, match="no user"):
        of(text)
    with pytest.raises(ValueError, match="no user"):
        of("a" * 300 + "@R")
