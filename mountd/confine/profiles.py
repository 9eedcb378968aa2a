"""What each process needs; everything else it gives up."""

from dataclasses import dataclass, field

from usmbd.mountd.confine import system_calls as calls
from usmbd.mountd.confine.kernel import Capability


@dataclass(frozen=True, slots=True)
class Profile:
    """The rights of one kind of process."""

    capabilities: frozenset[Capability] = frozenset()
    system_calls: frozenset[str] = frozenset()
    processes: bool = False
    """Whether it starts processes, not threads alone."""
    any_socket: bool = False
    """Whether it makes TCP sockets."""
    files: bool = True
    """Whether it opens files by name."""
    own_user: int = field(default=0, kw_only=True)
    """A uid and gid for this process alone; 0: it stays who it is."""


UNUSED_IDS = range(60706, 61184)
"""Numbers that systemd's table of users and groups calls unused: accounts of nobody."""

SERVE_FILES = frozenset(
    {
        Capability.CHOWN,
        Capability.DAC_OVERRIDE,
        Capability.FOWNER,
        Capability.FSETID,
        Capability.SETGID,
        Capability.SETUID,
    }
)

WORKER = Profile(
    SERVE_FILES | {Capability.IPC_LOCK},
    frozenset(
        calls.PYTHON
        + calls.MESSAGES
        + calls.LOOK
        + calls.CHANGE
        + calls.CONNECT
        + calls.ACT_FOR_USERS
    ),
)
"""Acts for users on their files. CAP_IPC_LOCK is for the memory that an RDMA device uses."""

KEEPER = Profile(
    frozenset({Capability.SYS_ADMIN}),
    frozenset([*calls.PYTHON, *calls.MESSAGES, "setxattr", "fsetxattr", "quotactl_fd"]),
    files=False,
)
"""Does what the kernel lets none but CAP_SYS_ADMIN do: stores `security.NTACL`, and reads and sets
quotas, of files that it is given."""

RPC = Profile(
    frozenset(),
    frozenset([*calls.PYTHON, *calls.MESSAGES, "accept4", "connect"]),
    files=False,
    own_user=UNUSED_IDS[-1],
)
"""Parses DCE/RPC and answers on sockets that it is given; the log's, if it is journald's, it
connects."""

DOOR = Profile(
    frozenset(),
    frozenset([*calls.PYTHON, *calls.MESSAGES, "accept4", "connect"]),
    files=False,
    own_user=UNUSED_IDS[-2],
)
"""Accepts strangers and reads the first message of each; logs as the RPC process does."""

MDNS = Profile(
    frozenset(),
    frozenset([*calls.PYTHON, *calls.MESSAGES, *calls.CONNECT]),
    files=False,
    own_user=UNUSED_IDS[-3],
)
"""Answers multicast DNS: UDP sockets, and netlink's to look addresses up."""

WSD = Profile(
    frozenset(),
    frozenset(
        [*calls.PYTHON, *calls.MESSAGES, *calls.LOOK, *calls.CONNECT, *calls.LISTEN, "execve"]
    ),
    any_socket=True,
    own_user=UNUSED_IDS[-4],
)
"""Becomes wsdd, which reads what anybody may read, and answers by UDP and HTTP."""

MOUNTD = Profile(
    frozenset(
        {
            Capability.DAC_READ_SEARCH,
            Capability.KILL,
            Capability.SETGID,
            Capability.SETPCAP,
            Capability.SETUID,
        }
    ),
    frozenset(
        calls.PYTHON
        + calls.MESSAGES
        + calls.LOOK
        + calls.CHANGE
        + calls.CONNECT
        + calls.LISTEN
        + calls.CHILDREN
        + calls.CONFINE
    ),
    processes=True,
    any_socket=True,
)
"""Reads the configuration, the password file and, by whatever way the system has, accounts."""

SUPERVISOR = Profile(
    SERVE_FILES
    | MOUNTD.capabilities
    | KEEPER.capabilities
    | {
        Capability.IPC_LOCK,
        Capability.NET_BIND_SERVICE,
        Capability.SYS_PTRACE,
        Capability.SYS_RESOURCE,
    },
    MOUNTD.system_calls | WORKER.system_calls | KEEPER.system_calls | frozenset(calls.HIDE),
    processes=True,
    any_socket=True,
)
"""Starts the others, so it has what any of them has; binds the port. By CAP_SYS_PTRACE /proc tells
in which call a child hangs; the calls that trace are not there."""
