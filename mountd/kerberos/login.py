"""Logins by Kerberos: a ticket, the files and the accounts give an identity or a refusal."""

import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

import msgspec

from usmbd.mountd.account_facts import closed
from usmbd.mountd.credentials import Credentials
from usmbd.mountd.identity import Account, Accounts
from usmbd.mountd.idmap import Idmap
from usmbd.mountd.ipc.messages import (
    LoginResponse,
    LoginStatus,
    SessionResponse,
    TicketMicRequest,
    TicketRequest,
)
from usmbd.mountd.ipc.settings import MapToGuest, ServerConfig
from usmbd.mountd.kerberos.acceptor import Accepted, Acceptor, RefusedError
from usmbd.mountd.kerberos.facts import TicketFacts, seal, unseal
from usmbd.mountd.kerberos.pac import LogonInfo
from usmbd.mountd.kerberos.principals import Mapping, Principal
from usmbd.mountd.log import REFUSED
from usmbd.mountd.users import UserTable

log = logging.getLogger("usmbd.auth")

MAX_WAITING: Final = 256
"""Security contexts that wait for their client's signature, of some KiB each; the oldest gives way.
Few clients list an unknown mechanism before Kerberos."""

WAIT_SECONDS: Final = 30.0
"""For which one waits: the client has everything that it needs to answer."""


class Waiting:
    """The security contexts whose clients have to sign their list of mechanisms."""

    def __init__(self) -> None:
        """Begin with none."""
        self._contexts: OrderedDict[int, tuple[Hashable, float, Accepted, LoginResponse, bytes]] = (
            OrderedDict()
        )

    def add(
        self,
        worker: Hashable,
        accepted: Accepted,
        answer: LoginResponse,
        mech_list: bytes,
        now: float,
    ) -> int:
        """Keep what a worker will ask for; return its number."""
        if len(self._contexts) >= MAX_WAITING:
            self._contexts.popitem(last=False)
        number = secrets.randbits(62) | 1
        self._contexts[number] = worker, now + WAIT_SECONDS, accepted, answer, mech_list
        return number

    def take(
        self, worker: Hashable, number: int, now: float
    ) -> tuple[Accepted, LoginResponse, bytes]:
        """Return what was kept under a number, once; RefusedError."""
        owner, until, accepted, answer, mech_list = self._contexts.pop(
            number, (None, 0.0, None, None, b"")
        )
        if owner != worker or accepted is None or answer is None or now > until:
            raise RefusedError("its signature comes too late")
        return accepted, answer, mech_list

    def worker_gone(self, worker: Hashable) -> None:
        """Forget what a worker will not ask for any more."""
        gone = [number for number, kept in self._contexts.items() if kept[0] == worker]
        for number in gone:
            del self._contexts[number]


