"""Whether RDMA is in use, on which devices and addresses, and if not, why."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from usmbd.mountd.ipc.messages import RdmaInterfaceRow
from usmbd.mountd.ipc.settings import Rdma as Wanted
from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.state import interfaces
from usmbd.protocol.state.fair_share import FairShare
from usmbd.protocol.supervisor.broker import Broker
from usmbd.protocol.supervisor.clients import Clients
from usmbd.protocol.worker import messages
from usmbd.transport.smbdirect import discovery
from usmbd.transport.smbdirect.cm_library import Library
from usmbd.transport.smbdirect.discovery import Found, FoundPort
from usmbd.transport.smbdirect.provider import DeviceError, LinkType, Unavailable

if TYPE_CHECKING:
    from usmbd.protocol.supervisor.children import WorkerChild

log = logging.getLogger("usmbd.rdma")

_UNOPENED = "no worker has opened it"

IWARP_PORT = 5445
"""Where SMB Direct is on iWARP ([MS-SMBD] 1.9), whose ports are TCP's: 445 is taken there."""

_ANY = ("0.0.0.0", "::")
"""All addresses: a listener for each family, as one for both is no use on iWARP."""


class RdmaService:
    """The supervisor's side of RDMA."""

    def __init__(
        self,
        config: Callable[[], ServerConfig],
        clients: Clients,
        workers: Mapping[int, "WorkerChild"],
        library: Library | None = None,
    ) -> None:
        """Look at no device yet."""
        self.reason = "the server is starting"
        """Why RDMA is not in use; empty when it is."""
        self._config = config
        self._clients = clients
        self._workers = workers
        self._library = library
        self._found: list[Found] = []
        self._broker: Broker | None = None
        self._decided = False
        self._listened: list[str] | None = None
        """The addresses that are listened on, where the configuration names some; None: all."""

    @property
    def devices(self) -> list[str]:
        """Return the devices that workers shall open."""
        return [found.name for found in self._found] if self._broker else []

    @property
    def places(self) -> FairShare | None:
        """How RDMA connections are divided; None without RDMA."""
        return self._broker.places if self._broker else None

    @property
    def offers(self) -> dict[str, int]:
        """How many RDMA clients of each address are yet to be connected."""
        return self._broker.offers if self._broker else {}

    def prepare(self) -> None:
        """Look for devices and open the connection manager, before workers are started."""
        if self._config().rdma is Wanted.NO:
            self.reason = "rdma = no"
            return
        self._found = discovery.devices(interfaces=False)
        if not self._found:
            self.reason = "there is no RDMA device (/sys/class/infiniband)"
            return
        iwarp = frozenset(found.name for found in self._found if found.iwarp)
        try:
            self._broker = Broker(
                asyncio.get_running_loop(), self._clients, self._config, iwarp, self._library
            )
        except Unavailable as error:
            self.reason = str(error)

    def serve(self) -> None:
        """Listen, as the workers have opened the devices; the log says on what, or why not."""
        broker = self._broker
        if broker is not None:
            self.reason = self._listen(broker)
        if self.reason:
            log.info("RDMA is not in use: %s", self.reason)
            if not self._waits():
                self.close()
        elif broker is not None:
            served = [found for found in self._found if found.name in broker.devices]
            names = ", ".join(f"{found.name} ({_links(found)})" for found in served)
            log.info("RDMA on %s, listening on %s", names, ", ".join(broker.manager.listening))
            for device, why in self._refusals().items():
                log.error("RDMA device %s is not used: %s", device, why)
        self._decided = True
        for worker in self._workers.values():
            self.tell(worker)

    def tell(self, worker: "WorkerChild") -> None:
        """Tell a worker what is in use, as soon as that is known: it gives back the rest."""
        if not self._decided:
            return
        devices = sorted(self._broker.devices) if self._broker else []
        for device in devices:
            if why := worker.rdma.get(device):  # it was started again, and now cannot
                log.error("RDMA device %s: worker %d has none: %s", device, worker.number, why)
        worker.send(
            messages.RdmaServed(devices=devices, reason=self.reason, addresses=self._listened)
        )

    def follow(self) -> None:
        """Listen on addresses that came, and no more on those that went, where some are named."""
        broker = self._broker
        if broker is None or not self._decided:
            return
        addresses = interfaces.served_addresses(self._config())
        if addresses is None:
            return
        before = broker.manager.listening, self.reason
        wanted = [(str(address), port) for port in self._ports() for address in addresses]
        broker.manager.listen_only(wanted)
        self.reason = self._listen_on(broker, wanted)
        if (broker.manager.listening, self.reason) == before:
            return
        where = ", ".join(broker.manager.listening)
        log.info("RDMA listening on %s", where or f"no address: {self.reason}")
        for worker in self._workers.values():
            self.tell(worker)

    def says(self, worker: "WorkerChild", message: messages.RdmaFromWorker) -> None:
        """Take what a worker says of a client."""
        if self._broker is not None:
            self._broker.says(worker, message)

    def ended(self, number: int) -> None:
        """Let go of a connection, if it is one of RDMA."""
        if self._broker is not None:
            self._broker.ended(number)

    def stop(self) -> None:
        """Take no more clients."""
        if self._broker is not None:
            self._broker.stop()

    def close(self) -> None:
        """Disconnect all clients and listen no more."""
        if self._broker is not None:
            self._broker.close()
            self._broker = None

    # -- listening -----------------------------------------------------------------------

    def _refusals(self) -> dict[str, str]:
        """Return by device why a worker cannot use it.

        One is enough: a client whose other channels are in that worker could never connect.
        """
        refusals = {}
        ready = [worker for worker in self._workers.values() if worker.ready.is_set()]
        for found in self._found:
            said = [worker.rdma.get(found.name, _UNOPENED) for worker in ready] or [_UNOPENED]
            if why := next(filter(None, said), ""):
                refusals[found.name] = why
        return refusals

    def _listen(self, broker: Broker) -> str:
        """Listen where the configuration says; return why not, or nothing."""
        refusals = self._refusals()
        usable = [found for found in self._found if found.name not in refusals]
        if not usable:
            return "; ".join(f"{name}: {why}" for name, why in refusals.items())
        broker.devices = frozenset(found.name for found in usable)
        addresses = interfaces.served_addresses(self._config())
        if addresses is not None:
            self._listened = []
            each = [(str(address), port) for port in self._ports() for address in addresses]
            return self._listen_on(broker, each)
        refused = ""
        for port in self._ports():
            why = self._listen_on(broker, [(address, port) for address in _ANY])
            if why and any(found.iwarp for found in usable):
                # iWARP's ports are TCP's, which has this one: the other devices have addresses.
                self._listen_on(broker, [(address, port) for address in _addresses_of(usable)])
            refused = refused or why
        return "" if broker.manager.listening else refused

    def _ports(self) -> list[int]:
        """Return where SMB Direct is on the devices that are in use."""
        assert self._broker is not None
        used = [found for found in self._found if found.name in self._broker.devices]
        iwarp = any(found.iwarp for found in used)
        return list(dict.fromkeys([self._config().tcp_port, *([IWARP_PORT] if iwarp else [])]))

    def _waits(self) -> bool:
        """Return whether an address may come by which there is RDMA: the devices are kept."""
        named = interfaces.served_addresses(self._config()) is not None
        return named and self._broker is not None and bool(self._broker.devices)

    def _listen_on(self, broker: Broker, wanted: Iterable[tuple[str, int]]) -> str:
        """Listen on each address and port; return why on none of them, or nothing."""
        refused = []
        listened = []
        for address, port in wanted:
            try:
                if not broker.manager.listens(address, port):
                    broker.manager.listen(address, port)
                listened.append(address)
            except DeviceError as error:
                refused.append(str(error))
                log.debug("%s", error)
        if self._listened is not None:
            self._listened = list(dict.fromkeys(listened))
        if listened:
            return ""
        return refused[0] if refused else "`interfaces` leaves no address to listen on"

    # -- for the administrator -----------------------------------------------------------

    def rows(self) -> list[RdmaInterfaceRow]:
        """Return whether and why not RDMA is in use, for each network interface with addresses."""
        devices = discovery.devices()
        by_name: dict[str, list[str]] = {}
        for name, address in interfaces.addresses():
            if not address.is_loopback:
                by_name.setdefault(name, []).append(str(address))
        carried = {
            name: (found, port)
            for found in devices
            for port in found.ports
            for name in port.interfaces
        }
        rows = []
        unseen = {found.name: found for found in devices}
        for name, addresses in by_name.items():
            below = interfaces.carriers(name)
            below_with = [carried[carrier] for carrier in below if carrier in carried]
            found, port = below_with[0] if below_with else (None, None)
            if found is not None:
                unseen.pop(found.name, None)
            rows.append(self._row(name, addresses, found, port))
        for found in unseen.values():
            rows += [self._row("", [], found, port) for port in found.ports]
        return rows

    def _row(
        self, name: str, addresses: list[str], found: Found | None, port: FoundPort | None
    ) -> RdmaInterfaceRow:
        """Describe one interface."""
        reason = self._why_not(name, found, port)
        tcp_port = self._config().tcp_port
        iwarp = port is not None and port.link_type is LinkType.IWARP
        return RdmaInterfaceRow(
            interface=name,
            addresses=addresses,
            device=found.name if found else "",
            link=port.link_type.value if port else "",
            speed=port.speed // 1_000_000 if port else 0,
            port=0 if reason else IWARP_PORT if iwarp else tcp_port,
            rdma=not reason,
            reason=reason,
        )

    def _why_not(self, name: str, found: Found | None, port: FoundPort | None) -> str:
        """Return why RDMA is not in use on an interface, or nothing."""
        if self._broker is None:
            return self.reason
        if self.reason:  # no address yet
            return self.reason
        if found is None or port is None:
            return "it is on no RDMA device (is the driver loaded?)"
        refusals = self._refusals()
        if found.name in refusals:
            return refusals[found.name]
        if found.name not in self._broker.devices:
            return "the device came after the server's start"
        if not port.active:
            return "the device's port is down"
        if not name:
            return "no network interface with an address is on it"
        return ""


def _links(found: Found) -> str:
    """Return what carries RDMA on a device's ports."""
    return ", ".join(dict.fromkeys(port.link_type.value for port in found.ports))


def _addresses_of(devices: list[Found]) -> list[str]:
    """Return the addresses of the interfaces on devices that are not iWARP's."""
    meant = {found.name for found in devices}
    names = {
        name
        for found in discovery.devices()
        for port in found.ports
        if found.name in meant and port.link_type is not LinkType.IWARP
        for name in port.interfaces
    }
    return [
        str(address)
        for name, address in interfaces.addresses()
        if name in names and not address.is_link_local
    ]
