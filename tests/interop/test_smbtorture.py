"""smbtorture: what Samba's own tests say of the server, compared with a list that must stay true.

The list (smbtorture-expected.txt) has every test of smb2.*, what usmbd and smbd make of it, where
a test that does not pass stops, and the reason. Most of the time goes to tests that wait (for an
oplock break to run out, for the clock): so the suites run in lanes beside the other tests, each
lane against a server of its own (conftest.py), and these tests read what came out.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from smbtest import torture_list
from smbtest.torture_lanes import Lanes

pytestmark = [
    pytest.mark.skipif(
        os.geteuid() != 0, reason="the list is about a server that acts as its users: needs root"
    ),
    pytest.mark.timeout(1200),  # smbd takes 14 minutes for all
]


@pytest.mark.parametrize("suite", torture_list.suites())
def test_suite(lanes: Lanes, suite: str, record_property: Callable[[str, object], None]) -> None:
    ran = lanes.result(suite)
    assert ran.told, f"smbtorture has no {suite}"
    print(*ran.told, sep="\n")
    for retried in ran.retried:
        record_property("retried", retried)
    assert not ran.wrong, "\n" + "\n".join(ran.wrong)
    if ran.skipped:
        pytest.skip(f"the others are as the list says; left out are {ran.skipped}")


def test_the_servers_ended_as_they_should(lanes: Lanes) -> None:
    lanes.check_ends()


LISTS = sorted(torture_list.PATH.parent.glob("smbtorture-*expected*.txt"))
"""Also those of other releases, which `make torture` compares."""


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_a_list_gives_a_reason_for_each_test_that_stops_elsewhere_than_smbd(path: Path) -> None:
    rows = torture_list.load(path)
    assert [name for name, row in rows.items() if row.differs and not row.reason] == []


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_a_list_says_where_each_test_stops_that_does_not_pass(path: Path) -> None:
    rows = torture_list.load(path)
    silent = [name for name, row in rows.items() if row.status != "success" and not row.place]
    assert [name for name in silent if rows[name].status != "timeout"] == []
