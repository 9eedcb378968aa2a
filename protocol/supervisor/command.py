"""The command `usmbd`: options, the check of the configuration, the life of the supervisor."""

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Never

import msgspec

from usmbd.mountd import log as logs
from usmbd.mountd.confine.process import confine
from usmbd.mountd.confine.profiles import SUPERVISOR
from usmbd.mountd.ipc.ending import leave
from usmbd.mountd.ipc.version import ShowVersion
from usmbd.protocol.state import descriptors
from usmbd.protocol.supervisor.check import CheckError, check
from usmbd.protocol.supervisor.processes import Processes
from usmbd.protocol.supervisor.supervisor import StartError, Supervisor

log = logging.getLogger("usmbd.conn")

EXIT_FAILURE = 1


def _parser() -> argparse.ArgumentParser:
    """Return what knows the options."""
    parser = argparse.ArgumentParser(
        prog="usmbd", description="Serve files over SMB 2.0.2 to 3.1.1, in the foreground."
    )
    parser.add_argument(
        "-C",
        "--config",
        metavar="CONF",
        help="ksmbd.conf, smb.conf or YAML (/etc/usmbd/usmbd.conf; not root: in ~/.config)",
    )
    parser.add_argument("-P", "--pwddb", metavar="PWDDB", help="ksmbdpwd.db")
    parser.add_argument("-p", "--port", type=int, help="the TCP port, instead of the configured")
    parser.add_argument("-v", "--verbose", action="store_true", help="log debug messages")
    parser.add_argument(
        "-V", "--version", action=ShowVersion, nargs=0, help="say which usmbd this is"
    )
    return parser


PARSER = _parser()
"""Made when this is imported, for servers that are forked from what has done so (the lab's)."""


def command() -> Never:
    """Serve in the foreground until SIGTERM or ^C."""
    options = PARSER.parse_args()
    if options.port is not None and not 1 <= options.port <= 65535:
        PARSER.error(f"{options.port} is not a port (1 to 65535)")
    files = []
    for option, path in (("-C", options.config), ("-P", options.pwddb)):
        if path is not None:
            files += [option, str(Path(path).absolute())]
    if options.port is not None:
        files += ["-p", str(options.port)]
    processes = Processes()
    try:
        config = check(processes, files)
    except CheckError as error:
        if str(error):
            print(f"usmbd: {error}", file=sys.stderr)
        sys.exit(error.status)
    level = logs.DEBUG_LEVEL if options.verbose else config.log_level
    if options.verbose:
        config = msgspec.structs.replace(config, log_level=level)
    logs.set_up("usmbd", level, as_json=config.log_json)
    missing = confine(SUPERVISOR)
    logs.start()
    for each in missing:
        log.warning("the server runs without %s", each)
    limit = descriptors.raise_limit()
    if limit < descriptors.LEAST:
        log.warning("%d open files are too few: raise the limit (ulimit -n, LimitNOFILE=)", limit)
    os.umask(0o077)
    try:
        asyncio.run(Supervisor(config, files, processes, verbose=options.verbose).run())
    except StartError as error:
        print(f"usmbd: {error}", file=sys.stderr)
        sys.exit(EXIT_FAILURE)
    leave(0)
