"""Which shares have the password file or the state directory in them."""

import dataclasses
from pathlib import Path

import msgspec
import pytest

from usmbd.mountd import exposure
from usmbd.mountd.config.load import Configuration, load
from usmbd.mountd.exposure import exposed, hidden, visible
from usmbd.protocol.worker.messages import MESSAGE_LIMIT


def warnings(tmp_path: Path, share: str, passwords: Path) -> list[str]:
    config = tmp_path / "usmbd.conf"
    config.write_text(f"[global]\nstate directory = {tmp_path}/run\n[data]\npath = {share}\n")
    return list(exposed(load(config), passwords))


def test_a_share_beside_them_is_fine(tmp_path: Path) -> None:
    passwords = tmp_path / "etc" / "pwd.db"
    for share in (tmp_path / "srv", tmp_path / "et", "/srv/%U"):
        assert warnings(tmp_path, str(share), passwords) == []


def test_a_share_around_them_is_told_of(tmp_path: Path) -> None:
    passwords = tmp_path / "etc" / "pwd.db"
    (of_passwords,) = warnings(tmp_path, f"{tmp_path}/run/../etc/", passwords)
    assert "the password file" in of_passwords
    assert "share data" in of_passwords
    (of_state,) = warnings(tmp_path, f"{tmp_path}/run", passwords)
    assert "the state directory" in of_state
    assert len(warnings(tmp_path, "/", passwords)) == 2


def test_a_password_file_is_where_its_link_leads(tmp_path: Path) -> None:
    (tmp_path / "srv").mkdir()
    passwords = tmp_path / "pwd.db"
    passwords.symlink_to(tmp_path / "srv" / "pwd.db")
    (warning,) = warnings(tmp_path, f"{tmp_path}/srv", passwords)
    assert str(passwords) in warning


def test_a_password_file_that_others_may_read_is_told_of(tmp_path: Path) -> None:
    passwords = tmp_path / "pwd.db"
    passwords.touch(mode=0o600)
    assert warnings(tmp_path, "/srv", passwords) == []
    for mode in (0o640, 0o604, 0o660):
        passwords.chmod(mode)
        (warning,) = warnings(tmp_path, "/srv", passwords)
        assert warning.startswith(f"{passwords} is not its owner's alone")


def test_a_keytab_that_others_may_read_or_a_share_has_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    keytab = tmp_path / "keys" / "kt"
    keytab.touch(mode=0o600)
    passwords = tmp_path / "pwd.db"
    for prefix in ("", "FILE:"):
        named = f"{prefix}{keytab}"
        keytab.chmod(0o600)
        assert list(exposed(configured(tmp_path, "srv", keytab=named), passwords)) == []
        keytab.chmod(0o640)
        (of_mode,) = exposed(configured(tmp_path, "srv", keytab=named), passwords)
        assert of_mode.startswith(f"{keytab} is not its owner's alone")
        keytab.chmod(0o600)
        (of_share,) = exposed(configured(tmp_path, "keys", keytab=named), passwords)
        assert of_share == f"the keytab, {keytab}, lies in the share share0, {tmp_path}/keys"
    (tmp_path / "link").symlink_to(keytab)
    (of_link,) = exposed(configured(tmp_path, "keys", keytab=f"{tmp_path}/link"), passwords)
    assert of_link.startswith(f"the keytab, {tmp_path}/link")
    unused = dataclasses.replace(configured(tmp_path, "keys", keytab=str(keytab)), kerberos=None)
    assert list(exposed(unused, passwords)) == []


SECRETS: dict[str, list[str]] = {"run/secrets": [], "data/secrets": []}


def configured(tmp_path: Path, *shares: str, more: str = "", keytab: str = "") -> Configuration:
    config = tmp_path / "usmbd.conf"
    text = f"[global]\nstate directory = {tmp_path}/run\ndata directory = {tmp_path}/data\n"
    if keytab:
        text += f"kerberos method = dedicated keytab\ndedicated keytab file = {keytab}\n"
    text += more
    for number, share in enumerate(shares):
        text += f"[share{number}]\npath = {tmp_path}/{share}\n"
    config.write_text(text)
    configuration = load(config)
    # As where there are a keytab and the library.
    server = msgspec.structs.replace(configuration.server, kerberos=True)
    return dataclasses.replace(configuration, server=server)


def hides(
    tmp_path: Path, passwords: str, *shares: str, more: str = "", keytab: str = ""
) -> dict[str, list[str]]:
    """Return what is hidden from workers, by paths below tmp_path."""
    configuration = configured(tmp_path, *shares, more=more, keytab=keytab)
    prefix = f"{tmp_path}/"
    return {
        folder.removeprefix(prefix): [each.removeprefix(prefix) for each in files]
        for folder, files in hidden(configuration, tmp_path / passwords).items()
    }


