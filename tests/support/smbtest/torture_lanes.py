"""smbtorture's suites in lanes side by side: most of their time they wait."""

import json
import time
from collections.abc import Iterable
from pathlib import Path

import torture_lane
from torture_lane import Ran

from smbtest.beside import Beside
from smbtest.peer import peer

LANES = 5
SECONDS = {
    "smb2.replay": 214,
    "smb2.lease": 192,
    "smb2.notify": 92,
    "smb2.multichannel": 80,
    "smb2.oplock": 74,
    "smb2.dir": 20,
    "smb2.maxfid": 20,
    "smb2.compound_find": 15,
    "smb2.durable-v2-delay": 10,
}
"""What the long suites take on this kind of machine, for an even load of the lanes; others: 3."""

LOOK_SECONDS = 0.2
"""Between two looks at what a lane has said."""


class Lanes:
    """Lanes that share the suites."""

    def __init__(self, suites: Iterable[str]) -> None:
        """Start them, the longest suites first."""
        shares: list[list[str]] = [[] for _ in range(LANES)]
        for suite in sorted(suites, key=lambda suite: -SECONDS.get(suite, 3)):
            min(shares, key=lambda s: sum(SECONDS.get(one, 3) for one in s)).append(suite)
        self._lanes = {
            suite: lane
            for share in shares
            if share
            for lane in [Beside(Path(torture_lane.__file__), "--server", peer(), *share)]
            for suite in share
        }

    def result(self, suite: str) -> Ran:
        """Wait for what came of a suite; AssertionError when its lane has ended without it."""
        lane = self._lanes[suite]
        while True:
            ended = lane.wait(0) is not None  # before the look, after which it may say more
            lines = lane.lines()
            for line in lines:
                if line.startswith(f'["{suite}",'):
                    return Ran(*json.loads(line))
            assert not ended, "the lane has ended:\n" + "\n".join(lines[-20:])
            time.sleep(LOOK_SECONDS)

    def check_ends(self) -> None:
        """Wait for the lanes, whose servers have to end as they should."""
        for lane in set(self._lanes.values()):
            assert lane.wait() == 0, "\n".join(lane.lines()[-20:])

    def end(self) -> None:
        """End what still runs."""
        for lane in set(self._lanes.values()):
            lane.end()
