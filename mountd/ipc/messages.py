"""The messages between the engine, mountd, its RPC process and `usmbd.control`.

Every message is a tagged `msgspec.Struct`; each travels in an `Envelope` whose handle the
client chooses, so that answers may come out of order. Handle 0 is kept for what the server
says unasked (`ConfigReloaded`). The limits stand in the types: a decoder made by `codec`
refuses a message that breaks them, before any code sees it.

The sockets, all Unix SOCK_SEQPACKET beneath the state directory:

* `mountd.sock`: `MountdRequest` -> `MountdResponse`, served by usmbd.mountd;
* `rpc.sock`: `RpcRequest` -> `RpcAnswer`, served by mountd's RPC process;
* `control.sock`: `ControlRequest` -> `ControlResponse`, served by the supervisor.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct, field

from usmbd.mountd.ipc.base import MAX_ADDRESS as MAX_ADDRESS
from usmbd.mountd.ipc.base import MAX_GROUPS as MAX_GROUPS
from usmbd.mountd.ipc.base import MAX_MECH_LIST as MAX_MECH_LIST
from usmbd.mountd.ipc.base import MAX_MIC as MAX_MIC
from usmbd.mountd.ipc.base import MAX_NAME as MAX_NAME
from usmbd.mountd.ipc.base import MAX_NT_RESPONSE as MAX_NT_RESPONSE
from usmbd.mountd.ipc.base import MAX_PATH as MAX_PATH
from usmbd.mountd.ipc.base import MAX_ROWS as MAX_ROWS
from usmbd.mountd.ipc.base import MAX_RPC_DATA as MAX_RPC_DATA
from usmbd.mountd.ipc.base import MAX_SHARE_NAME as MAX_SHARE_NAME
from usmbd.mountd.ipc.base import MAX_TICKET as MAX_TICKET
from usmbd.mountd.ipc.base import MAX_TICKET_FACTS as MAX_TICKET_FACTS
from usmbd.mountd.ipc.base import Address as Address
from usmbd.mountd.ipc.base import Envelope as Envelope
from usmbd.mountd.ipc.base import Groups as Groups
from usmbd.mountd.ipc.base import Handle as Handle
from usmbd.mountd.ipc.base import Message as Message
from usmbd.mountd.ipc.base import Name as Name
from usmbd.mountd.ipc.base import RpcData as RpcData
from usmbd.mountd.ipc.base import ShareName as ShareName
from usmbd.mountd.ipc.logins import AnonymousRequest as AnonymousRequest
from usmbd.mountd.ipc.logins import BindTicketRequest as BindTicketRequest
from usmbd.mountd.ipc.logins import BindTicketResponse as BindTicketResponse
from usmbd.mountd.ipc.logins import LoginRequest as LoginRequest
from usmbd.mountd.ipc.logins import LoginResponse as LoginResponse
from usmbd.mountd.ipc.logins import LoginStatus as LoginStatus
from usmbd.mountd.ipc.logins import Logout as Logout
from usmbd.mountd.ipc.logins import SessionRequest as SessionRequest
from usmbd.mountd.ipc.logins import SessionResponse as SessionResponse
from usmbd.mountd.ipc.logins import TicketMicRequest as TicketMicRequest
from usmbd.mountd.ipc.logins import TicketRequest as TicketRequest
from usmbd.mountd.ipc.rows import CONSTANT as CONSTANT
from usmbd.mountd.ipc.rows import ConnectionRow as ConnectionRow
from usmbd.mountd.ipc.rows import LimitRow as LimitRow
from usmbd.mountd.ipc.rows import OpenRow as OpenRow
from usmbd.mountd.ipc.rows import RdmaConnectionRow as RdmaConnectionRow
from usmbd.mountd.ipc.rows import RdmaInterfaceRow as RdmaInterfaceRow
from usmbd.mountd.ipc.rows import Row as Row
from usmbd.mountd.ipc.rows import SessionRow as SessionRow
from usmbd.mountd.ipc.rows import WorkerRow as WorkerRow
from usmbd.mountd.ipc.settings import ServerConfig, ShareConfig
from usmbd.mountd.ipc.sids import MachineDomain

MOUNTD_SOCKET = "mountd.sock"
RPC_SOCKET = "rpc.sock"
CONTROL_SOCKET = "control.sock"


# --- configuration --------------------------------------------------------------------------


class ServerConfigRequest(Message):
    """Ask for the global configuration. Answer: `ServerConfigResponse`."""


class ServerConfigResponse(Message):
    """The global configuration; `generation` grows with every reload."""

    config: ServerConfig
    generation: int = 0


class ShareConfigRequest(Message):
    """Ask for one share's configuration by its name, in any case. Answer: `ShareConfigResponse`."""

    name: ShareName


