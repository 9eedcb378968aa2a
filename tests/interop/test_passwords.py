"""Passwords that have to be changed and accounts that are closed, as Samba's tools meet them."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from smbtest.peer import only_usmbd
from smbtest.processes import wait_for
from smbtest.proxy import at_port_445
from smbtest.samba_tools import client_configuration, credentials, rpcclient
from smbtest.server import BOB, Account, Options
from smbtest.usmbd import BIN, Usmbd

SECONDS = 30.0  # mountd looks at the password file every second


@pytest.fixture(scope="module")
def server() -> Iterator[Usmbd]:
    """Run a server that BOB administrates, where a password is old after a day."""
    only_usmbd("Samba keeps its policy in a database")
    options = Options(parameters={"admin users": BOB.name, "maximum password age": "1"})
    with Usmbd(options).running() as running:
        yield running


def login(server: Usmbd, account: Account) -> str:
    """Return what smbclient says of a login."""
    command = ["smbclient", "-s", client_configuration(server), "-p", str(server.port)]
    share = f"//{server.host}/IPC$"
    done = subprocess.run(
        [*command, *credentials(account), share, "-c", "exit"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def change(server: Usmbd, account: Account, new: str) -> None:
    """Change a password as its user does."""
    with at_port_445(server) as address:
        command = ["smbpasswd", "-c", client_configuration(server), "-r", address, "-s"]
        done = subprocess.run(
            [*command, "-U", account.name],
            input=f"{account.password}\n{new}\n{new}\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr


def adduser(server: Usmbd, *options: str) -> None:
    """Change an account by usmbd.adduser."""
    files = ["-P", str(server.password_path), "-C", str(server.configuration_path)]
    subprocess.run([BIN / "usmbd.adduser", *options, *files], check=True, capture_output=True)


def test_a_first_password_is_changed_before_anything_else(server: Usmbd) -> None:
    """Nobody is logged in who changes it: smbpasswd comes anonymously, and proves the old one."""
    first = Account("fresh", "First123!")
    rpcclient(server, "createdomuser fresh", "setuserinfo2 fresh 24 First123! 1", account=BOB)
    assert "NT_STATUS_PASSWORD_MUST_CHANGE" in login(server, first)
    assert "NT_STATUS_LOGON_FAILURE" in login(server, Account("fresh", "wrong"))
    change(server, first, "Second123!")
    said = login(server, Account("fresh", "Second123!"))
    assert "NT_STATUS" not in said, said
    rpcclient(server, "deletedomuser fresh", account=BOB)


def test_a_password_that_is_too_old(server: Usmbd) -> None:
    adduser(server, "-a", "-p", "First123!", "aged")
    text = server.password_path.read_text()
    before, line, after = text.partition("#@aged:[]:LCT-")
    assert line
    server.password_path.write_text(f"{before}{line}60000000{after[8:]}")
    aged = Account("aged", "First123!")
    wait_for(lambda: "NT_STATUS_PASSWORD_EXPIRED" in login(server, aged), SECONDS, "the new file")
    change(server, aged, "Second123!")
    assert "NT_STATUS" not in login(server, Account("aged", "Second123!"))


def test_an_account_that_is_closed(server: Usmbd) -> None:
    closed = Account("closed", "First123!")
    adduser(server, "-a", "-p", closed.password, "--disable", closed.name)
    wait_for(lambda: "ACCOUNT_DISABLED" in login(server, closed), SECONDS, "the new file")
    said = rpcclient(server, "queryuser closed", account=BOB)
    assert "acb_info :\t0x00000011" in said
    assert f"Password last set Time   :\t{datetime.now(UTC):%a, %d %b %Y}" in said
    adduser(server, "--enable", "--ends", "2020-01-01", closed.name)
    wait_for(lambda: "ACCOUNT_EXPIRED" in login(server, closed), SECONDS, "the next one")
    adduser(server, "--ends", "never", closed.name)
    wait_for(lambda: "NT_STATUS" not in login(server, closed), SECONDS, "the last one")
