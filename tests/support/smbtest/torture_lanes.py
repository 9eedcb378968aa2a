"""smbtorture's suites in lanes side by side: most of their time they wait."""

import json
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
import torture_lane
from torture_lane import Ran

from smbtest import beside
from smbtest.peer import peer

LANES = 5
SECONDS = {
    "smb2.replay": 214,
    "smb2.lease": 192,
    "smb2.session": 98,
    "smb2.notify": 92,
    "smb2.multichannel": 80,
    "smb2.oplock": 74,
    "smb2.dir": 20,
    "smb2.maxfid": 20,
    "smb2.compound_find": 15,
    "smb2.durable-v2-delay": 10,
}
"""What the long suites take on this kind of machine, for an even load of the lanes; others: 3."""


def start_lanes(config: pytest.Config, suites: Iterable[str]) -> None:
    """Start lanes that share the suites, the longest first."""
    for number, share in enumerate(_shares(suites)):
        program = Path(torture_lane.__file__)
        beside.start(config, f"lane {number}", program, "--server", peer(), *share)


def _shares(suites: Iterable[str]) -> list[list[str]]:
    """Divide the suites among lanes."""
    shares: list[list[str]] = [[] for _ in range(LANES)]
    for suite in sorted(suites, key=lambda suite: -SECONDS.get(suite, 3)):
        min(shares, key=lambda s: sum(SECONDS.get(one, 3) for one in s)).append(suite)
    return [share for share in shares if share]


class Lanes:
    """What comes of the suites, as the lanes say it."""

    def __init__(self, config: pytest.Config, suites: Iterable[str]) -> None:
        """Find the lanes that share these suites."""
        shares = _shares(suites)
        self._lanes = [beside.said(config, f"lane {number}") for number in range(len(shares))]
        self._lane_of = {
            suite: lane for lane, share in zip(self._lanes, shares, strict=True) for suite in share
        }

    def result(self, suite: str) -> Ran:
        """Wait for what came of a suite; AssertionError when its lane has ended without it."""
        lane = self._lane_of[suite]
        while True:
            ended = lane.wait(0) is not None  # before the look, after which it may say more
            lines = lane.lines()
            for line in lines:
                if line.startswith(f'["{suite}",'):
                    return Ran(*json.loads(line))
            assert not ended, "the lane has ended:\n" + "\n".join(lines[-20:])
            time.sleep(beside.LOOK_SECONDS)

    def check_ends(self) -> None:
        """Wait for the lanes, whose servers have to end as they should."""
        for lane in self._lanes:
            assert lane.wait() == 0, "\n".join(lane.lines()[-20:])
