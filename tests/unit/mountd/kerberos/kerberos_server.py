"""A server that takes tickets, without a process."""

from pathlib import Path

from mountd_helpers import FakeAccounts
from smbtest.tickets import Forge, Initiator

from usmbd.mountd.account_facts import AccountFacts
from usmbd.mountd.config.idmap import IdmapRange
from usmbd.mountd.credentials import Credentials
from usmbd.mountd.idmap import Idmap
from usmbd.mountd.ipc.messages import LoginResponse, TicketRequest
from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.mountd.kerberos.acceptor import Acceptor
from usmbd.mountd.kerberos.login import TicketLogin, Waiting
from usmbd.mountd.kerberos.principals import Mapping
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.users import UserTable


class Server:
    """A server that takes tickets, without a process."""

    def __init__(self, forge: Forge, directory: Path) -> None:
        """Take the key."""
        self.forge = forge
        self.directory = directory
        self.accounts = FakeAccounts()
        self.credentials = Credentials()
        self.waiting = Waiting()
        self.ranges: list[IdmapRange] = []
        self.facts: dict[str, AccountFacts] = {}

    def login(self, mapping: Mapping | None = None, **server: object) -> TicketLogin:
        """Return what takes tickets, with such settings."""
        return TicketLogin(
            Acceptor(f"FILE:{self.forge.keytab}"),
            mapping or Mapping("DOM"),
            UserTable({"alice": nt_hash("secret"), "ghost": nt_hash("boo")}, self.facts),
            ServerConfig(**server),  # type: ignore[arg-type]
            self.accounts,
            self.credentials,
            self.waiting,
            Idmap(self.ranges, self.directory),
        )

    def of(self, ticket: str, login: TicketLogin | None = None) -> LoginResponse:
        """Show a ticket and return the answer."""
        request = TicketRequest(Initiator(ticket).token, "192.0.2.1")
        return (login or self.login()).login("worker", request, 0.0)
