"""Some suites of smbtorture, one after the other, against a server of their own.

    torture_lane.py --server usmbd|smbd SUITE...

A line of JSON, a `Ran`, follows the end of each suite.
"""

import argparse
import json
import signal
import sys
from typing import NamedTuple

from smbtest import torture_list
from smbtest.beside import UNTIL_STDIN_ENDS, end_with_stdin
from smbtest.server import Server
from smbtest.smbd import Smbd
from smbtest.torture import Smbtorture, add_shares, wants_btrfs, within
from smbtest.torture_extras import extras
from smbtest.usmbd import Usmbd


class Ran(NamedTuple):
    """What came of a suite."""

    suite: str
    told: list[str]
    """A line for each test, with its status and seconds."""
    wrong: list[str]
    """What is not as the list says."""
    retried: list[str]
    """What was not, at the first try."""
    skipped: str
    """How many tests were left out, and why."""


def run(suites: list[str], kind: str) -> None:
    """Run the suites and say what came of them."""
    rows = torture_list.load()
    server: Server = {"usmbd": Usmbd, "smbd": Smbd}[kind]()
    add_shares(server)
    names = Smbtorture(server).tests(*suites)
    with extras(server, names) as found, server.running():
        torture = Smbtorture(server, realm=found.realm)
        # The lines are those of one version, and smbd's were seen with other options.
        places = kind == "usmbd" and torture.version() == torture_list.made_with()
        for suite in suites:
            torture.clean()
            mine = [name for name in names if within(name, suite)]
            left_out = [name for name in mine if found.no_btrfs and wants_btrfs(name)]
            mine = [name for name in mine if name not in left_out]
            outcomes = torture_list.judge(mine, torture.run, rows, kind, places)
            told = [
                f"{outcome.status:8}{outcome.seconds:6.1f} s  {name}"
                for name, outcome in outcomes.items()
            ]
            wrong = [
                said
                for name, outcome in outcomes.items()
                if (said := torture_list.complaint(name, outcome, rows.get(name), kind, places))
            ]
            retried = [outcome.retried for outcome in outcomes.values() if outcome.retried]
            skipped = f"{len(left_out)} tests: {found.no_btrfs}" if left_out else ""
            print(json.dumps(Ran(suite, told, wrong, retried, skipped)), flush=True)


def main() -> None:
    """Run what the command line says; the server goes with this program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", choices=("usmbd", "smbd"), default="usmbd")
    parser.add_argument(UNTIL_STDIN_ENDS, action="store_true")
    parser.add_argument("suite", nargs="+")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if options.until_stdin_ends:
        end_with_stdin()
    run(options.suite, options.server)


if __name__ == "__main__":
    main()
