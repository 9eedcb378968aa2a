"""Users made, removed and given passwords by SAM's calls, with impacket and by hand."""

import dataclasses
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from impacket.dcerpc.v5 import samr
from impacket.dcerpc.v5.dtypes import MAXIMUM_ALLOWED, NULL
from rpc_client import KEY, Served
from sam_passwords import aes_change, aes_set, hashed, plain, salted

from usmbd.mountd.account_facts import AccountFacts, PasswordPolicy
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.rpc.interfaces import samr as interface
from usmbd.mountd.users import load_users

DENIED, WRONG, RESTRICTED = 0xC0000022, 0xC000006A, 0xC000006C
EXISTS, BAD_NAME, NO_USER = 0xC0000063, 0xC0000062, 0xC0000064
PARAMETER, NOT_SUPPORTED, NTLM_BLOCKED = 0xC000000D, 0xC00000BB, 0xC0000418


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """Return a server that the administrator man asks; each user's password is his name."""
    return Served(interface.interface, tmp_path, ndr64=False)


@pytest.fixture
def domain(served: Served) -> Any:
    return open_domain(served)


def open_domain(served: Served) -> Any:
    server = samr.hSamrConnect5(served)["ServerHandle"]
    sid = samr.RPC_SID()
    sid.fromCanonical("S-1-5-21-1-2-3")
    return samr.hSamrOpenDomain(served, server, domainId=sid)["DomainHandle"]


def fails(status: int, call: Callable[[], Any]) -> None:
    with pytest.raises(samr.DCERPCSessionError) as found:
        call()
    assert found.value.get_error_code() == status


def hashes(served: Served) -> dict[str, bytes]:
    return load_users(served.folder / "passwords.db").hashes


def open_user(served: Served, domain: Any, name: str, access: int = MAXIMUM_ALLOWED) -> Any:
    rids = samr.hSamrLookupNamesInDomain(served, domain, (name,))["RelativeIds"]["Element"]
    return samr.hSamrOpenUser(served, domain, access, rids[0]["Data"])["UserHandle"]


def create(served: Served, domain: Any, name: str, kind: int = 0x10) -> Any:
    request = samr.SamrCreateUser2InDomain()
    request["DomainHandle"] = domain
    request["Name"] = name
    request["AccountType"] = kind
    request["DesiredAccess"] = MAXIMUM_ALLOWED
    return served.request(request)["UserHandle"]


def test_a_user_is_made_and_removed(served: Served, domain: Any) -> None:
    create(served, domain, "carol")
    made = hashes(served)["carol"]
    assert made not in (nt_hash(""), nt_hash("carol"), bytes(16))
    user = open_user(served, domain, "carol")
    fails(EXISTS, lambda: create(served, domain, "Carol"))
    fails(EXISTS, lambda: create(served, domain, "man"))
    for name in ("a:b", " x", "y" * 48, "#@bob", "#bob", "W\\x"):
        fails(BAD_NAME, lambda name=name: create(served, domain, name))
    fails(PARAMETER, lambda: create(served, domain, "machine$", 0x80))
    samr.hSamrDeleteUser(served, user)
    assert "carol" not in hashes(served)
    assert "carol" not in served.service.users.hashes


def test_others_make_and_remove_nobody(served: Served) -> None:
    served.become("games")
    domain = open_domain(served)
    fails(DENIED, lambda: create(served, domain, "carol"))
    user = open_user(served, domain, "man")
    fails(DENIED, lambda: samr.hSamrDeleteUser(served, user))
    assert sorted(hashes(served)) == ["games", "man"]


def test_a_user_whom_a_share_names_stays(served: Served, domain: Any) -> None:
    path = served.folder / "usmbd.conf"
    path.write_text(path.read_text() + "\tvalid users = games\n")
    served.service.reload()
    user = open_user(served, domain, "games")
    fails(DENIED, lambda: samr.hSamrDeleteUser(served, user))
    assert "games" in hashes(served)