class ShareConfigResponse(Message):
    """The share's configuration, or None when there is no such share."""

    share: ShareConfig | None


class ConfigReloaded(Message):
    """mountd has read a new configuration; sent to every client with handle 0.

    Sessions and tree connects are then asked for anew (`SessionRequest`, `TreeConnectRequest`).
    """

    generation: int


# --- tree connects --------------------------------------------------------------------------


class TreeStatus(StrEnum):
    """What became of a tree connect, with the NTSTATUS that fits ([MS-SMB2] 3.3.5.7)."""

    OK = "ok"
    NO_SHARE = "no_share"
    """STATUS_BAD_NETWORK_NAME."""
    HOST_DENIED = "host_denied"
    """`hosts allow`/`hosts deny`: STATUS_ACCESS_DENIED."""
    INVALID_USER = "invalid_user"
    """`valid users`/`invalid users`, or a guest on a share without `guest ok`: ACCESS_DENIED."""
    NO_USER = "no_user"
    """The session's, the guest's or the forced user has no account here: STATUS_ACCESS_DENIED."""
    TOO_MANY_CONNECTIONS = "too_many_connections"
    """The share's `max connections`: STATUS_REQUEST_NOT_ACCEPTED."""
    ERROR = "error"
    """mountd could not find out (its log says why): STATUS_UNSUCCESSFUL."""


class TreeConnectRequest(Message):
    """May this session use the share? Answer: `TreeConnectResponse`.

    The engine chooses `tree_id` first: the session counts against `max connections`, once, until
    `TreeDisconnect` of all its trees of the share, `Logout`, or the end of the asking worker's
    connection. Asked again for the same ids after a `ConfigReloaded`, it is not counted again.
    """

    session_id: Handle
    tree_id: Handle
    share: ShareName
    user: Name
    """As `LoginResponse.user`; empty for an anonymous session."""
    uid: int
    gid: int
    groups: Groups
    client_address: Address
    server_address: Address = ""
    """The address that the client came to."""
    other_addresses: Annotated[list[Address], Meta(max_length=64)] = field(default_factory=list)
    """Of the session's other channels, by which the share is used as well."""
    guest: bool = False
    anonymous: bool = False
    ticket: Annotated[bytes, Meta(max_length=MAX_TICKET_FACTS)] = b""
    """As `LoginResponse.ticket`."""


class AbsentUserRequest(Message):
    """What may a user do on a share, who is not connected? Answer: `TreeConnectResponse`.

    Asked before something is done that he has asked for and left. Nobody is counted, by which
    password he came does not matter, nor does from where.
    """

    share: ShareName
    user: Name
    """As `LoginResponse.user`; he has proved to be that."""
    ticket: Annotated[bytes, Meta(max_length=MAX_TICKET_FACTS)] = b""
    """As `LoginResponse.ticket`."""
    client_address: Address = ""
    """Where he came from, for what a path is made of."""
    server_address: Address = ""


class TreeConnectResponse(Message):
    """The answer: rights, the share, and who acts (after `force user`, `admin users`, guest)."""

    status: TreeStatus
    share: ShareConfig | None = None
    writable: bool = False
    """False: the share is read only for this user, whatever the files' modes say."""
    admin: bool = False
    """The user is one of `admin users`: uid and gid are 0 where the server is root."""
    guest: bool = False
    """The user is in by `guest ok`."""
    uid: int = 0
    gid: int = 0
    groups: Groups = field(default_factory=list)
    domain: MachineDomain | None = None
    """Whose accounts security descriptors name."""
    audits: bool = False
    """The user holds SeSecurityPrivilege: he sees and sets SACLs."""


class TreeDisconnect(Message):
    """A tree connect ended. No answer."""

    session_id: Handle
    tree_id: Handle


class HeldTree(Struct, array_like=True, frozen=True):
    """One tree connect that a worker holds."""

    session_id: Handle
    tree_id: Handle
    share: ShareName
    proven: bool
    """Whether its session has proved an account."""


class TreesHeld(Message):
    """A worker's tree connects, told to a mountd that was restarted. No answer.

    Large numbers go in several messages.
    """

    trees: Annotated[list[HeldTree], Meta(max_length=MAX_ROWS)]


