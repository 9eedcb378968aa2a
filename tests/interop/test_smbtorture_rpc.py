"""smbtorture on DCE/RPC, as an administrator: smbtorture-rpc-expected.txt must stay true."""

import os
from collections.abc import Iterator

import pytest
from smbtest import torture_list
from smbtest.peer import peer
from smbtest.server import Options, Server
from smbtest.smbd import Smbd
from smbtest.torture import RPC_PARAMETERS, RPC_SUITES, Smbtorture, add_shares
from smbtest.usmbd import Usmbd

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="the list is of a server whose users are many"),
    pytest.mark.timeout(300),
]

ROWS = torture_list.load(torture_list.RPC_PATH)


@pytest.fixture(scope="module")
def torture() -> Iterator[Smbtorture]:
    """Run a server of these tests alone: some make users and shares."""
    made = {"usmbd": Usmbd, "smbd": Smbd}[peer()]
    server: Server = made(Options(parameters=RPC_PARAMETERS))
    add_shares(server)
    with server.running():
        yield Smbtorture(server)


@pytest.fixture(scope="module")
def places(torture: Smbtorture) -> bool:
    """Tell whether the list's places are of this program."""
    made_with = torture_list.made_with(torture_list.RPC_PATH)
    return peer() == "usmbd" and torture.version() == made_with


@pytest.mark.parametrize("suite", RPC_SUITES)
def test_suite(torture: Smbtorture, places: bool, suite: str) -> None:
    names = torture.tests(suite)
    assert names, f"smbtorture has no {suite}"
    outcomes = torture_list.judge(names, torture.run, ROWS, peer(), places)
    for name, outcome in outcomes.items():
        print(f"{outcome.status:8}{outcome.seconds:6.1f} s  {name}")
    wrong = [
        said
        for name, outcome in outcomes.items()
        if (said := torture_list.complaint(name, outcome, ROWS.get(name), peer(), places))
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_the_list_is_whole() -> None:
    """Of each test that stops elsewhere than smbd's it says why, and of all others where."""
    assert [name for name, row in ROWS.items() if row.differs and not row.reason] == []
    failing = [name for name, row in ROWS.items() if row.status != "success"]
    assert [name for name in failing if not ROWS[name].place] == []
