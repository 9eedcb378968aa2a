"""So many logins a second for some minutes, by NTLM and by Kerberos: 10,000 users, 2,000 shares.

`python lab/bench/sustained.py [--rate 50] [--minutes 3]`, as root. Two clients share the rate. Each
minute has a line: the logins a second, the server's CPU for one, and what its processes have for
themselves in memory: it has to stay as it is.
"""

import argparse
import json
import os
import sys
from contextlib import ExitStack

from accounts import ADDRESSES, AMOUNTS, PASSWORD, Crowd
from smbtest.processes import cpu_seconds, own_memory
from smbtest.realm import SERVER, Realm
from smbtest.server import ALICE
from smbtest.usmbd import MOUNTD

CLIENTS = 2
SECONDS = 60


def minute(crowd: Crowd, rate: int, *, by_ticket: bool) -> str:
    """Have users log in for a minute; return what there is to say of it."""
    tickets: dict[str, str] = {}
    host, password, wishes = crowd.server.host, PASSWORD, crowd.wishes
    if by_ticket:
        cache = {"KRB5CCNAME": crowd.realm.ticket(ALICE.name, PASSWORD)}
        tickets = crowd.realm.environment | cache
        host, password, wishes = SERVER, "", [f"{ALICE.name}/data"]
    count = SECONDS * rate // CLIENTS
    before = cpu_seconds(crowd.server.pid)
    with ExitStack() as stack:
        pace = rate / CLIENTS
        clients = [
            stack.enter_context(
                crowd.client(host, count, pace, password, wishes[n:] or wishes, **tickets)
            )
            for n in range(CLIENTS)
        ]
        rates = [json.loads(each.communicate(timeout=10 * SECONDS)[0])[0] for each in clients]
    cpu = (cpu_seconds(crowd.server.pid) - before) / (count * CLIENTS) * 1e6
    kind = "Kerberos" if by_ticket else "NTLM"
    (mountd,) = crowd.server.processes_named(MOUNTD)
    workers = [own_memory(each) // 1024 for each in crowd.server.workers()]
    return (
        f"{kind:10}{sum(rates):8.1f} /s{cpu:8.0f} us{own_memory(mountd) // 1024:10,} KiB mountd"
        f"{sum(workers):10,} KiB workers"
    )


def main() -> None:
    """Run, and print a line for each minute."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=50, help="logins a second")
    parser.add_argument("--minutes", type=int, default=3, help="of each kind")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("sustained.py needs root: port 445 is used")
    with Realm().running() as realm:
        realm.add_user(ALICE.name, PASSWORD)
        crowd = Crowd(ADDRESSES[0], *AMOUNTS[1], realm)
        with crowd.server.running():
            for by_ticket in (False, True):
                for _ in range(options.minutes):
                    print(minute(crowd, options.rate, by_ticket=by_ticket), flush=True)


if __name__ == "__main__":
    main()