class DebugAreas(Message):
    """Switch debug messages of these areas on (or off). No answer."""

    areas: Annotated[list[Name], Meta(min_length=1, max_length=32)]
    enable: bool = True


class LimitsRequest(Message):
    """What is limited in mountd? Answer: `LimitsResponse`. Asked by usmbd.control."""


class LimitsResponse(Message):
    """The limits of mountd, and what is used of each."""

    rows: Annotated[list[LimitRow], Meta(max_length=MAX_ROWS)]


class ReloadRequest(Message):
    """Read the files again. Answer: `ReloadResponse`. Asked by the supervisor and the tools."""


class ReloadResponse(Message):
    """The files have been read again."""

    refused: Annotated[str, Meta(max_length=4096)] = ""
    """Why what held before goes on to hold; empty: it is what the files say."""
    users: bool = True
    """Whether at least the users are those of the password file."""


class Failed(Message):
    """mountd could not serve the request: a fault of its own, said in its log."""

    reason: Annotated[str, Meta(max_length=1024)]


MountdRequest = (
    LoginRequest
    | TicketRequest
    | TicketMicRequest
    | AnonymousRequest
    | SessionRequest
    | Logout
    | ServerConfigRequest
    | ShareConfigRequest
    | TreeConnectRequest
    | AbsentUserRequest
    | TreeDisconnect
    | TreesHeld
    | DebugAreas
    | LimitsRequest
    | ReloadRequest
)
MountdResponse = (
    LoginResponse
    | SessionResponse
    | ServerConfigResponse
    | ShareConfigResponse
    | TreeConnectResponse
    | ConfigReloaded
    | LimitsResponse
    | ReloadResponse
    | Failed
)


# --- named pipes ----------------------------------------------------------------------------


MAX_PIPES_PER_WORKER = 8192
"""Bounds the memory of the RPC process: an idle pipe takes some kilobytes. The worker divides them
among its clients."""


class RpcStatus(StrEnum):
    """What became of an operation on a named pipe."""

    OK = "ok"
    MORE_DATA = "more_data"
    """Data was returned and the rest of the message waits: STATUS_BUFFER_OVERFLOW."""
    EMPTY = "empty"
    """Nothing to read: STATUS_PIPE_EMPTY (a READ of a blocking pipe would wait)."""
    NO_PIPE = "no_pipe"
    """No pipe has this name: STATUS_OBJECT_NAME_NOT_FOUND."""
    BAD_HANDLE = "bad_handle"
    """The engine named a pipe that is not open (mountd was restarted): STATUS_PIPE_DISCONNECTED."""
    BROKEN = "broken"
    """The client broke the DCE/RPC protocol, the pipe is closed: STATUS_PIPE_DISCONNECTED."""
    ACCESS_DENIED = "access_denied"
    TOO_MANY = "too_many"
    """Limit of open pipes or waiting bytes: STATUS_INSUFFICIENT_RESOURCES."""
    ERROR = "error"
    """STATUS_UNSUCCESSFUL; the RPC process' log says why."""


class RpcOpen(Message):
    """Open the named pipe; `pipe` is a number the engine has not in use on this connection."""

    pipe: Handle
    name: Annotated[str, Meta(max_length=MAX_NAME)]
    """The pipe's name as the client gave it, in any case, without `\\PIPE\\`."""
    user: Name
    domain: Name = ""
    uid: int = 65534
    gid: int = 65534
    groups: Groups = field(default_factory=list)
    session_id: Handle = 0
    client_address: Address = ""
    server_name: Name = ""
    """The server as the client addressed it (from the tree path), for answers that repeat it."""
    guest: bool = False
    anonymous: bool = False
    key: Annotated[bytes, Meta(max_length=32)] = b""
    """Session.ApplicationKey: passwords that an administrator sets are encrypted with it."""
    credential: int = 0
    """As `LoginResponse.credential`: without it, or the ticket, nothing is done in his name."""
    ticket: Annotated[bytes, Meta(max_length=MAX_TICKET_FACTS)] = b""
    """As `LoginResponse.ticket`."""


class RpcWrite(Message):
    """Bytes written to the pipe. Answer: `RpcResponse` without data."""

    pipe: Handle
    data: RpcData