def set_password(served: Served, user: Any, level: int, data: bytes) -> int:
    """Make SamrSetInformationUser2 of a level with these bytes; the status."""
    head = user + struct.pack("<HH", level, level)
    stub = served.run(58, head + data)
    return int.from_bytes(stub[-4:], "little")


@pytest.mark.parametrize("level", [18, 24, 26, 31])
def test_an_administrator_sets_a_password(served: Served, domain: Any, level: int) -> None:
    user = open_user(served, domain, "games")
    made: dict[int, Callable[[], bytes]] = {
        18: lambda: hashed("new pässword", KEY),
        24: lambda: plain("new pässword", KEY) + b"\0",
        26: lambda: salted("new pässword", KEY) + b"\0",
        31: lambda: aes_set("new pässword", KEY, 24),
    }
    assert set_password(served, user, level, made[level]()) == 0
    assert hashes(served)["games"] == nt_hash("new pässword")
    assert served.service.users.hashes["games"] == nt_hash("new pässword")
    assert b"new" not in (served.folder / "passwords.db").read_bytes()


def test_a_password_of_another_session_is_none(served: Served, domain: Any) -> None:
    user = open_user(served, domain, "games")
    for _ in range(5):
        status = set_password(served, user, 24, plain("new", bytes(16)) + b"\0")
        assert status in (WRONG, RESTRICTED)
    assert hashes(served)["games"] == nt_hash("games")
    assert set_password(served, user, 24, plain("", KEY) + b"\0") == RESTRICTED
    assert hashes(served)["games"] == nt_hash("games")


def test_a_password_that_has_to_be_changed_first(served: Served, domain: Any) -> None:
    user = open_user(served, domain, "games")
    assert set_password(served, user, 24, plain("new", KEY) + b"\1") == 0
    assert served.service.users.facts_of("games").must_change
    served.become("")  # nobody else could ask
    fails(RESTRICTED, lambda: change(served, "games", "new", "new"))
    change(served, "games", "new", "own")
    assert not served.service.users.facts_of("games").must_change


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        (AccountFacts(int(time.time())), RESTRICTED),
        (AccountFacts(1, disabled=True), DENIED),
        (AccountFacts(1, ends=2), DENIED),
        (AccountFacts(int(time.time()), must_change=True), 0),
        (AccountFacts(1), 0),
    ],
)
def test_who_may_change_his_password_when(served: Served, facts: AccountFacts, status: int) -> None:
    policy = PasswordPolicy(minimum_age=1000)
    configuration = dataclasses.replace(served.service.configuration, policy=policy)
    served.service.configuration = configuration
    served.service.edit_users(lambda users: users.facts.update(games=facts))
    fails(WRONG, lambda: change(served, "games", "wrong", "new"))
    if status:
        fails(status, lambda: change(served, "games", "games", "new"))
    else:
        change(served, "games", "games", "new")
    assert hashes(served)["games"] == nt_hash("games" if status else "new")


def test_others_set_no_passwords(served: Served) -> None:
    served.become("games")
    domain = open_domain(served)
    user = open_user(served, domain, "man")
    assert set_password(served, user, 24, plain("new", KEY) + b"\0") == DENIED
    assert hashes(served)["man"] == nt_hash("man")


def change(served: Served, user: str, old: str, new: str) -> None:
    samr.hSamrUnicodeChangePasswordUser2(served, NULL, user, old, new)


def test_a_user_changes_his_password(served: Served) -> None:
    served.become("games")
    change(served, "Games", "games", "sécret")
    assert hashes(served)["games"] == nt_hash("sécret")
    fails(WRONG, lambda: change(served, "games", "games", "again"))
    fails(WRONG, lambda: change(served, "nobody there", "games", "again"))
    fails(RESTRICTED, lambda: change(served, "games", "sécret", ""))
    assert hashes(served)["games"] == nt_hash("sécret")
    longest = "é" * 256
    change(served, "games", "sécret", longest)
    assert hashes(served)["games"] == nt_hash(longest)


