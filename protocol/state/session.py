"""Session and Channel: a user on one or more connections ([MS-SMB2] 3.3.1.8, 3.3.1.14)."""

import time
from enum import Enum, auto
from typing import TYPE_CHECKING

from usmbd.protocol.auth.spnego import Acceptor
from usmbd.protocol.crypto.encryption import Sealer
from usmbd.protocol.crypto.signing import Signer
from usmbd.protocol.vfs.identity import Identity
from usmbd.protocol.wire.base import Buffer

if TYPE_CHECKING:
    from usmbd.protocol.state.connection import Connection
    from usmbd.protocol.state.open import Open
    from usmbd.protocol.state.tree import TreeConnect


class SessionState(Enum):
    """Session.State."""

    IN_PROGRESS = auto()
    VALID = auto()
    EXPIRED = auto()
    SUSPENDED = auto()
    """Of an account, re-authenticated as nobody: what is open goes on, nothing more is opened."""


class Channel:
    """One connection of a session, with its own signing key."""

    __slots__ = ("connection", "signer")

    def __init__(self, connection: "Connection", signer: Signer | None) -> None:
        """Bind `connection`; no signer for guests and anonymous users."""
        self.connection = connection
        self.signer = signer


class Session:
    """One user's session; names as in [MS-SMB2] 3.3.1.8."""

    __slots__ = (
        "acceptors",
        "anonymous",
        "application_key",
        "channel_list",
        "cipher_id",
        "client_guid",
        "closed",
        "created",
        "credential",
        "dialect",
        "domain",
        "durable_owner",
        "encrypt_data",
        "expires",
        "guest",
        "identity",
        "next_tree_id",
        "open_table",
        "sealer",
        "seals",
        "session_id",
        "signer",
        "signing_algorithm_id",
        "signing_key",
        "signing_required",
        "state",
        "ticket",
        "tree_connect_table",
        "user",
    )

    def __init__(self, session_id: int, dialect: int) -> None:
        """Begin a session whose authentication is under way."""
        self.session_id = session_id
        self.dialect = dialect
        self.state = SessionState.IN_PROGRESS
        self.user = ""
        self.domain = ""
        self.identity = Identity(65534, 65534, ())
        self.durable_owner = b""  # of its durable opens, once there is one
        self.credential = 0  # of mountd: by which password the user logged in
        self.ticket = b""  # of mountd: who a Kerberos ticket said the user is
        self.expires = 0  # ExpirationTime, seconds since 1970; 0: never
        self.application_key = b""
        self.guest = False
        self.anonymous = False
        # Of the connection that the session began on: a binding is checked against them.
        self.client_guid = bytes(16)
        self.cipher_id = 0
        self.signing_algorithm_id = 0
        self.signing_key: Buffer = b""
        self.signer: Signer | None = None
        self.signing_required = False
        self.encrypt_data = False
        self.sealer: Sealer | None = None
        self.seals = False  # an encrypted message has come
        self.channel_list: dict[Connection, Channel] = {}
        self.acceptors: dict[Connection, Acceptor | None] = {}
        """Authentications under way, one a channel; None while mountd is asked."""
        self.open_table: dict[int, Open] = {}
        self.tree_connect_table: dict[int, TreeConnect] = {}
        self.next_tree_id = 1
        self.closed = False  # ended, perhaps while a request of it waited
        self.created = time.time()

    def on(self, connection: "Connection") -> bool:
        """Whether `connection` is one of its channels, authenticated as such."""
        return connection in self.channel_list

    @property
    def account(self) -> str:
        """Whose session it is by the password file; "" for guests and the anonymous."""
        return "" if self.guest or self.anonymous else self.user

    @property
    def proven_user(self) -> str:
        """The user, by whom limits count; "" for guests and anonymous users, who proved nothing."""
        return "" if self.guest or self.anonymous else self.user

    @property
    def valid(self) -> bool:
        """Whether requests other than SESSION_SETUP may use the session."""
        return self.state is not SessionState.IN_PROGRESS
