"""smbtorture: what Samba's own tests say of the server, compared with a list that must stay true.

The list (smbtorture-expected.txt) has every test of smb2.*, what usmbd and what smbd make of it,
and the reason where only smbd passes. `make torture` runs the suites that are not run here.
"""

import os
from collections.abc import Iterator

import pytest
from smbtest import torture_list
from smbtest.server import Server
from smbtest.smbd import Smbd
from smbtest.torture import Smbtorture, add_shares
from smbtest.usmbd import Usmbd

# What needs no feature that is still to come, and takes little time (maxfid: half a minute).
SUITES = (
    "smb2.connect",
    "smb2.read",
    "smb2.rw",
    "smb2.create",
    "smb2.dir",
    "smb2.getinfo",
    "smb2.setinfo",
    "smb2.compound",
    "smb2.compound_find",
    "smb2.credits",
    "smb2.sharemode",
    "smb2.lock",
    "smb2.delete-on-close-perms",
    "smb2.rename",
    "smb2.maxfid",
    "smb2.tcon",
    "smb2.mkdir",
    "smb2.session-id",
    "smb2.session",
)


pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="the list is about a server that acts as its users, which needs root"
)


@pytest.fixture(scope="module")
def torture() -> Iterator[Smbtorture]:
    """Run a server with the shares that smbtorture wants."""
    peer = os.environ.get("USMBD_TEST_PEER", "usmbd")
    server: Server = {"usmbd": Usmbd, "smbd": Smbd}[peer]()
    add_shares(server)
    try:
        server.start()
        yield Smbtorture(server)
        server.stop()
    finally:
        server.kill()
        server.remove()


@pytest.mark.parametrize("suite", SUITES)
def test_suite(torture: Smbtorture, suite: str) -> None:
    torture.clean()
    rows = torture_list.load()
    kind = torture.server.kind
    outcomes = torture_list.judge(torture.tests(suite), torture.run, rows, kind)
    assert outcomes, f"smbtorture has no {suite}"
    for name, outcome in outcomes.items():
        print(f"{outcome.status:8}{outcome.seconds:6.1f} s  {name}")
    wrong = [
        said
        for name, outcome in outcomes.items()
        if (said := torture_list.complaint(name, outcome, rows.get(name), kind))
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_the_list_gives_a_reason_for_each_test_that_only_smbd_passes() -> None:
    rows = torture_list.load()
    assert [name for name, row in rows.items() if row.open and not row.reason] == []
