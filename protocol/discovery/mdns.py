"""The process that answers multicast DNS. `responders` does it; this is its start."""

import argparse
import asyncio
import logging
import signal
import time

from usmbd.mountd import log as logs
from usmbd.mountd.confine.kernel import set_death_signal
from usmbd.mountd.confine.process import confine
from usmbd.mountd.confine.profiles import MDNS
from usmbd.protocol.discovery.plan import read_plan

log = logging.getLogger("usmbd.conn")

PROCESS = "mdns"
"""What the log calls it."""


def main(arguments: list[str]) -> None:
    """Announce until the supervisor ends."""
    parser = argparse.ArgumentParser(prog="usmbd mdns")
    parser.add_argument("--plan-fd", type=int, required=True)
    plan = read_plan(parser.parse_args(arguments).plan_fd)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    logs.set_up(PROCESS, plan.log_level, as_json=plan.log_json)
    # Not before: the fork server, which imports this module, has no use for the library.
    from usmbd.protocol.discovery.responders import serve

    time.localtime()  # reads the time zone
    missing = confine(MDNS)
    set_death_signal(signal.SIGTERM)
    logs.start()
    for each in missing:
        log.info("this process runs without %s", each)
    asyncio.run(serve(plan))