def test_no_change_by_ntlm_s_hashes_where_ntlm_is_not_had(served: Served) -> None:
    """smb.conf(5), `ntlm auth = disabled`: by AES it is none."""
    served.become("games")
    configuration = served.service.configuration
    server = msgspec.structs.replace(configuration.server, ntlm=False)
    served.service.configuration = dataclasses.replace(configuration, server=server)
    fails(NTLM_BLOCKED, lambda: change(served, "games", "games", "new"))
    assert hashes(served)["games"] == nt_hash("games")
    assert served.run(73, aes_change("games", "games", "by AES", iterations=5000))[-4:] == bytes(4)


def test_guessing_by_changes_is_slow(served: Served) -> None:
    for _ in range(5):
        fails(WRONG, lambda: change(served, "games", "guess", "mine"))
    assert served.delayed > 0.4


def test_a_password_is_changed_by_aes(served: Served) -> None:
    stub = aes_change("games", "games", "by AES", iterations=5000)
    assert served.run(73, stub)[-4:] == bytes(4)
    assert hashes(served)["games"] == nt_hash("by AES")
    assert served.run(73, stub)[-4:] == struct.pack("<I", WRONG)
    few = aes_change("games", "by AES", "again", iterations=10)
    assert served.run(73, few)[-4:] == struct.pack("<I", WRONG)


def test_what_is_the_system_s(served: Served, domain: Any) -> None:
    fails(NOT_SUPPORTED, lambda: samr.hSamrCreateGroupInDomain(served, domain, "new"))
    fails(NOT_SUPPORTED, lambda: samr.hSamrCreateAliasInDomain(served, domain, "new"))
    served.become("games")
    domain = open_domain(served)
    fails(DENIED, lambda: samr.hSamrCreateAliasInDomain(served, domain, "new"))


def test_what_stays_as_it_is(served: Served, domain: Any) -> None:
    user = open_user(served, domain, "games")
    control = samr.SAMPR_USER_INFO_BUFFER()
    control["tag"] = samr.USER_INFORMATION_CLASS.UserControlInformation
    control["Control"]["UserAccountControl"] = 0x10 | 0x200
    samr.hSamrSetInformationUser2(served, user, control)
    assert served.service.users.facts_of("games") == AccountFacts()
    control["Control"]["UserAccountControl"] = 0x80 | 0x200  # a workstation's
    fails(NOT_SUPPORTED, lambda: samr.hSamrSetInformationUser2(served, user, control))


def all_of(served: Served, user: Any) -> Any:
    level = samr.USER_INFORMATION_CLASS.UserAllInformation
    answer = samr.hSamrQueryInformationUser2(served, user, level)
    return answer["Buffer"]["All"]


