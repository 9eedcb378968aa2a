"""Tickets of Samba's domain controller: a PAC as in Active Directory, users without accounts."""

import os
import subprocess
from collections.abc import Iterator

import pytest
from smbtest.domain import DOMAIN, TEMPLATES, Domain
from smbtest.peer import only_usmbd
from smbtest.realm import SERVER
from smbtest.samba_tools import client_configuration
from smbtest.server import ALICE, HOST, Options
from smbtest.usmbd import Usmbd

ELSEWHERE = "zelda"
"""A user of the domain whom this system does not know."""

LOW = 100_000


@pytest.fixture(scope="module")
def domain() -> Iterator[Domain]:
    """Run a domain with ALICE, who has an account here, and one who has none."""
    only_usmbd("it is usmbd that takes the tickets")
    pytest.importorskip("gssapi")
    if os.geteuid() or not TEMPLATES.exists():
        pytest.skip("needs root, and samba-ad-provision with samba-ad-dc")
    with Domain().running() as running:
        running.add_user(ALICE.name)
        running.add_user(ELSEWHERE, "filers")
        yield running


@pytest.fixture(scope="module")
def member(domain: Domain) -> Iterator[Usmbd]:
    """Run a server with the machine's keytab and ids for the domain."""
    parameters = {
        "workgroup": DOMAIN,
        "kerberos method": "dedicated keytab",
        "dedicated keytab file": str(domain.keytab),
        "min domain uid": "0",
        f"idmap config {DOMAIN} : backend": "rid",
        f"idmap config {DOMAIN} : range": f"{LOW}-199999",
        "log level": "3",
    }
    with Usmbd(Options(parameters, environment=domain.environment)).running() as running:
        yield running


def put(member: Usmbd, domain: Domain, user: str) -> os.stat_result:
    """Write a file as a user of the domain; its stat."""
    sent = member.folder / "sent"
    sent.write_text("of the domain")
    done = subprocess.run(
        [
            *("smbclient", "-s", client_configuration(member), "-p", str(member.port)),
            *(f"//{SERVER}/data", "-I", HOST, "--use-kerberos=required", "-N"),
            *("-c", f"put {sent} of-{user}"),
        ],
        env=os.environ | domain.environment | {"KRB5CCNAME": domain.ticket(user)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr + member.log
    return (member.data / f"of-{user}").stat()


def test_a_user_who_has_an_account_here(member: Usmbd, domain: Domain) -> None:
    put(member, domain, ALICE.name)
    assert (member.data / f"of-{ALICE.name}").owner() == ALICE.name


def test_a_user_whom_only_the_domain_knows(member: Usmbd, domain: Domain) -> None:
    stat = put(member, domain, ELSEWHERE)
    assert stat.st_uid > LOW + 1000  # RIDs of users begin there
    assert stat.st_gid == LOW + 513  # Domain Users
