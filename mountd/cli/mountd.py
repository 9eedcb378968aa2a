"""`usmbd.mountd`: users, shares and DCE/RPC, in a process of their own.

Started by the supervisor with `-n --ready-fd N`; by hand it detaches as ksmbd.mountd does.
`--check` reads the configuration and the password file, says what is wrong with them (exit 2) or
prints the global settings as JSON, and starts nothing.
"""

import argparse
import logging
import os
import signal
import sys
from typing import Never

import msgspec

from usmbd.mountd import log as logs
from usmbd.mountd.cli import common
from usmbd.mountd.config.load import load
from usmbd.mountd.confine.kernel import set_death_signal
from usmbd.mountd.confine.process import confine
from usmbd.mountd.confine.profiles import MOUNTD
from usmbd.mountd.daemon import Daemon
from usmbd.mountd.exposure import hidden, visible
from usmbd.mountd.ipc.ending import leave
from usmbd.mountd.kerberos.offer import offered
from usmbd.mountd.rpc_start import ForkServer
from usmbd.mountd.users import load_users

log = logging.getLogger("usmbd.conn")


def _parser() -> argparse.ArgumentParser:
    """Return what knows the options."""
    parser = common.parser("usmbd.mountd", "Serve users, shares and DCE/RPC to usmbd's workers.")
    parser.add_argument(
        "-p", "--port", type=common.port, help="the TCP port, instead of the configured"
    )
    parser.add_argument(
        "-n",
        "--nodetach",
        nargs="?",
        const="1",
        choices=("0", "1"),
        help="stay in the foreground (1, the value when none is given) or detach (0, the default)",
    )
    parser.add_argument("--check", action="store_true", help="check the files and print as JSON")
    parser.add_argument(
        "--quiet", action="store_true", help="with --check: errors alone, no warnings"
    )
    parser.add_argument(
        "--ready-fd", type=int, metavar="N", help='write "ready" to this descriptor when serving'
    )
    parser.add_argument(
        "--fork-fd", type=int, metavar="N", help="ask there for the RPC process to be forked"
    )
    return parser


PARSER = _parser()
"""Made before children are forked: each would write to memory that they have in common."""


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Return the options."""
    options = PARSER.parse_args(arguments)
    if options.check and (options.nodetach is not None or options.ready_fd is not None):
        PARSER.error("--check starts nothing: -n and --ready-fd do not go with it")
    if options.quiet and not options.check:
        PARSER.error("--quiet is for --check")
    return options


def detach() -> int:
    """Go to the background; return the descriptor on which the first process waits for "ready".

    The first process ends with 0 when the service is ready, with 1 when it is not.
    """
    read_end, write_end = os.pipe()
    if os.fork():
        os.close(write_end)
        os._exit(0 if os.read(read_end, 16) else common.EXIT_FAILURE)
    os.close(read_end)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    # Standard error stays: it is where the log goes until the service is ready and after.
    for descriptor in (0, 1):
        os.dup2(null, descriptor)
    os.close(null)
    return write_end


def end_with_parent() -> None:
    """Be told to end when the supervisor dies, however it dies (prctl(2))."""
    parent = os.getppid()
    set_death_signal(signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def run(arguments: list[str]) -> int:
    """Check or serve."""
    options = parse_arguments(arguments)
    config, passwords = common.files(options)
    configuration = offered(load(config, tcp_port=options.port))
    users = None
    if options.pwddb is not None or options.check:
        users = load_users(passwords, required=options.pwddb is not None)
    if options.check:
        folders = hidden(configuration, passwords)
        if not options.quiet:
            common.warn(configuration, passwords, users)
            for note in visible(configuration, passwords, folders) if os.geteuid() == 0 else ():
                print(f"note: {note}", file=sys.stderr)
        server = msgspec.structs.replace(configuration.server, hidden=folders)
        encoded = msgspec.json.format(msgspec.json.encode(server))
        print(encoded.decode())
        return 0
    daemon = Daemon(
        configuration,
        passwords,
        least_log_level=logs.DEBUG_LEVEL if options.verbose else 0,
        fork_server=None if options.fork_fd is None else ForkServer(options.fork_fd),
    )
    daemon.set_up_log()
    if os.geteuid() == 0:
        for note in visible(configuration, passwords, hidden(configuration, passwords)):
            log.info("%s", note)
    ready_fd = options.ready_fd
    if (options.nodetach is None and ready_fd is None) or options.nodetach == "0":
        ready_fd = detach()
    missing = confine(MOUNTD)
    if options.ready_fd is not None:
        end_with_parent()
    logs.start()  # its thread would not survive the fork
    for each in missing:
        log.info("this process runs without %s", each)
    daemon.run(ready_fd)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return common.run(run, arguments)


def command() -> Never:
    """Run the tool to the end of the process, in which no signal gets its default back before."""
    leave(main())


if __name__ == "__main__":
    command()
