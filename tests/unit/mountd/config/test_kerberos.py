"""Kerberos and the ranges of domains, as files say them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mountd_helpers import FakeAccounts, configuration

from usmbd.mountd import service
from usmbd.mountd.config.idmap import IdmapRange
from usmbd.mountd.config.kerberos import KerberosConfig
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.identity import Account
from usmbd.mountd.kerberos.login import TicketLogin
from usmbd.mountd.kerberos.offer import offered
from usmbd.mountd.kerberos.principals import parse_principal
from usmbd.mountd.users import UserTable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("kerberos method = secrets only", None),
        ("dedicated keytab file = /k", None),  # as with Samba, the method says whether
        ("realm = R.TEST", None),
        ("security = user\nserver role = standalone", None),
        ("kerberos method = system keytab", KerberosConfig()),
        ("kerberos method = secrets and keytab", KerberosConfig()),
        ("security = ads\nrealm = R.TEST", KerberosConfig(realm="R.TEST")),
        ("security = ads\nrealm = *", KerberosConfig()),
        ("server role = member server", KerberosConfig()),
        (
            "kerberos method = dedicated keytab\ndedicated keytab file = MEMORY:rel",
            KerberosConfig("MEMORY:rel"),
        ),
        (
            "kerberos method = dedicated keytab\ndedicated keytab file = FILE:/k\n"
            "winbind separator = +\nmin domain uid = 5",
            KerberosConfig("FILE:/k", separator="+", least_uid=5),
        ),
        ("kerberos support = no\nkerberos keytab file = /k", None),
        (
            "kerberos support = yes\nkerberos keytab file = /k\nkerberos service name = cifs/h",
            KerberosConfig("/k", "cifs/h"),
        ),
    ],
)
def test_where_the_keys_are(text: str, expected: KerberosConfig | None) -> None:
    config = configuration(f"[global]\n{text}\n")
    assert config.kerberos == expected
    assert config.server.kerberos is (expected is not None)
    assert config.warnings == []


def test_without_a_keytab_there_is_no_kerberos_and_a_warning() -> None:
    config = offered(
        configuration("[global]\nkerberos support = yes\nkerberos keytab file = /no/k")
    )
    assert (config.kerberos, config.server.kerberos) == (None, False)
    assert "Kerberos is not offered" in config.warnings[0]
    with pytest.raises(ConfigError, match="nobody could log in"):
        offered(
            configuration(
                "[global]\nkerberos support = yes\nkerberos keytab file = /no/k\n"
                "ntlm auth = disabled"
            )
        )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("kerberos method = dedicated keytab", "write the file's name as `dedicated keytab file`"),
        ("dedicated keytab file = rel/kt", "'rel/kt' is not an absolute path"),
        ("kerberos keytab file = FILE:kt", "'kt' is not an absolute path"),
        ("kerberos method = guess", "'guess' is none of default, secrets only, system keytab"),
        ("ntlm auth = disabled", "nobody could log in without Kerberos"),
        ("winbind separator = ab", "it is one character"),
        ("idmap config A : backend = rid", "`idmap config A : range` is missing"),
        ("idmap config A : backend = rid\nidmap config A : range = 9-3", "a range is LOW-HIGH"),
        (
            "idmap config * : backend = autorid\nidmap config * : range = 10000-99999\n"
            "idmap config * : rangesize = x",
            "it is no number",
        ),
        (
            "idmap config A : backend = rid\nidmap config A : range = 100-200\n"
            "idmap config B : backend = rid\nidmap config B : range = 200-300",
            "the range of A overlaps it",
        ),
    ],
)
def test_what_does_not_fit(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=r"usmbd\.conf:\d+: ") as error:
        configuration(f"[global]\n{text}\n")
    assert why in str(error.value)


def test_ranges_of_domains() -> None:
    config = configuration(
        "[global]\nidmap config * : backend = tdb\nidmap config * : range = 3000-7999\n"
        "idmap config dom:backend = RID\nidmap config DOM : range = 10000 - 19999\n"
        "idmap config DOM : base_rid = 1000\nidmap config X : backend = nss\n"
    )
    assert config.idmap == [IdmapRange("DOM", "rid", 10000, 19999, 1000)]
    assert len(config.warnings) == 1
    assert (
        "idmap config * : backend = tdb: ids are those that the system knows" in config.warnings[0]
    )
    auto = configuration(
        "[global]\nidmap config * : backend = autorid\nidmap config * : range = 100000-999999\n"
        "idmap config * : rangesize = 200000\n"
    )
    assert auto.idmap == [IdmapRange("*", "autorid", 100000, 999999, 0, 200000)]


@pytest.fixture
def tickets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], TicketLogin]:
    """Return what makes mountd's taker of tickets of lines in [global], without a keytab."""
    monkeypatch.setattr(service, "Acceptor", lambda *arguments: arguments)

    def make(text: str) -> TicketLogin:
        lines = f"[global]\nworkgroup = DOM\nkerberos method = system keytab\n{text}\n"
        config = configuration(lines)
        mountd = service.Service(config, tmp_path / "users", FakeAccounts())
        made = mountd._read_keytab(config, UserTable())
        assert made is not None
        return made

    return make


