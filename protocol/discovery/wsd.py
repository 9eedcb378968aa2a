"""WS-Discovery and its metadata exchange, by wsdd, which the host has or has not.

Explorer's Network asks by Probe and Resolve over UDP port 3702, and gets the metadata by HTTP at
port 5357 ([MS-PBSD]); a computer in it is at port 445.
"""

import argparse
import os
import resource
import shutil
import signal
import sys
from pathlib import Path

from usmbd.mountd.confine.kernel import set_death_signal
from usmbd.mountd.confine.process import confine
from usmbd.mountd.confine.profiles import WSD
from usmbd.protocol.discovery import wsdd_http
from usmbd.protocol.discovery.plan import Plan, read_plan

DIRECTORIES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where it is looked for: not where a user's PATH says, since root may start it."""

SMB_PORT = 445
"""The only one that Explorer connects to."""

MEMORY_LIMIT = 512 * 1024 * 1024
"""Bytes that it may take: it reads as much of a request as a stranger says there is."""


def find_wsdd() -> str | None:
    """Return where wsdd is; None: this host has none."""
    return shutil.which("wsdd", path=DIRECTORIES)


def command(program: str, plan: Plan) -> list[str]:
    """Return its command line, in the host's Python and not the server's own."""
    python = shutil.which("python3", path=DIRECTORIES) or sys.executable
    found = [
        python,
        "-I",
        "-c",
        Path(wsdd_http.__file__).read_text(),
        program,
        "--shortlog",
        "--preserve-case",
        "--uuid",
        plan.uuid,
    ]
    found += ["--hostname", plan.name, "--workgroup", plan.workgroup]
    for interface, addresses in plan.interfaces.items():
        for each in [interface] if plan.everywhere else addresses:
            found += ["--interface", each]
    return found


def main(arguments: list[str]) -> int:
    """Become wsdd, with no more rights than it needs."""
    parser = argparse.ArgumentParser(prog="usmbd wsd")
    parser.add_argument("--plan-fd", type=int, required=True)
    plan = read_plan(parser.parse_args(arguments).plan_fd)
    program = find_wsdd()
    if program is None:
        return 1
    os.chdir("/")
    os.umask(0o022)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    words = command(program, plan)  # may lie where its user may not look: in root's home, say
    confine(WSD)
    set_death_signal(signal.SIGTERM)
    os.execve(words[0], words, {"PATH": DIRECTORIES, "LC_ALL": "C.UTF-8"})