class RpcRead(Message):
    """Read at most `max_length` bytes of the waiting message. Answer: `RpcResponse`.

    With `keep` they stay in the pipe (FSCTL_PIPE_PEEK).
    """

    pipe: Handle
    max_length: Annotated[int, Meta(ge=0)]
    keep: bool = False


class RpcTransceive(Message):
    """Write and read in one (FSCTL_PIPE_TRANSCEIVE, [MS-FSCC] 2.3.31). Answer: `RpcResponse`."""

    pipe: Handle
    data: RpcData
    max_output: Annotated[int, Meta(ge=0)]


class RpcClose(Message):
    """The pipe is closed. Answer: `RpcResponse`; closing an unknown pipe is OK."""

    pipe: Handle


class RpcResponse(Message):
    """The answer to every RPC message."""

    status: RpcStatus
    data: RpcData = b""
    waiting: int = 0
    """Bytes that still wait in the pipe (FilePipeLocalInformation, FSCTL_PIPE_PEEK)."""


class RpcAsks(Message):
    """What a call needs of a file before it can be answered; `RpcTold` follows.

    It comes instead of the answer to a message that reads. The worker does it as a client of the
    session could that opened the pipe, and with no other rights.
    """

    share: Name
    path: Annotated[str, Meta(max_length=MAX_PATH)]
    """As the client says it, below the share's root."""
    information: Annotated[int, Meta(ge=0, lt=1 << 32)]
    """SECURITY_INFORMATION: the parts of the file's descriptor ([MS-DTYP] 2.4.7)."""
    descriptor: RpcData | None = None
    """What they become; None: what are they?"""


class RpcTold(Message):
    """What came of `RpcAsks`. Answer: what the message would have had that read."""

    pipe: Handle
    status: Annotated[int, Meta(ge=0, lt=1 << 32)]
    """NTSTATUS."""
    max_output: Annotated[int, Meta(ge=0)]
    descriptor: RpcData = b""


RpcRequest = RpcOpen | RpcWrite | RpcRead | RpcTransceive | RpcClose | RpcTold
RpcAnswer = RpcResponse | RpcAsks


# --- usmbd.control --------------------------------------------------------------------------


class ControlShutdown(Message):
    """End the server. Answer: `ControlDone` before it goes."""


class ControlReload(Message):
    """Read the configuration again. Answer: `ControlDone` or `ControlError`."""


class ListKind(StrEnum):
    """What `usmbd.control --list` may be asked for."""

    WORKERS = "workers"
    SESSIONS = "sessions"
    CONNECTIONS = "connections"
    OPENS = "opens"
    RDMA = "rdma"
    """Whether and how RDMA is used, by interface and by connection."""
    LIMITS = "limits"
    """What is limited, by what, and how much of it is in use."""


class ControlList(Message):
    """Ask for the tables. Answer: any number of `ControlRows`, the last with `more` false."""

    kinds: Annotated[list[ListKind], Meta(min_length=1, max_length=len(ListKind))]


class ControlClose(Message):
    """End sessions, and close opens: (session, open). Answer: `ControlDone`.

    What is not there is closed already.
    """

    sessions: Annotated[list[Handle], Meta(max_length=1024)] = []
    opens: Annotated[list[tuple[Handle, Handle]], Meta(max_length=1024)] = []


class ControlDebug(Message):
    """Switch debug messages of these areas on (or off). Answer: `ControlDone`."""

    areas: Annotated[list[Name], Meta(min_length=1, max_length=32)]
    enable: bool = True


class ControlVersion(Message):
    """Ask for the running server's version. Answer: `ControlVersionInfo`."""


class ControlRows(Message):
    """A part of the tables."""

    rows: Annotated[list[Row], Meta(max_length=MAX_ROWS)]
    more: bool = False


class ControlVersionInfo(Message):
    """The running server."""

    version: str
    pid: int
    workers: int
    uptime: int
    """Seconds."""


MAX_WARNINGS = 4096


class ControlDone(Message):
    """It was done."""

    note: Annotated[str, Meta(max_length=4096)] = ""
    warnings: Annotated[str, Meta(max_length=MAX_WARNINGS)] = ""
    """Of files that were read again, as --check tells them: a line each."""


class ControlError(Message):
    """It could not be done."""

    reason: Annotated[str, Meta(max_length=4096)]


ControlRequest = (
    ControlShutdown | ControlReload | ControlList | ControlClose | ControlDebug | ControlVersion
)
ControlResponse = ControlRows | ControlVersionInfo | ControlDone | ControlError