@pytest.mark.parametrize(
    ("text", "principal", "account", "found"),
    [
        ("", "alice@R.TEST", "DOM+alice", "alice"),
        ("winbind separator = +", "alice@R.TEST", "DOM+alice", "DOM+alice"),
        ("", "root@R.TEST", "", None),
        ("min domain uid = 0", "root@R.TEST", "", "root"),
        ("realm = R.TEST", "alice@R.TEST", "", "alice"),
        ("realm = OTHER.TEST", "alice@R.TEST", "", None),
        ("", "alice@FAR.TEST", "alice@FAR.TEST", "alice@FAR.TEST"),
        ("allow trusted domains = no", "alice@FAR.TEST", "alice@FAR.TEST", None),
        ("allow trusted domains = no", "alice@R.TEST", "", "alice"),
    ],
)
def test_what_lines_say_of_principals(
    tickets: Callable[[str], TicketLogin],
    text: str,
    principal: str,
    account: str,
    found: str | None,
) -> None:
    accounts = FakeAccounts()
    if account:
        accounts.accounts[account] = Account(account, 5000, 100, ())
    mapping = tickets(text)._mapping
    assert mapping.find(parse_principal(principal, "R.TEST"), UserTable(), accounts) == found


def test_the_name_of_the_service(tickets: Callable[[str], TicketLogin]) -> None:
    text = "kerberos support = yes\nkerberos keytab file = /k\nkerberos service name = cifs/h"
    assert tickets(text).acceptor == ("/k", "cifs/h")
    assert tickets("").acceptor != ("/k", "cifs/h")


@pytest.mark.parametrize(
    ("said", "ntlm", "ntlmv1"),
    [
        ("", True, False),
        ("no", True, False),
        ("NTLMv2-only", True, False),
        ("mschapv2-and-ntlmv2-only", True, False),
        ("yes", True, True),
        ("true", True, True),
        ("ntlmv1-permitted", True, True),
        ("disabled", False, False),
    ],
)
def test_which_versions_of_ntlm_are_taken(said: str, ntlm: bool, ntlmv1: bool) -> None:
    """smb.conf(5); NTLMv1 is warned of."""
    line = f"ntlm auth = {said}" if said else ""
    config = configuration(f"[global]\nkerberos method = system keytab\n{line}\n")
    assert (config.server.ntlm, config.server.ntlmv1) == (ntlm, ntlmv1)
    assert len(config.warnings) == ntlmv1
    if ntlmv1:
        assert "usmbd.conf:3: ntlm auth = ntlmv1-permitted: who listens" in config.warnings[0]