def moment(time: Any) -> int:
    """Return a time in seconds since 1970."""
    filetime = time["HighPart"] << 32 | time["LowPart"] & 0xFFFFFFFF
    return int(filetime // 10**7 - 11644473600)


def set_info(served: Served, user: Any, kind: str, arm: str, **fields: Any) -> None:
    """Set one level of a user."""
    buffer = samr.SAMPR_USER_INFO_BUFFER()
    buffer["tag"] = getattr(samr.USER_INFORMATION_CLASS, kind)
    for name, value in fields.items():
        buffer[arm][name] = value
    samr.hSamrSetInformationUser2(served, user, buffer)


def test_an_administrator_closes_and_ends_accounts(served: Served, domain: Any) -> None:
    def facts() -> AccountFacts:
        known = load_users(served.folder / "passwords.db").facts_of("games")
        return dataclasses.replace(known, changed=0)

    def control(value: int) -> None:
        arm = {"UserAccountControl": value}
        set_info(served, user, "UserControlInformation", "Control", **arm)

    user = open_user(served, domain, "games")
    control(0x211)
    assert facts() == AccountFacts(disabled=True)
    assert all_of(served, user)["UserAccountControl"] == 0x211
    control(0x210)
    assert facts() == AccountFacts()
    ends = samr.OLD_LARGE_INTEGER()
    ends["LowPart"], ends["HighPart"] = divmod((2_000_000_000 + 11644473600) * 10**7, 1 << 32)[::-1]
    set_info(served, user, "UserExpiresInformation", "Expires", AccountExpires=ends)
    assert facts() == AccountFacts(ends=2_000_000_000)
    assert moment(all_of(served, user)["AccountExpires"]) == 2_000_000_000
    ends["LowPart"], ends["HighPart"] = 0xFFFFFFFF, 0x7FFFFFFF
    set_info(served, user, "UserExpiresInformation", "Expires", AccountExpires=ends)
    assert facts() == AccountFacts()


def test_all_of_it_is_set_at_once(served: Served, domain: Any) -> None:
    """As MMC does: what is to change, in UserAllInformation."""
    user = open_user(served, domain, "games")
    buffer = samr.SAMPR_USER_INFO_BUFFER()
    buffer["tag"] = samr.USER_INFORMATION_CLASS.UserAllInformation
    whole = all_of(served, user)
    whole["WhichFields"] = 0x08000000 | 0x100000
    whole["UserAccountControl"], whole["PasswordExpired"] = 0x211, 1
    buffer["All"] = whole
    samr.hSamrSetInformationUser2(served, user, buffer)
    known = served.service.users.facts_of("games")
    assert (known.disabled, known.must_change) == (True, True)
    told = all_of(served, user)
    assert (told["PasswordExpired"], told["UserAccountControl"]) == (1, 0x11)
    assert moment(told["PasswordMustChange"]) == -11644473600
    served.become("games")
    user = open_user(served, open_domain(served), "games")
    fails(DENIED, lambda: samr.hSamrSetInformationUser2(served, user, buffer))


def test_passwords_that_never_expire_are_told_as_such(served: Served, domain: Any) -> None:
    """0 would be an age of nothing: `net accounts` of Windows, rpcclient's querydominfo 1."""
    level = samr.DOMAIN_INFORMATION_CLASS.DomainPasswordInformation
    rules = samr.hSamrQueryInformationDomain2(served, domain, level)["Buffer"]["Password"]
    assert (rules["MaxPasswordAge"]["HighPart"], rules["MaxPasswordAge"]["LowPart"]) == (
        -(2**31),
        0,
    )


def test_what_is_told_of_a_password_s_age(served: Served, domain: Any) -> None:
    policy = PasswordPolicy(maximum_age=1000, minimum_age=10)
    configuration = dataclasses.replace(served.service.configuration, policy=policy)
    served.service.configuration = configuration
    served.service.use(configuration)
    served.view.snapshot = served._snapshot()
    facts = AccountFacts(2_000_000_000)
    served.service.edit_users(lambda users: users.facts.update(games=facts))
    user = open_user(served, domain, "games")
    told = all_of(served, user)
    times = ("PasswordLastSet", "PasswordCanChange", "PasswordMustChange")
    assert [moment(told[each]) - facts.changed for each in times] == [0, 10, 1000]
    assert told["UserAccountControl"] == 0x10
    level = samr.DOMAIN_INFORMATION_CLASS.DomainPasswordInformation
    rules = samr.hSamrQueryInformationDomain2(served, domain, level)["Buffer"]["Password"]
    ages = [
        (rules[each]["HighPart"] << 32) + (rules[each]["LowPart"] & 0xFFFFFFFF)
        for each in ("MaxPasswordAge", "MinPasswordAge")
    ]
    assert ages == [-1000 * 10**7, -10 * 10**7]


TEXTS = {
    "FullName": "Gästé 😀",
    "AdminComment": "plays",
    "UserComment": "all: day, 100%",
    "HomeDirectory": "\\\\host\\games",
    "HomeDirectoryDrive": "G:",
    "ScriptPath": "login.bat",
    "ProfilePath": "\\\\host\\profiles",
}
TEXT_BITS = 0x2 | 0x10 | 0x20 | 0x40 | 0x80 | 0x100 | 0x200


def told(served: Served, user: Any) -> dict[str, str]:
    whole = all_of(served, user)
    return {name: str(whole[name]) for name in TEXTS}


def set_all(served: Served, user: Any, fields: int, **said: Any) -> None:
    buffer = samr.SAMPR_USER_INFO_BUFFER()
    buffer["tag"] = samr.USER_INFORMATION_CLASS.UserAllInformation
    whole = all_of(served, user)
    whole["WhichFields"] = fields
    for name, value in said.items():
        whole[name] = value
    buffer["All"] = whole
    samr.hSamrSetInformationUser2(served, user, buffer)


def test_what_is_said_of_a_user_is_told_again(served: Served, domain: Any) -> None:
    """As lusrmgr.msc and `net user` set it, by WhichFields; all may see it, and lists have it."""
    user = open_user(served, domain, "games")
    set_all(served, user, TEXT_BITS, **TEXTS)
    assert told(served, user) == TEXTS
    known = load_users(served.folder / "passwords.db")
    assert known.facts_of("games").texts.full_name == TEXTS["FullName"]
    assert known.hashes["games"] == nt_hash("games")
    set_all(served, user, 0x10, **{name: "another" for name in TEXTS})
    assert told(served, user) == {**TEXTS, "AdminComment": "another"}
    level = samr.DOMAIN_DISPLAY_INFORMATION.DomainDisplayUser
    rows = samr.hSamrQueryDisplayInformation3(served, domain, level)["Buffer"]["UserInformation"]
    games, man = rows["Buffer"]
    assert (str(games["AdminComment"]), str(games["FullName"])) == ("another", TEXTS["FullName"])
    assert (str(man["AdminComment"]), str(man["FullName"])) == ("", "man")
    fails(PARAMETER, lambda: set_all(served, user, 0x10, AdminComment="a\nb"))
    fails(PARAMETER, lambda: set_all(served, user, 0x2, FullName="x" * 257))
    fails(NOT_SUPPORTED, lambda: set_all(served, user, 0x400, WorkStations="PC1"))
    served.become("games")
    user = open_user(served, open_domain(served), "games")
    assert told(served, user)["ProfilePath"] == TEXTS["ProfilePath"]
    fails(DENIED, lambda: set_all(served, user, 0x10, AdminComment="mine"))


@pytest.mark.parametrize(
    ("kind", "arm", "fields", "name"),
    [
        ("UserFullNameInformation", "FullName", {"FullName": "Games A."}, "FullName"),
        ("UserNameInformation", "Name", {"UserName": "games", "FullName": "G"}, "FullName"),
        ("UserAdminCommentInformation", "AdminComment", {"AdminComment": "x"}, "AdminComment"),
        ("UserScriptInformation", "Script", {"ScriptPath": "x.bat"}, "ScriptPath"),
        ("UserProfileInformation", "Profile", {"ProfilePath": "p"}, "ProfilePath"),
        (
            "UserHomeInformation",
            "Home",
            {"HomeDirectory": "h", "HomeDirectoryDrive": "H:"},
            "HomeDirectory",
        ),
    ],
)
def test_each_level_sets_its_text(
    served: Served, domain: Any, kind: str, arm: str, fields: dict[str, str], name: str
) -> None:
    user = open_user(served, domain, "games")
    set_info(served, user, kind, arm, **fields)
    assert told(served, user)[name] == fields[name]
    set_info(served, user, kind, arm, **fields)
