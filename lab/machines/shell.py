"""A guest with soft-RoCE and usmbd, and a shell in it: `make lab-shell`.

It is a machine alone: server and client, joined by a pair of devices, so that all is at hand.
"""

import argparse
import os
import subprocess
import sys

from guest import Guest, LabError, prepare_kernel


def main() -> int:
    """Boot a guest on this terminal; it ends with the shell."""
    parser = argparse.ArgumentParser(prog="shell.py", description="a shell in a guest")
    parser.add_argument("--cpus", type=int, default=1, help="the guest's processors (1)")
    parser.add_argument("--memory", default="3G", help="the guest's memory (3G)")
    options = parser.parse_args()
    try:
        kernel = prepare_kernel()
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    out = kernel.parent / "shell"
    guest = Guest(kernel, out, "lab", cpus=options.cpus, memory=options.memory, role="shell")
    guest.prepare()
    command = guest.command(console="fd:0,fd:1", line="null")
    environment = os.environ | {"TMPDIR": str(guest.memory_directory())}
    return subprocess.call([*command, "quiet"], env=environment, cwd="/")


if __name__ == "__main__":
    sys.exit(main())
