"""The rows of the tables that `usmbd.control --list` shows."""

from msgspec import Struct


class WorkerRow(Struct, tag="worker", frozen=True):
    """One worker, and whether it answers."""

    worker: int
    pid: int
    clients: int
    silent: float
    """Seconds for which it has not answered; 0 while it does."""
    hangs_in: str
    """What it does meanwhile."""


class SessionRow(Struct, tag="session", frozen=True):
    """One session."""

    session_id: int
    user: str
    client_address: str
    worker: int
    dialect: str
    signing: str
    """The algorithm, or empty."""
    encryption: str
    """The cipher, once messages have come encrypted, whoever wanted it, or have to; or empty."""
    channels: int
    opens: int
    age: int
    """Seconds since the session was made."""
    idle: int
    """Seconds since its last request."""
    shares: list[str] = []
    guest: bool = False


class ConnectionRow(Struct, tag="connection", frozen=True):
    """One transport connection."""

    client_address: str
    server_address: str
    transport: str
    """`tcp` or `rdma`."""
    worker: int
    dialect: str
    client_guid: str
    sessions: int
    credits: int
    requests: int
    age: int


class OpenRow(Struct, tag="open", frozen=True):
    """One open file."""

    open_id: int
    session_id: int
    user: str
    worker: int
    share: str
    path: str
    access: int
    share_access: int
    oplock: str
    """`none`, `II`, `exclusive`, `batch`, or a lease such as `RWH`."""
    locks: int
    durable: bool = False


class RdmaInterfaceRow(Struct, tag="rdma interface", frozen=True):
    """Whether clients reach the server by RDMA on one network interface."""

    interface: str
    """Empty for a device whose ports carry none."""
    addresses: list[str]
    device: str
    link: str
    """`RoCE`, `InfiniBand` or `iWARP`."""
    speed: int
    """Mbit/s; 0: unknown."""
    port: int
    """0: RDMA is not in use."""
    rdma: bool
    reason: str
    """Why not."""


class RdmaConnectionRow(Struct, tag="rdma connection", frozen=True):
    """By which way one connection's data goes."""

    client_address: str
    server_address: str
    worker: int
    data_path: str
    """`direct` (RDMA reads and writes), `messages` (SMB Direct without them) or `tcp`."""
    reason: str
    """Why it is not direct."""
    sent: int
    """Bytes that were written to the client's memory."""
    received: int
    """Bytes that were read from it."""


CONSTANT = "constant"
"""The origin of a limit that the program sets itself."""


class LimitRow(Struct, tag="limit", frozen=True):
    """One limit, and how much of it is in use."""

    process: str
    what: str
    limit: int | None
    """None: there is none."""
    used: int
    """Now; of what everybody has his own of, the most that one has."""
    origin: str = CONSTANT
    """Where it comes from: a parameter, the machine, or a constant of the program."""
    refused: int = 0
    """How often somebody was told that he has enough, as far as that is counted."""


Row = (
    WorkerRow
    | SessionRow
    | ConnectionRow
    | OpenRow
    | RdmaInterfaceRow
    | RdmaConnectionRow
    | LimitRow
)
