"""smbtorture: what Samba's own tests say of the server, compared with a list that must stay true.

The list (smbtorture-expected.txt) has every test of smb2.*, what usmbd and smbd make of it, where
a test that does not pass stops, and the reason. Most of the time goes to tests that wait (for an
oplock break to run out, for the clock): so the suites run in lanes side by side, each lane against
a server of its own, from the moment that the first suite is asked for.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import pytest
from smbtest import torture_list
from smbtest.peer import peer
from smbtest.server import Server
from smbtest.smbd import Smbd
from smbtest.torture import Outcome, Smbtorture, add_shares, suite_of
from smbtest.usmbd import Usmbd

LANES = 5
SECONDS = {
    "smb2.lease": 192,
    "smb2.replay": 140,
    "smb2.oplock": 110,
    "smb2.notify": 92,
    "smb2.dir": 20,
    "smb2.maxfid": 20,
    "smb2.multichannel": 20,
    "smb2.compound_find": 15,
    "smb2.durable-v2-delay": 10,
}
"""What the long suites take on this kind of machine, for an even load of the lanes; others: 3."""

SUITES = tuple(dict.fromkeys(map(suite_of, torture_list.load())))

pytestmark = [
    pytest.mark.skipif(
        os.geteuid() != 0, reason="the list is about a server that acts as its users: needs root"
    ),
    pytest.mark.timeout(1200),  # smbd takes 14 minutes for all
]


class Ran(NamedTuple):
    """What came of a suite, and what of it is not as the list says."""

    outcomes: dict[str, Outcome]
    wrong: list[str]


Promised = dict[str, Future[Ran]]


def _run_lane(suites: list[str], promised: Promised, kind: str) -> None:
    """Run suites one after the other against a server of their own and keep what was promised."""
    rows = torture_list.load()
    server: Server = {"usmbd": Usmbd, "smbd": Smbd}[kind]()
    add_shares(server)
    try:
        with server.running():
            torture = Smbtorture(server)
            # The lines are those of one version, and smbd's were seen with other options.
            places = kind == "usmbd" and torture.version() == torture_list.made_with()
            for suite in suites:
                torture.clean()
                names = torture.tests(suite)
                outcomes = torture_list.judge(names, torture.run, rows, kind, places)
                wrong = [
                    said
                    for name, outcome in outcomes.items()
                    if (said := torture_list.complaint(name, outcome, rows.get(name), kind, places))
                ]
                promised[suite].set_result(Ran(outcomes, wrong))
    except BaseException as error:
        for future in promised.values():
            if not future.done():
                future.set_exception(error)
        raise


@pytest.fixture(scope="module")
def promised(request: pytest.FixtureRequest) -> Iterator[Promised]:
    """Start the lanes with the suites that this run of pytest asks for."""
    kind = peer()
    wanted = [
        item.callspec.params["suite"]
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.path == request.path
        and hasattr(item, "callspec")
    ]
    lanes: list[list[str]] = [[] for _ in range(LANES)]
    for suite in sorted(wanted, key=lambda suite: -SECONDS.get(suite, 3)):
        shortest = min(lanes, key=lambda lane: sum(SECONDS.get(suite, 3) for suite in lane))
        shortest.append(suite)
    futures: Promised = {suite: Future() for suite in wanted}
    with ThreadPoolExecutor(LANES) as executor:
        running = [
            executor.submit(_run_lane, lane, {suite: futures[suite] for suite in lane}, kind)
            for lane in lanes
            if lane
        ]
        yield futures
        for lane in running:
            lane.result()  # a server that did not end as it should


@pytest.mark.parametrize("suite", SUITES)
def test_suite(
    promised: Promised, suite: str, record_property: Callable[[str, object], None]
) -> None:
    ran = promised[suite].result()
    assert ran.outcomes, f"smbtorture has no {suite}"
    for name, outcome in ran.outcomes.items():
        print(f"{outcome.status:8}{outcome.seconds:6.1f} s  {name}")
        if outcome.retried:
            record_property("retried", outcome.retried)
    assert not ran.wrong, "\n" + "\n".join(ran.wrong)


def test_the_list_gives_a_reason_for_each_test_that_stops_elsewhere_than_smbd() -> None:
    rows = torture_list.load()
    assert [name for name, row in rows.items() if row.differs and not row.reason] == []


def test_the_list_says_where_each_test_stops_that_does_not_pass() -> None:
    rows = torture_list.load()
    assert [name for name, row in rows.items() if row.status != "success" and not row.place] == []
