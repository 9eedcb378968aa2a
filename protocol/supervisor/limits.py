"""The rows of `usmbd.control --limits` that the supervisor fills: who may come, and how many."""

from usmbd.mountd.ipc.messages import LimitRow
from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.state import descriptors
from usmbd.protocol.supervisor.broker import MAXIMUM_OFFERS, MAXIMUM_OFFERS_OF_ADDRESS
from usmbd.protocol.supervisor.clients import Clients
from usmbd.protocol.supervisor.doorkeeper import MAXIMUM_WAITING
from usmbd.protocol.worker.limits import CONSTANT, descriptors_row

PROCESS = "usmbd"


def limits(
    config: ServerConfig, clients: Clients, guests: int, offers: dict[str, int]
) -> list[LimitRow]:
    """Return all rows; `guests` are at the door, `offers` are RDMA clients by address."""

    def row(what: str, limit: int | None, used: int, origin: str = CONSTANT) -> LimitRow:
        return LimitRow(PROCESS, what, limit, used, origin)

    return [
        descriptors_row(PROCESS, descriptors.limit()),
        row(
            "connections",
            config.max_connections or None,
            clients.total,
            "parameter: max connections",
        ),
        row(
            "connections of an address",
            config.max_ip_connections or None,
            max((counts.total() for counts in clients.addresses.values()), default=0),
            "parameter: max ip connections",
        ),
        row("clients that have not said anything", MAXIMUM_WAITING, guests),
        row("RDMA clients to be connected", MAXIMUM_OFFERS, sum(offers.values())),
        row(
            "RDMA clients to be connected of an address",
            MAXIMUM_OFFERS_OF_ADDRESS,
            max(offers.values(), default=0),
        ),
    ]
