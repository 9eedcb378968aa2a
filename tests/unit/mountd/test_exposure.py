"""Which shares have the password file or the state directory in them."""

import dataclasses
from pathlib import Path

import msgspec

from usmbd.mountd.config.load import load
from usmbd.mountd.exposure import exposed, hidden


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


SECRETS: dict[str, list[str]] = {"etc/run/secrets": [], "data/secrets": []}


def hides(tmp_path: Path, passwords: str, *shares: str, more: str = "") -> dict[str, list[str]]:
    """Return what is hidden from workers, by paths below tmp_path."""
    config = tmp_path / "usmbd.conf"
    text = (
        f"[global]\nstate directory = {tmp_path}/etc/run\ndata directory = {tmp_path}/data\n{more}"
    )
    for number, share in enumerate(shares):
        text += f"[share{number}]\npath = {tmp_path}/{share}\n"
    config.write_text(text)
    configuration = load(config)
    if more:  # as where there are a keytab and the library
        server = msgspec.structs.replace(configuration.server, kerberos=True)
        configuration = dataclasses.replace(configuration, server=server)
    prefix = f"{tmp_path}/"
    return {
        folder.removeprefix(prefix): [each.removeprefix(prefix) for each in seen]
        for folder, seen in hidden(configuration, tmp_path / passwords).items()
    }


def test_the_folders_of_the_password_file_and_the_keys_are_hidden(tmp_path: Path) -> None:
    """What else workers need of them is not."""
    found = hides(tmp_path, "etc/pwd.db", "etc/share", "etc/homes/%U", "srv")
    assert found == {"etc": ["etc/homes", "etc/run", "etc/share"], **SECRETS}
    assert hides(tmp_path, "other/pwd.db", "etc/share") == {"other": [], **SECRETS}


def test_the_keytab_is_hidden(tmp_path: Path) -> None:
    keytab = f"dedicated keytab file = FILE:{tmp_path}/keys/keytab\n"
    more = f"kerberos method = dedicated keytab\n{keytab}"
    found = hides(tmp_path, "etc/pwd.db", more=more)
    assert set(found) == {"etc", "keys", *SECRETS}


def test_the_password_file_is_hidden_where_its_link_leads(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "pwd.db").symlink_to(tmp_path / "real" / "pwd.db")
    assert "real" in hides(tmp_path, "pwd.db")


def test_what_is_a_share_is_not_hidden(tmp_path: Path) -> None:
    """Of which there is a warning; in one it is empty to all."""
    assert set(hides(tmp_path, "srv/pwd.db", "srv")) == {*SECRETS}
    assert set(hides(tmp_path, "srv/pwd.db", "srv/%U")) == {*SECRETS}
    assert set(hides(tmp_path, "srv/in/pwd.db", "srv")) == {"srv/in", *SECRETS}


def test_a_folder_that_has_everything_in_it_is_not_hidden_and_told_of(tmp_path: Path) -> None:
    assert set(hides(tmp_path, "/var/pwd.db")) == {*SECRETS}
    (warning,) = warnings(tmp_path, "/srv/share", Path("/var/pwd.db"))
    assert warning.startswith("/var/pwd.db cannot be hidden")


def test_of_a_keytab_among_what_workers_need_the_file_is_hidden(tmp_path: Path) -> None:
    """They ask the system for users' groups, by /etc."""
    more = "kerberos method = system keytab\n"
    assert set(hides(tmp_path, "etc/pwd.db", more=more)) == {"etc", "/etc/krb5.keytab", *SECRETS}
