"""A distribution's smb.conf as it is: smbclient finds homes, and sees no printers."""

import os
import pwd
import subprocess
from collections.abc import Iterator

import pytest
from smbtest.peer import peer
from smbtest.samba_tools import smbclient, smbclient_command
from smbtest.server import ALICE, BOB
from smbtest.usmbd import BIN, Usmbd

# In the shape of Debian's, with what a test's server needs in front.
STOCK = """
   server string = %h server
   log file = /var/log/samba/log.%m
   max log size = 1000
   logging = file
   panic action = /usr/share/samba/panic-action %d
   server role = standalone server
   obey pam restrictions = yes
   unix password sync = yes
   passwd program = /usr/bin/passwd %u
   pam password change = yes
   map to guest = bad user
   usershare allow guests = yes
   wins support = no
[homes]
   comment = Home of %U
   browseable = no
   read only = yes
   create mask = 0700
   valid users = %S
[each]
   path = {data}/%U
   read only = no
[printers]
   comment = All Printers
   path = /var/tmp
   printable = yes
[print$]
   path = /var/lib/samba/printers
"""


class Stock(Usmbd):
    """usmbd with such a file."""

    def configuration(self, parameters: dict[str, str]) -> str:
        """Return the file's text."""
        head = "".join(f"   {name} = {value}\n" for name, value in parameters.items())
        for account in (ALICE, BOB):
            (self.data / account.name).mkdir()
            os.chown(self.data / account.name, pwd.getpwnam(account.name).pw_uid, -1)
        return f"[global]\n{head.replace('server string', '; server string')}" + STOCK.replace(
            "{data}", str(self.data)
        )


@pytest.fixture(scope="module")
def stock() -> Iterator[Stock]:
    if peer() != "usmbd" or os.geteuid() != 0:
        pytest.skip("a server of its own for several users")
    made = Stock()
    with made.running():
        yield made


def test_a_home_by_both_names(stock: Stock) -> None:
    home = os.listdir(pwd.getpwnam(ALICE.name).pw_dir)
    for share in (ALICE.name, "homes", ALICE.name.upper()):
        said = smbclient(stock, ["ls"], share=share)
        assert all(name in said for name in home)


@pytest.mark.parametrize("share", [BOB.name, "printers", "print$", "root"])
def test_what_is_not_there_for_alice(stock: Stock, share: str) -> None:
    said = smbclient(stock, ["ls"], share=share, ok=False)
    assert "NT_STATUS_ACCESS_DENIED" in said or "NT_STATUS_BAD_NETWORK_NAME" in said


def test_each_user_has_a_folder_of_his_own(stock: Stock) -> None:
    for account in (ALICE, BOB):
        smbclient(stock, ["mkdir mine"], share="each", account=account)
        assert (stock.data / account.name / "mine").is_dir()


def test_the_list_shows_the_user_s_home_and_no_printer(stock: Stock) -> None:
    command = [*smbclient_command(stock), "-L", stock.host, "-g"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    shares = [line.split("|")[1] for line in said.splitlines() if line.startswith("Disk|")]
    assert sorted(shares) == sorted(["each", ALICE.name])
    assert f"Home of {ALICE.name}" in said


def test_the_check_prints_it(stock: Stock) -> None:
    command = [BIN / "usmbd.control", "--check", "-C", stock.configuration_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "[homes]\n\tcomment = Home of %U\n" in done.stdout
    assert "[printers] is left out" in done.stderr
