"""The rows of `usmbd.control --limits` that the supervisor fills: who may come, and how many."""

from functools import partial

from usmbd.mountd.ipc.messages import CONSTANT, LimitRow
from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.door.messages import State
from usmbd.protocol.state import descriptors
from usmbd.protocol.state.fair_share import FairShare
from usmbd.protocol.supervisor.broker import MAXIMUM_OFFERS, MAXIMUM_OFFERS_OF_ADDRESS
from usmbd.protocol.supervisor.clients import Clients
from usmbd.protocol.worker.limits import descriptors_row

PROCESS = "usmbd"


def limits(
    config: ServerConfig,
    clients: Clients,
    door: State,
    offers: dict[str, int],
    rdma: FairShare | None,
) -> list[LimitRow]:
    """Return all rows.

    `door` are those who say nothing, `offers` RDMA clients by address, `rdma` all connections.
    """
    row = partial(LimitRow, PROCESS)
    rows = (
        []
        if rdma is None
        else [
            row("RDMA connections", rdma.capacity, rdma.used, "machine: memory", rdma.refused),
            row(
                "RDMA connections of an address",
                max(rdma.capacity - rdma.used, 0),
                rdma.most,
                "what is left to the others",
            ),
        ]
    )
    return [
        *rows,
        descriptors_row(PROCESS, descriptors.limit()),
        row(
            "connections",
            config.max_connections or None,
            clients.known_total,
            "parameter: max connections, else the machine",
        ),
        row(
            "connections of an address",
            config.max_ip_connections or None,
            max(map(clients.known, clients.addresses), default=0),
            "parameter: max ip connections, else the machine",
        ),
        row(
            "clients that have not said anything",
            door.places,
            door.used,
            "machine: descriptors",
            door.displaced,
        ),
        row(
            "connections without a login",
            clients.strangers.capacity,
            len(clients.strangers),
            "machine: descriptors",
            clients.strangers.displaced,
        ),
        row(
            "RDMA connections without a login",
            clients.rdma_strangers.capacity,
            len(clients.rdma_strangers),
            CONSTANT,
            clients.rdma_strangers.displaced,
        ),
        row(
            "connections of guests",
            clients.guest_places(config),
            len(clients.guests),
            "parameter: max connections, else the machine",
            clients.guests.displaced,
        ),
        row("RDMA clients to be connected", MAXIMUM_OFFERS, sum(offers.values())),
        row(
            "RDMA clients to be connected of an address",
            MAXIMUM_OFFERS_OF_ADDRESS,
            max(offers.values(), default=0),
        ),
    ]