def test_a_folder_that_is_ours_is_hidden_and_of_others_the_file(tmp_path: Path) -> None:
    for folder in ("etc/usmbd", "ksmbd", "other", "etc/usmbd/d"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in ("etc/usmbd", "ksmbd"):
        passwords = f"{folder}/pwd.db"
        assert hides(tmp_path, passwords, "srv") == {folder: [passwords], **SECRETS}
        said = configured(tmp_path, "srv"), tmp_path / passwords
        assert list(visible(*said, hidden(*said))) == []
    for passwords in ("other/pwd.db", "pwd.db", "etc/usmbd/d/pwd.db", "not-there/usmbd/pwd.db"):
        assert hides(tmp_path, passwords, "srv") == {passwords: [], **SECRETS}
        said = configured(tmp_path, "srv"), tmp_path / passwords
        (note,) = visible(*said, hidden(*said))
        assert note.startswith(f"at most {tmp_path}/{passwords} alone is hidden")


@pytest.mark.parametrize("share", ["usmbd", "usmbd/share", "usmbd/homes/%U", "usmbd/%U"])
def test_a_folder_with_shares_in_it_is_not_hidden(tmp_path: Path, share: str) -> None:
    (tmp_path / "usmbd").mkdir()
    assert hides(tmp_path, "usmbd/pwd.db", share) == {"usmbd/pwd.db": [], **SECRETS}


def test_a_folder_of_another_user_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be his home."""
    (tmp_path / "usmbd").mkdir()
    owner = (tmp_path / "usmbd").stat().st_uid
    monkeypatch.setattr(exposure.os, "geteuid", lambda: owner + 1)
    assert hides(tmp_path, "usmbd/pwd.db") == {"usmbd/pwd.db": [], **SECRETS}


def test_the_state_and_the_data_directory_are_not_hidden(tmp_path: Path) -> None:
    for folder in ("run", "data"):
        assert hides(tmp_path, f"{folder}/pwd.db") == {f"{folder}/pwd.db": [], **SECRETS}
    passwords = "run/secrets/pwd.db"
    assert hides(tmp_path, passwords) == {**SECRETS, "run/secrets": [passwords]}


def test_the_keytab_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the library names it, or where the library looks when none is named."""
    for prefix in ("", "FILE:", "WRFILE:"):
        found = hides(tmp_path, "pwd.db", keytab=f"{prefix}{tmp_path}/keys/keytab")
        assert set(found) == {"pwd.db", "keys/keytab", *SECRETS}
    assert set(hides(tmp_path, "pwd.db", keytab="MEMORY:x")) == {"pwd.db", *SECRETS}
    more = "kerberos method = system keytab\n"
    monkeypatch.delenv("KRB5_KTNAME", raising=False)
    krb5 = tmp_path / "krb5.conf"
    monkeypatch.setenv("KRB5_CONFIG", str(krb5))
    assert "/etc/krb5.keytab" in hides(tmp_path, "pwd.db", more=more)
    krb5.write_text(f"[libdefaults]\n  default_keytab_name = FILE:{tmp_path}/of-conf\n")
    assert "of-conf" in hides(tmp_path, "pwd.db", more=more)
    monkeypatch.setenv("KRB5_KTNAME", f"{tmp_path}/of-environment")
    assert "of-environment" in hides(tmp_path, "pwd.db", more=more)


def test_the_password_file_is_hidden_where_its_link_leads(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "pwd.db").symlink_to(tmp_path / "real" / "pwd.db")
    assert "real/pwd.db" in hides(tmp_path, "pwd.db")


def test_of_thousands_of_shares_a_message_has_room(tmp_path: Path) -> None:
    (tmp_path / "usmbd").mkdir()
    shares = [f"usmbd/{number:0100d}" for number in range(2000)]
    found = hidden(configured(tmp_path, *shares), tmp_path / "usmbd" / "pwd.db")
    assert len(msgspec.json.encode(found)) < MESSAGE_LIMIT // 16


def test_a_folder_to_which_a_share_s_link_leads_is_not_hidden(tmp_path: Path) -> None:
    (tmp_path / "usmbd").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "usmbd")
    assert hides(tmp_path, "usmbd/pwd.db", "link") == {"usmbd/pwd.db": [], **SECRETS}


def test_where_a_disk_does_not_say_where_links_lead_no_folder_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "usmbd").mkdir()
    monkeypatch.setattr(exposure, "FOLLOW_SECONDS", 0)
    monkeypatch.setattr(exposure.Thread, "start", lambda self: None)
    assert hides(tmp_path, "usmbd/pwd.db", "srv") == {"usmbd/pwd.db": []}
    said = configured(tmp_path, "srv"), tmp_path / "usmbd" / "pwd.db"
    notes = list(visible(*said, hidden(*said)))
    assert len(notes) == 1 + len(SECRETS)


def test_shares_that_come_into_a_hidden_folder_are_told_of_once(tmp_path: Path) -> None:
    (tmp_path / "usmbd").mkdir()
    configuration = configured(tmp_path, "usmbd/late", "usmbd/later")
    (warning,) = exposed(configuration, tmp_path / "usmbd" / "pwd.db")
    assert warning.endswith(f"may not see new shares in {tmp_path}/usmbd (share0)")


def test_a_share_that_only_leads_elsewhere_shows_nothing(tmp_path: Path) -> None:
    """Its path is never opened (`msdfs proxy`)."""
    config = tmp_path / "usmbd.conf"
    more = "msdfs proxy = \\other\\share\n"
    for last, count in (("", 1), (more, 0)):
        config.write_text(f"[data]\npath = {tmp_path}\n{last}")
        found = [each for each in exposed(load(config), tmp_path / "pwd.db") if "password" in each]
        assert len(found) == count, found
