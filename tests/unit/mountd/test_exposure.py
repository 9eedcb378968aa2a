"""Which shares have the password file or the state directory in them."""

from pathlib import Path

from usmbd.mountd.config.load import load
from usmbd.mountd.exposure import exposed


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
