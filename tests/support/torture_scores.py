"""Run smbtorture's suites against usmbd and print the scores next to smbd's.

`torture_scores.py [--rewrite] [SUITE...]`: all of smb2 without an argument, with `rpc` those of
DCE/RPC. It fails when a test came out otherwise than the list says, or stopped elsewhere; --rewrite
writes the list instead.
`--server smbd` runs Samba's own server, for its column of the list. With `--workers 8` usmbd has
each client in another worker than the one before: all that clients share goes between workers.
"""

import argparse
import signal
import sys
import time

from smbtest import torture_list
from smbtest.server import Options, Server
from smbtest.smbd import Smbd
from smbtest.torture import (
    RPC_PARAMETERS,
    RPC_SUITES,
    Outcome,
    Smbtorture,
    add_shares,
    suite_of,
    wants_btrfs,
)
from smbtest.torture_extras import extras
from smbtest.usmbd import Usmbd


def main() -> int:
    """Run, report each suite as it ends, then the table; 1 when the list is not true."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rewrite", action="store_true", help="write the statuses into the list")
    parser.add_argument("--server", choices=("usmbd", "smbd"), default="usmbd")
    parser.add_argument("--workers", type=int, help="of usmbd; else two")
    parser.add_argument("suite", nargs="*", default=["smb2"], help="suites or single tests")
    arguments = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the server is ended as well
    rpc = any(suite.startswith("rpc") for suite in arguments.suite)
    if arguments.suite == ["rpc"]:
        arguments.suite = list(RPC_SUITES)
    options = Options(dict(RPC_PARAMETERS))
    server: Server = {"usmbd": Usmbd, "smbd": Smbd}[arguments.server](options if rpc else None)
    add_shares(server)
    if arguments.workers:
        server.options.parameters["workers"] = str(arguments.workers)
    kind = arguments.server
    complaints: list[str] = []
    ran: dict[str, Outcome] = {}
    names = Smbtorture(server).tests(*arguments.suite)
    with extras(server, names) as found, server.running():
        torture = Smbtorture(server, realm=found.realm)
        version = torture.version()
        path = torture_list.path_of(version, torture_list.RPC_PATH if rpc else None)
        rows = torture_list.load(path)
        places = version == torture_list.made_with(path)
        if not places:
            print(f"smbtorture is {version}: where tests stop is not compared", file=sys.stderr)
        if found.no_btrfs:
            left_out = [name for name in names if wants_btrfs(name)]
            names = [name for name in names if name not in left_out]
            print(f"{len(left_out)} tests are left out: {found.no_btrfs}", file=sys.stderr)
        for suite in dict.fromkeys(map(suite_of, names)):
            begin = time.monotonic()
            torture.clean()
            mine = [name for name in names if suite_of(name) == suite]
            outcomes = torture_list.judge(mine, torture.run, rows, kind, places)
            ran |= outcomes
            new = [
                said
                for name, outcome in outcomes.items()
                if (said := torture_list.complaint(name, outcome, rows.get(name), kind, places))
            ]
            complaints += new
            new += [
                f"{name}: {outcome.status}, not in the list: {outcome.place}"
                for name, outcome in outcomes.items()
                if name not in rows and outcome.status != "success"
            ]
            passed = sum(outcome.status == "success" for outcome in outcomes.values())
            seconds = time.monotonic() - begin
            print(f"{suite}: {passed} of {len(mine)} pass, {seconds:.0f} s", *new, sep="\n  ")
            sys.stdout.flush()
            if arguments.rewrite:
                rows = torture_list.updated(rows, outcomes, kind)
                torture_list.save(rows, path)

    now = torture_list.updated(rows, ran, kind)
    print("\n" + torture_list.scores(now, {suite_of(name) for name in ran}))
    retried = [
        outcome.retried
        for name, outcome in ran.items()
        if outcome.retried
        and not torture_list.complaint(name, outcome, rows.get(name), kind, places)
    ]
    if retried:
        print(f"\n{len(retried)} came out as the list says when tried again:", *retried, sep="\n")
    unexplained = [name for name in ran if now[name].differs and not now[name].reason]
    if unexplained:
        print("\nusmbd stops elsewhere than smbd, and the list gives no reason:")
        print(*unexplained, sep="\n")
    return int(bool(unexplained or (complaints and not arguments.rewrite)))


if __name__ == "__main__":
    sys.exit(main())
