"""What an account is beside its password: how it is kept, and whom it keeps out."""

from pathlib import Path

import pytest
from mountd_helpers import FakeAccounts, login

from usmbd.mountd.account_facts import DAY, AccountFacts, PasswordPolicy, format_facts, parse_facts
from usmbd.mountd.config.load import load
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.ipc.messages import LoginStatus, SessionRequest
from usmbd.mountd.ipc.settings import MapToGuest, ServerConfig
from usmbd.mountd.ipc.users import Texts
from usmbd.mountd.login import Authenticator
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.users import UserTable, edit_accounts, edit_users, load_users, parse_users

NOW = 2_000_000_000
POLICY = PasswordPolicy(maximum_age=90 * DAY, minimum_age=DAY)
FILE = "alice:iEb36u6PsRetBr3YMLdYbA==\n"


def authenticator(facts: AccountFacts, **server: object) -> Authenticator:
    """Return one for alice, and a day in 2033."""
    return Authenticator(
        UserTable({"alice": nt_hash("secret")}, {"alice": facts}),
        ServerConfig(**server),  # type: ignore[arg-type]
        FakeAccounts(),
        policy=POLICY,
        clock=lambda: NOW,
    )


@pytest.mark.parametrize(
    "facts",
    [
        AccountFacts(),
        AccountFacts(changed=NOW),
        AccountFacts(NOW, disabled=True, lasting=True, must_change=True, ends=0xFFFFFFFF),
        AccountFacts(texts=Texts("Älice: [A.] 😀", home="\\\\host\\alice", profile="100%")),
        AccountFacts(NOW, ends=1, texts=Texts("a", "b", "c", "d", "e", "f", "g-h")),
    ],
)
def test_it_is_read_as_it_was_written(facts: AccountFacts) -> None:
    text = FILE + format_facts("alice", facts)
    assert parse_users(text, "f").facts_of("alice") == facts


def test_to_ksmbd_it_is_a_comment() -> None:
    line = format_facts("alice", AccountFacts(0x65F0AB12, disabled=True, lasting=True, ends=1))
    assert line == "#@alice:[DX]:LCT-65F0AB12:KO-00000001\n"


@pytest.mark.parametrize(
    "line",
    ["#@", "#@alice", "#@alice:[Q]:LCT-0", "#@a:[]:LCT-65f0ab12", "#@a:[]:LCT-65F0AB12:XX-a"],
)
def test_what_might_keep_somebody_out_is_not_passed_over(line: str) -> None:
    with pytest.raises(ConfigError, match="f:2: the line is not #@NAME"):
        parse_users(FILE + line, "f")
    with pytest.raises(ValueError, match="the line is not"):
        parse_facts(line)


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        (AccountFacts(), LoginStatus.OK),  # nobody knows how old the password is
        (AccountFacts(NOW - 90 * DAY + 1), LoginStatus.OK),
        (AccountFacts(NOW - 90 * DAY), LoginStatus.PASSWORD_EXPIRED),
        (AccountFacts(NOW - 90 * DAY, lasting=True), LoginStatus.OK),
        (AccountFacts(NOW, must_change=True), LoginStatus.PASSWORD_MUST_CHANGE),
        (AccountFacts(NOW, disabled=True, must_change=True), LoginStatus.ACCOUNT_DISABLED),
        (AccountFacts(NOW, ends=NOW), LoginStatus.ACCOUNT_EXPIRED),
        (AccountFacts(NOW, ends=NOW + 1), LoginStatus.OK),
    ],
)
def test_who_logs_in(facts: AccountFacts, status: LoginStatus) -> None:
    one = authenticator(facts, map_to_guest=MapToGuest.BAD_PASSWORD)
    answer = one.login(login("alice", "secret"))
    assert answer.status is status
    assert bool(answer.session_base_key) == (status is LoginStatus.OK)
    # Who guesses learns nothing of it.
    assert one.login(login("alice", "wrong")).status is LoginStatus.GUEST
    assert authenticator(facts).login(login("alice", "wrong")).status is LoginStatus.BAD_PASSWORD


def test_a_session_ends_with_its_account() -> None:
    assert authenticator(AccountFacts(NOW)).login(login("alice", "secret")).expires == 0
    ending = authenticator(AccountFacts(NOW, ends=NOW + 7)).login(login("alice", "secret"))
    assert ending.expires == NOW + 7


@pytest.mark.parametrize(
    ("facts", "valid"),
    [
        (AccountFacts(NOW, disabled=True), False),
        (AccountFacts(NOW, ends=NOW), False),
        (AccountFacts(NOW, must_change=True), True),
        (AccountFacts(1), True),
    ],
)
def test_what_ends_sessions_that_are_there(facts: AccountFacts, valid: bool) -> None:
    one = authenticator(facts)
    credential = one._credential("alice")
    assert one.still_valid(SessionRequest(user="alice", credential=credential)).valid is valid


def test_an_end_that_was_set_meanwhile_is_told() -> None:
    one = authenticator(AccountFacts(NOW, ends=NOW + 7))
    request = SessionRequest(user="alice", credential=one._credential("alice"))
    assert one.still_valid(request).expires == NOW + 7
    assert authenticator(AccountFacts(NOW)).still_valid(request).expires == 0


@pytest.mark.parametrize(
    ("minimum", "changed", "too_young"),
    [
        (0, NOW, False),
        (0, NOW + 100 * DAY, False),  # a clock that was put back
        (DAY, NOW + 100 * DAY, False),
        (DAY, NOW, True),
        (DAY, NOW - DAY + 1, True),
        (DAY, NOW - DAY, False),
    ],
)
def test_how_young_a_password_may_be(minimum: int, changed: int, too_young: bool) -> None:
    policy = PasswordPolicy(minimum_age=minimum)
    assert policy.is_too_young(AccountFacts(changed), NOW) is too_young
    assert not policy.is_too_young(AccountFacts(changed, must_change=True), NOW)


def test_a_password_begins_to_age_when_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(FILE + "bob:iEb36u6PsRetBr3YMLdYbA==\n#@bob:[M]:LCT-00000001\n")
    edit_users(path, lambda hashes: None)
    users = load_users(path)
    assert users.facts_of("alice").changed > 1_700_000_000
    assert users.facts_of("bob") == AccountFacts(1, must_change=True)
    edit_users(path, lambda hashes: hashes.update(bob=nt_hash("new")))
    users = load_users(path)
    assert users.facts_of("bob").changed > 1_700_000_000
    assert not users.facts_of("bob").must_change


def test_what_is_said_with_a_password_holds(tmp_path: Path) -> None:
    path = tmp_path / "users"
    edit_accounts(path, lambda users: users.put("alice", nt_hash("x"), must_change=True))
    assert load_users(path).facts_of("alice").must_change
    edit_users(path, lambda hashes: hashes.pop("alice") and None)
    edit_users(path, lambda hashes: hashes.update(alice=nt_hash("y")))
    assert not load_users(path).facts_of("alice").must_change


def test_the_ages_are_days(tmp_path: Path) -> None:
    text = "[global]\nmaximum password age = 42\nminimum password age = 1\n"
    assert load(tmp_path / "c", text).policy == PasswordPolicy(42 * DAY, DAY)
    assert load(tmp_path / "c", "").policy == PasswordPolicy()
