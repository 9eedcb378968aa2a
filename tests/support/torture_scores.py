"""Run smbtorture's suites against usmbd and print the scores next to smbd's.

`torture_scores.py [--rewrite] [SUITE...]`: all of smb2 without an argument. It fails when a test
came out otherwise than the list says; --rewrite writes the list instead.
"""

import argparse
import signal
import sys
import time

from smbtest import torture_list
from smbtest.torture import Outcome, Smbtorture, add_shares, suite_of
from smbtest.usmbd import Usmbd


def main() -> int:
    """Run, report each suite as it ends, then the table; 1 when the list is not true."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rewrite", action="store_true", help="write the statuses into the list")
    parser.add_argument("suite", nargs="*", default=["smb2"], help="suites or single tests")
    arguments = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server is ended as well
    rows = torture_list.load()
    server = Usmbd()
    add_shares(server)
    complaints: list[str] = []
    ran: dict[str, Outcome] = {}
    try:
        server.start()
        torture = Smbtorture(server)
        names = torture.tests(*arguments.suite)
        for suite in dict.fromkeys(map(suite_of, names)):
            begin = time.monotonic()
            torture.clean()
            mine = [name for name in names if suite_of(name) == suite]
            outcomes = torture_list.judge(mine, torture.run, rows)
            ran |= outcomes
            new = [
                found
                for name, outcome in outcomes.items()
                if (found := torture_list.complaint(name, outcome, rows.get(name)))
            ]
            complaints += new
            passed = sum(outcome.status == "success" for outcome in outcomes.values())
            seconds = time.monotonic() - begin
            print(f"{suite}: {passed} of {len(mine)} pass, {seconds:.0f} s", *new, sep="\n  ")
            sys.stdout.flush()
            if arguments.rewrite:
                rows = torture_list.updated(rows, outcomes)
                torture_list.save(rows)
        server.stop()
    finally:
        server.kill()
        server.remove()

    now = torture_list.updated(rows, ran)
    print("\n" + torture_list.scores(now, {suite_of(name) for name in ran}))
    unexplained = [name for name in ran if now[name].open and not now[name].reason]
    if unexplained:
        print("\nsmbd passes, usmbd does not, and the list gives no reason:")
        print(*unexplained, sep="\n")
    return int(bool(unexplained or (complaints and not arguments.rewrite)))


if __name__ == "__main__":
    sys.exit(main())
