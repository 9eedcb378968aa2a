"""Multicast DNS ([RFC6762]) by the library zeroconf: a responder for each interface.

The kernel binds its sockets to the interface: nobody hears of addresses that are not his network's,
and nothing is answered where the server is not served.
"""

import asyncio
import logging
import signal
import socket

from zeroconf import IPVersion
from zeroconf.asyncio import AsyncZeroconf

from usmbd.protocol.discovery.plan import Plan
from usmbd.protocol.discovery.records import services

log = logging.getLogger("usmbd.conn")


async def announce(plan: Plan, interface: str, addresses: list[str]) -> AsyncZeroconf:
    """Announce the server on an interface; OSError and RuntimeError when it went meanwhile."""
    own = [address for address in addresses if ":" not in address]
    is_v6 = len(own) < len(addresses)
    version = IPVersion.All if own and is_v6 else IPVersion.V6Only if is_v6 else IPVersion.V4Only
    # One membership a family: all addresses of an interface are in the same network.
    joined: list[str | int] = [*own[:1], *([socket.if_nametoindex(interface)] if is_v6 else [])]
    responder = AsyncZeroconf(interfaces=joined, ip_version=version)
    try:
        await responder.zeroconf.async_wait_for_start()
        engine = responder.zeroconf.engine
        # What sends receives, too; and who is no root may say it once alone.
        for transport in {each.transport for each in (*engine.readers, *engine.senders)}:
            transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode()
            )
        for service in services(plan, addresses):
            # Another machine may have the name: this server is then NAME-2.
            await (await responder.async_register_service(service, allow_name_change=True))
    except BaseException:
        await responder.async_close()
        raise
    return responder


async def serve(plan: Plan) -> None:
    """Announce on all interfaces until told to end; then say goodbye."""
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ending.set)
    tries = [announce(plan, name, addresses) for name, addresses in plan.interfaces.items()]
    results = await asyncio.gather(*tries, return_exceptions=True)
    responders = []
    for name, result in zip(plan.interfaces, results, strict=True):
        if isinstance(result, AsyncZeroconf):
            responders.append(result)
            log.debug("announced by mDNS on %s", name)
        else:
            log.info("not announced by mDNS on %s: %s", name, result)
    try:
        await ending.wait()
    finally:
        await asyncio.gather(*(responder.async_close() for responder in responders))
