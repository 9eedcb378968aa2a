"""Has the server announced where it is served, by the processes of `discovery/`.

What is to be announced changes by a reload, and by addresses that come and go. A process is not
told of a change: another one, which knows it from its start, takes its place.
"""

import asyncio
import importlib.util
import itertools
import logging
import os
import sys
import uuid
from collections.abc import Callable

from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.discovery.plan import Plan, write_plan
from usmbd.protocol.discovery.wsd import SMB_PORT, find_wsdd
from usmbd.protocol.state.interfaces import addresses, served_addresses
from usmbd.protocol.supervisor.addresses import AddressWatch
from usmbd.protocol.supervisor.children import Child
from usmbd.protocol.supervisor.processes import Processes

log = logging.getLogger("usmbd.conn")

NAMES = {"mdns": "mDNS", "wsd": "WS-Discovery"}

FIRST_RESTART_SECONDS = 1.0
MAX_RESTART_SECONDS = 300.0
"""What ends at once is tried again at a growing distance: another wsdd has the port, say."""

LIVED_SECONDS = 60.0
"""Who lived so long begins anew with the first distance."""

MAX_BACKUP_DISKS = 64
"""Disks for Time Machine that are announced: with names of 63 bytes they fit an answer of mDNS, of
9,000 ([RFC6762] 17)."""

MAX_INTERFACES = 32
"""Interfaces on which the server is announced: each is a responder with up to four sockets."""


def plan_of(config: ServerConfig, guid: bytes) -> Plan:
    """Return what there is to announce of a server, and where now.

    Loopback is no place: nobody comes by it who does not know. Nor is an interface that has
    nothing but IPv6's link-local address, as the near end of each container's.
    """
    served = served_addresses(config)
    found: dict[str, list[str]] = {}
    for name, own in itertools.groupby(sorted(addresses(), key=str), key=lambda each: each[0]):
        there = [each for _, each in own if served is None or each in served]
        if any(
            not each.is_loopback and not (each.version == 6 and each.is_link_local)
            for each in there
        ):
            found[name] = [str(each) for each in there if not each.is_loopback]
    return Plan(
        name=config.netbios_name,
        workgroup=config.workgroup,
        port=config.tcp_port,
        uuid=str(uuid.uuid5(uuid.UUID(bytes=guid), config.netbios_name)),
        interfaces=dict(itertools.islice(found.items(), MAX_INTERFACES)),
        everywhere=served is None,
        model=config.fruit_model,
        backup_disks=config.backup_disks[:MAX_BACKUP_DISKS],
        log_level=config.log_level,
        log_json=config.log_json,
    )


class Announcer:
    """One process that announces; another one for another plan, none for none."""

    def __init__(self, kind: str, processes: Processes) -> None:
        """Begin with nothing to announce."""
        self._kind = kind
        self._processes = processes
        self._plan: Plan | None = None
        self._task: asyncio.Task[None] | None = None
        self.child: Child | None = None

    def want(self, plan: Plan | None) -> None:
        """Have this announced from now on."""
        if plan == self._plan:
            return
        self._plan = plan
        before = self._task
        if before is not None:
            before.cancel()
        self._task = asyncio.get_running_loop().create_task(self._announce(plan, before))

    async def end(self) -> None:
        """Announce nothing any more."""
        self.want(None)
        if self._task is not None:
            await self._task

    async def _announce(self, plan: Plan | None, before: "asyncio.Task[None] | None") -> None:
        """Keep a process for a plan, until it is cancelled, once the one before has ended."""
        while before is not None and not before.done():  # to be cancelled here does not hurry it
            try:
                await asyncio.wait({before})
            except asyncio.CancelledError:
                plan = None
        if plan is None:
            return
        loop = asyncio.get_running_loop()
        pause = FIRST_RESTART_SECONDS
        while True:
            since = loop.time()
            status = await self._run(plan)
            if loop.time() - since > LIVED_SECONDS:
                pause = FIRST_RESTART_SECONDS
            log.error("%s ended (%s), again in %g s", self._kind, status, pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_RESTART_SECONDS)

    async def _run(self, plan: Plan) -> object:
        """Run a process to its end, and return how that was; a cancellation ends it."""
        try:
            reader = write_plan(plan)
            try:
                process = await self._processes.start(self._kind, options={"--plan-fd": reader})
            finally:
                os.close(reader)
        except OSError as error:
            return error
        self.child = Child(self._kind, process)
        log.info("announced by %s at %s", NAMES[self._kind], ", ".join(plan.interfaces))
        try:
            return await self.child.gone()
        finally:
            await self.child.end()
            self.child = None


class Discovery:
    """Knows what is to be announced, and has it announced."""

    def __init__(
        self, processes: Processes, config: Callable[[], ServerConfig], guid: bytes
    ) -> None:
        """Announce nothing yet."""
        self._config = config
        self._guid = guid
        self.mdns = Announcer("mdns", processes)
        self.wsd = Announcer("wsd", processes)
        self._watch: AddressWatch | None = None
        self._lacks: dict[str, str] = {}

    def begin(self) -> None:
        """Announce the server from now on, and follow the addresses of the machine."""
        self._watch = AddressWatch(asyncio.get_running_loop(), self._follow)

    def look(self) -> None:
        """Announce what the configuration says now, if that has begun."""
        if self._watch is not None:
            self._watch.look()

    def _follow(self) -> bool:
        """Announce what the configuration and the addresses are now."""
        config = self._config()
        plan = plan_of(config, self._guid)
        self.mdns.want(plan if plan.interfaces and self._by_mdns(config) else None)
        self.wsd.want(plan if plan.interfaces and self._by_wsd(config) else None)
        return True

    def _by_mdns(self, config: ServerConfig) -> bool:
        """Return whether mDNS is wanted and can be had."""
        missing = importlib.util.find_spec("zeroconf") is None
        how = f"{sys.prefix}/bin/pip install zeroconf"
        why = f"there is no library zeroconf ({how})" if missing else ""
        if why and config.backup_disks:
            why += "; macOS does not find the disks of Time Machine without it"
        return config.multicast_dns_register and self._can("mdns", why)

    def _by_wsd(self, config: ServerConfig) -> bool:
        """Return whether WS-Discovery is wanted and can be had."""
        why = ""
        if config.tcp_port != SMB_PORT:
            why = f"Explorer knows port {SMB_PORT} alone"
        elif find_wsdd() is None:
            why = "there is no wsdd (apt install wsdd)"
        return config.ws_discovery and self._can("wsd", why)

    def _can(self, kind: str, why_not: str) -> bool:
        """Return whether nothing is in the way; what is, is told when it is new."""
        if why_not and self._lacks.get(kind) != why_not:
            log.info("not announced by %s: %s", NAMES[kind], why_not)
        self._lacks[kind] = why_not
        return not why_not

    async def end(self) -> None:
        """Say goodbye."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        await asyncio.gather(self.mdns.end(), self.wsd.end())
