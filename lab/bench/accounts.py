"""Logins and look-ups of a server with 10,000 users and 2,000 shares beside one with ten of each.

`python lab/bench/accounts.py [--count N]`, as root: Samba's client knows port 445 alone. Both run,
and are measured in turn; a figure is the median. CPU is the server's, all its processes; memory is
mountd's own, after the first round and after the last. The users are none of the system, so that
nothing is added to it: their shares have `force user`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

from smbtest.processes import cpu_seconds, own_memory
from smbtest.realm import SERVER, Realm
from smbtest.samba_tools import client_configuration
from smbtest.server import ALICE, Options
from smbtest.usmbd import MOUNTD, Usmbd

from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.users import format_users

CLIENT = Path(__file__).with_name("login_client.py")
AMOUNTS = ((10, 10), (10_000, 2_000))
PASSWORD = "Many-Pass1"
LOOKUPS = 200
ADDRESSES = ("127.0.0.1", "127.0.0.2")


class Row(NamedTuple):
    """One measurement."""

    rate: float
    """A second."""
    cpu: float
    """The server's CPU microseconds for one."""


class Crowded(Usmbd):
    """A server with many users."""

    users: int

    def prepare(self) -> list[str]:
        """Add the users to the file."""
        command = super().prepare()
        hashes = dict.fromkeys((f"u{number:05}" for number in range(self.users)), nt_hash(PASSWORD))
        with self.password_path.open("a") as stream:
            stream.write(format_users(hashes))
        return command


class Crowd:
    """A server that runs, at port 445 of an address of its own."""

    def __init__(self, address: str, users: int, shares: int, realm: Realm) -> None:
        keytab = {"kerberos method": "dedicated keytab", "dedicated keytab file": str(realm.keytab)}
        parameters = keytab | {"min domain uid": "0", "interfaces": address}
        self.server = Crowded(Options(parameters, environment=realm.environment))
        self.server.host, self.server.port, self.server.users = address, 445, users
        folder = {"path": str(self.server.data), "force user": ALICE.name}
        self.server.shares |= {f"s{number:04}": folder for number in range(shares)}
        self.wishes = [
            f"u{number * users // 500 % users:05}/s{number * shares // 500 % shares:04}"
            for number in range(500)
        ]
        self.realm = realm
        self.rows: dict[str, list[Row]] = {}
        self.memory: list[int] = []

    def take(self, count: int) -> None:
        """Take every row once more."""
        cache = {"KRB5CCNAME": self.realm.ticket(ALICE.name, PASSWORD)}
        tickets = self.realm.environment | cache
        rows = {
            "NTLM logins": self.logins(self.server.host, count, PASSWORD, self.wishes),
            "Kerberos logins": self.logins(SERVER, count, "", [f"{ALICE.name}/data"], **tickets),
            "look-ups of a name": self.lookups(),
        }
        for name, row in rows.items():
            self.rows.setdefault(name, []).append(row)
        (mountd,) = self.server.processes_named(MOUNTD)
        self.memory.append(own_memory(mountd))

    def logins(
        self, host: str, count: int, password: str, wishes: list[str], **environment: str
    ) -> Row:
        """Have users log in, one after the other."""
        with self.client(host, count, 0, password, wishes, **environment) as run:
            said, _ = run.communicate(timeout=600)
        assert not run.returncode
        return Row(*json.loads(said))

    def client(
        self, host: str, count: int, rate: float, password: str, wishes: list[str],
        **environment: str,
    ) -> subprocess.Popen[str]:  # fmt: skip
        """Start a client in which users log in, so many a second."""
        server = self.server
        names = server.state / "hosts"
        names.write_text(f"{server.host} {SERVER}\n")
        # Samba takes no ticket for an address, and /etc/hosts is the client's own for this.
        alone = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"']
        command = [*alone, names, "/usr/bin/python3", CLIENT, host, client_configuration(server)]
        return subprocess.Popen(
            [*command, str(server.pid), str(count), str(rate), password, *wishes],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            text=True,
        )

    def lookups(self) -> Row:
        """Look names up, on one connection."""
        users, server = self.server.users, self.server
        names = (f"lookupnames u{number * users // LOOKUPS:05}" for number in range(LOOKUPS))
        command = ["rpcclient", "-s", client_configuration(server), *("-U", f"u00000%{PASSWORD}")]
        before, start = cpu_seconds(server.pid), time.perf_counter()
        run = subprocess.run(
            [*command, server.host, "-c", ";".join(names)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=600,
        )
        seconds = time.perf_counter() - start
        assert run.stdout.count("(User: 1)") == LOOKUPS, run.stdout
        return Row(LOOKUPS / seconds, (cpu_seconds(server.pid) - before) / LOOKUPS * 1e6)


def main() -> None:
    """Measure both in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="logins of a row")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("accounts.py needs root: port 445 is used")
    with Realm().running() as realm, ExitStack() as running:
        realm.add_user(ALICE.name, PASSWORD)
        few, many = crowds = [
            Crowd(address, *amount, realm)
            for address, amount in zip(ADDRESSES, AMOUNTS, strict=True)
        ]
        for crowd in crowds:
            running.enter_context(crowd.server.running())
        for _ in range(options.runs):
            for crowd in crowds:
                crowd.take(options.count)
    titles = [f"{users:,}/{shares:,}" for users, shares in AMOUNTS]
    print(f"{'users/shares':24}{titles[0]:>12}{titles[1]:>14}{'ratio':>8}   {'CPU us':>10}")
    for name in few.rows:
        small, big = (
            Row(*map(statistics.median, zip(*crowd.rows[name], strict=True))) for crowd in crowds
        )
        print(
            f"{name + ', 1/s':24}{small.rate:12.0f}{big.rate:14.0f}{big.rate / small.rate:8.2f}"
            f"   {small.cpu:10.0f}{big.cpu:8.0f}"
        )
    for title, at in (("mountd, KiB", 0), ("at the end", -1)):
        sizes = [crowd.memory[at] // 1024 for crowd in (few, many)]
        print(f"{title:24}{sizes[0]:12}{sizes[1]:14}")


if __name__ == "__main__":
    main()
