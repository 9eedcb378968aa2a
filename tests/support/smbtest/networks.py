"""Two machines and two cables between them, as network namespaces: they go with their processes."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Machine:
    """A network namespace."""

    holder: int
    """The pid of a process that keeps it."""

    def command(self, *words: str) -> list[str]:
        """Return the command that runs another one there."""
        return ["nsenter", f"--net=/proc/{self.holder}/ns/net", "--", *words]

    def run(self, *words: str) -> None:
        """Run a command there."""
        subprocess.run(self.command(*words), check=True, timeout=30)


@contextmanager
def two_machines(cables: dict[str, str]) -> Iterator[tuple[Machine, Machine]]:
    """Make two machines with these interfaces: `cables` has names, each with its first 3 numbers.

    An interface has the same name on both. The first machine is at .1, the second at .2.
    """
    holders = [
        subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 600"], stdout=-1)
        for _ in range(2)
    ]
    try:
        for holder in holders:
            assert holder.stdout is not None
            holder.stdout.readline()
        first, second = (Machine(holder.pid) for holder in holders)
        for name in cables:
            there = ["peer", "name", name, "netns", str(second.holder)]
            first.run("ip", "link", "add", name, "type", "veth", *there)
        for number, machine in enumerate((first, second), 1):
            machine.run("ip", "link", "set", "lo", "up")
            for name, network in cables.items():
                machine.run("ip", "address", "add", f"{network}.{number}/24", "dev", name)
                machine.run("ip", "link", "set", name, "up")
        yield first, second
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()
            assert holder.stdout is not None
            holder.stdout.close()