class TicketLogin:
    """Answers logins by Kerberos from one state of the configuration and the password file."""

    def __init__(
        self,
        acceptor: Acceptor,
        mapping: Mapping,
        users: UserTable,
        server: ServerConfig,
        accounts: Accounts,
        credentials: Credentials,
        waiting: Waiting,
        idmap: Idmap,
    ) -> None:
        """Take the keytab and what says who is who."""
        self._idmap = idmap
        self.acceptor = acceptor
        self._mapping = mapping
        self._users = users
        self._server = server
        self._accounts = accounts
        self._credentials = credentials
        self._waiting = waiting

    def login(self, worker: Hashable, request: TicketRequest, now: float) -> LoginResponse:
        """Return what a ticket is worth."""
        try:
            accepted = self.acceptor.accept(request.token)
            if request.mech_list_mic:
                accepted.check(request.mech_list, request.mech_list_mic)
            answer = self.answer(accepted)
            if not request.mech_list:
                return answer
            mic = accepted.sign(request.mech_list)
            if request.mech_list_mic:
                return msgspec.structs.replace(answer, mech_list_mic=mic)
            number = self._waiting.add(worker, accepted, answer, request.mech_list, now)
        except RefusedError as error:
            return refused(request.client_address, error)
        return LoginResponse(
            LoginStatus.MIC_WANTED, token=accepted.token, mech_list_mic=mic, context=number
        )

    def finish(self, worker: Hashable, request: TicketMicRequest, now: float) -> LoginResponse:
        """Return the answer that waited for the client's signature, if that is right."""
        try:
            accepted, answer, mech_list = self._waiting.take(worker, request.context, now)
            accepted.check(mech_list, request.mech_list_mic)
        except RefusedError as error:
            return refused(request.client_address, error)
        return msgspec.structs.replace(answer, token=b"")  # it has been sent

    def answer(self, accepted: Accepted) -> LoginResponse:
        """Return who a principal is."""
        principal, facts = accepted.principal, self._facts(accepted)
        if facts is None:
            log.log(REFUSED, "%s has no account here", principal)
            if self._server.map_to_guest is not MapToGuest.BAD_UID:
                return LoginResponse(LoginStatus.BAD_USER, str(principal))
            guest = self._guest()
            return LoginResponse(
                LoginStatus.GUEST, self._server.guest_account, guest.uid, guest.gid,
                list(guest.groups), token=accepted.token,
            )  # fmt: skip
        standing = self._users.facts_of(facts.user)
        if (why := closed(standing, time.time())) is not None:
            return LoginResponse(why)
        account = self.account(facts) or self._guest()
        log.debug("the ticket of %s is %s's", principal, facts.user)
        return LoginResponse(
            LoginStatus.OK, facts.user, account.uid, account.gid, list(account.groups),
            accepted.session_key,
            ticket=seal(facts, self._credentials),
            expires=min(filter(None, (accepted.expires, standing.ends)), default=0),
            token=accepted.token,
        )  # fmt: skip

    def _facts(self, accepted: Accepted) -> TicketFacts | None:
        """Return whom a ticket lets in, with the ids of its groups; None: nobody."""
        principal, info = accepted.principal, accepted.logon_info
        domain = info.domain if info is not None else ""
        user = self._mapping.find(principal, self._users, self._accounts, domain)
        own, groups = None, tuple[int, ...]()
        if info is not None and self._accounts.privileged:
            of_domain = (domain, info.user.rpartition("-")[0])
            ids = (self._idmap.id_of(sid, of_domain) for sid in info.groups)
            groups = tuple(number for number in ids if number is not None)
            if user is None and self._mapping.admits(principal):
                own = self._own_ids(info, of_domain)
                user = None if own is None else self._mapping.qualified(principal, domain)
        if user is None:
            return None
        return TicketFacts(
            principal.name, principal.realm, principal.is_own, domain, user, own, groups
        )

    def _own_ids(self, info: LogonInfo, domain: tuple[str, str]) -> tuple[int, int] | None:
        """Return uid and gid of a user that the system does not know; None: he has none."""
        uid = self._idmap.id_of(info.user, domain)
        gid = self._idmap.id_of(info.primary_group, domain)
        if uid is None or gid is None or uid < self._mapping.least_uid:
            return None
        return uid, gid

    def account(self, facts: TicketFacts) -> Account | None:
        """Return who acts for whom a ticket let in, as the system knows him now."""
        return facts.account(self._accounts.find(facts.user))

    def facts(self, sealed: bytes) -> TicketFacts | None:
        """Return what a worker has kept of a ticket; None where it is no good (any more)."""
        return unseal(sealed, self._credentials)

    def still_valid(self, user: str, sealed: bytes) -> SessionResponse:
        """Return whether who came by a ticket could do so now."""
        facts = self.facts(sealed)
        if facts is None or facts.user != user:
            return SessionResponse(valid=False)
        principal = Principal(facts.principal, facts.realm, facts.is_own)
        found = self._mapping.find(principal, self._users, self._accounts, facts.domain)
        if found != user and (found is not None or facts.own is None):
            return SessionResponse(valid=False)
        if closed(self._users.facts_of(user), time.time()) is not None:
            return SessionResponse(valid=False)
        account = self.account(facts) or self._guest()
        return SessionResponse(True, account.uid, account.gid, list(account.groups))

    def _guest(self) -> Account:
        """Return the server's guest account."""
        return self._accounts.guest(self._server.guest_account)


def refused(client: str, error: RefusedError) -> LoginResponse:
    """Return the refusal; why stands in the log alone."""
    log.log(REFUSED, "a ticket is refused: %s", error, extra={"client": client})
    return LoginResponse(LoginStatus.BAD_TICKET)
