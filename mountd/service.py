"""What mountd answers, without sockets: a message and the time give an answer and its delay."""

import logging
from collections.abc import Callable, Hashable
from pathlib import Path

from usmbd.mountd import log as logs
from usmbd.mountd.admin import share_rights
from usmbd.mountd.admin.descriptors import ADMINISTRATORS, ANONYMOUS, EVERYONE, GUESTS, NETWORK
from usmbd.mountd.admin.outcome import RefusedError
from usmbd.mountd.admin.registered import Registered, commented
from usmbd.mountd.admin.users import Derived, Users
from usmbd.mountd.config.load import Configuration, load
from usmbd.mountd.config.source import share_key
from usmbd.mountd.credentials import Credentials
from usmbd.mountd.directory import Directory
from usmbd.mountd.homes import find_share
from usmbd.mountd.identity import Account, Accounts
from usmbd.mountd.idmap import Idmap
from usmbd.mountd.ipc.administration import Outcome, Result
from usmbd.mountd.ipc.messages import (
    AbsentUserRequest,
    AnonymousRequest,
    BindTicketRequest,
    BindTicketResponse,
    ConfigReloaded,
    DebugAreas,
    LimitRow,
    LimitsRequest,
    LimitsResponse,
    LoginRequest,
    LoginResponse,
    LoginStatus,
    Logout,
    Message,
    MountdRequest,
    ServerConfigRequest,
    ServerConfigResponse,
    SessionRequest,
    SessionResponse,
    ShareConfigRequest,
    ShareConfigResponse,
    TicketMicRequest,
    TicketRequest,
    TreeConnectRequest,
    TreeConnectResponse,
    TreeDisconnect,
    TreesHeld,
    TreeStatus,
)
from usmbd.mountd.ipc.rights import SECURITY
from usmbd.mountd.ipc.settings import ServerConfig, ShareConfig, ShareType
from usmbd.mountd.ipc.sids import MAX_RANGES, UNIX_GROUP, UNIX_USER, MachineDomain
from usmbd.mountd.ipc.users import ChangePassword, Scheme
from usmbd.mountd.kerberos.acceptor import Acceptor, UnavailableError
from usmbd.mountd.kerberos.bind import Binds
from usmbd.mountd.kerberos.login import TicketLogin, Waiting
from usmbd.mountd.kerberos.offer import offered
from usmbd.mountd.kerberos.principals import Mapping
from usmbd.mountd.log import REFUSED
from usmbd.mountd.login import PROVEN, Authenticator
from usmbd.mountd.rpc.configuration import RpcConfiguration, describe
from usmbd.mountd.shares import NO_RESTRICTION, Share, decide, from_anywhere, unproven
from usmbd.mountd.throttle import MAX_QUEUES, Throttle
from usmbd.mountd.trees import TreeTable
from usmbd.mountd.users import UserTable, Version, edit_accounts, load_users
from usmbd.mountd.usershares import with_usershares

log = logging.getLogger("usmbd.auth")

PROCESS = "mountd"
"""What the log and the lists call this process."""

Answer = tuple[Message | None, float]
"""The answer, None where none is sent, and the seconds after which it is sent."""


class Service:
    """The state of mountd: the configuration, the users, who uses what, and who failed."""

    def __init__(
        self,
        configuration: Configuration,
        passwords: Path,
        accounts: Accounts | None = None,
    ) -> None:
        """Read the password file; ConfigError when it is malformed."""
        self.configuration = configuration = offered(configuration)
        self.generation = 1
        self._passwords = passwords
        self._accounts = accounts or Accounts()
        self._throttle = Throttle()
        self.trees = TreeTable()
        self._credentials = Credentials()
        self._tickets_waiting = Waiting()
        self._tickets: TicketLogin | None = None
        self._binds = Binds()
        self._had_users = False
        self.passwords_version = Version(passwords)
        self.debugging_changed: Callable[[], None] = lambda: None
        self.machine_sid = ""
        """The machine's domain, of which the users of the password file are."""
        self._registered: Registered | None = None
        self._securities: dict[str, bytes] = {}
        self.configured: Callable[[ConfigReloaded], None] = lambda message: None
        """Told of a configuration that the registry has made another."""
        self.holders: Callable[[str], frozenset[str]] = lambda right: frozenset({ADMINISTRATORS})
        """Returns who holds a right (`admin.rights`)."""
        self.users_changed: Callable[[], None] = lambda: None
        """Told of users who are others, by RPC."""
        self.process_limits: Callable[[], list[LimitRow]] = list
        """Returns the rows of what is around this."""
        self._authenticator = self._read_users(configuration)
        self._handlers: dict[type, Callable[..., Answer]] = {
            LoginRequest: self._login,
            TicketRequest: self._ticket,
            TicketMicRequest: self._ticket_mic,
            AnonymousRequest: self._anonymous,
            SessionRequest: lambda _worker, request, _now: (self.session(request), 0.0),
            Logout: self._logout,
            ServerConfigRequest: self._server_config,
            ShareConfigRequest: self._share_config,
            TreeConnectRequest: self._tree_connect,
            AbsentUserRequest: self._absent_user,
            TreeDisconnect: self._tree_disconnect,
            TreesHeld: self._trees_held,
            DebugAreas: self._debug,
            LimitsRequest: self._limits,
        }

    def _read_users(self, configuration: Configuration) -> Authenticator:
        """Return an authenticator from the password file as it is now."""
        self.passwords_version.read()
        # A file that was there and is not is a mistake, not the end of all sessions.
        users = load_users(self._passwords, required=self._had_users)
        self._had_users = self._passwords.exists()
        self.directory = self._direct(users, configuration)
        return self._authenticate(users, configuration)

    def _direct(self, users: UserTable, said: Configuration) -> Directory:
        return Directory(users, self._accounts, said.administrators, said.policy)

    def _authenticate(self, users: UserTable, configuration: Configuration) -> Authenticator:
        self._tickets = self._read_keytab(configuration, users)
        return Authenticator(
            users, configuration.server, self._accounts, self._credentials,
            configuration.username_map, configuration.policy,
        )  # fmt: skip

    def _read_keytab(self, configuration: Configuration, users: UserTable) -> TicketLogin | None:
        """Return what takes Kerberos' tickets; None, with a word in the log, where nothing can."""
        kerberos = configuration.kerberos
        if kerberos is None:
            return None
        try:
            acceptor = Acceptor(kerberos.keytab, kerberos.service)
        except UnavailableError as error:  # it was there a moment ago
            log.warning("Kerberos is not offered: %s", error)
            return None
        server = configuration.server
        rules = kerberos.realm, kerberos.separator, kerberos.least_uid, kerberos.others
        mapping = Mapping(server.workgroup, *rules)
        return TicketLogin(
            acceptor, mapping, users, server, self._accounts, self._credentials,
            self._tickets_waiting, Idmap(configuration.idmap, Path(server.data_directory)),
        )  # fmt: skip

    def administrates(self, user: str) -> bool:
        """Tell whether a user administrates the server."""
        return self.directory.administrates(user)

    def describe_for_rpc(self, log_level: int) -> RpcConfiguration:
        """Return what the RPC process is told of the configuration."""
        users = self._authenticator.users.hashes
        told = describe(self.configuration, users, self._accounts, log_level, self.machine_sid)
        told.generation, told.securities = self.generation, self._securities
        return told

    def reload(self) -> ConfigReloaded:
        """Read both files again, but what needs a restart; ConfigError leaves all as it was."""
        return self.use(self.reader()())

    def reread_users(self) -> ConfigReloaded:
        """Read the password file alone again; ConfigError leaves everything as it was."""
        return self.use(self.configuration)

    def reader(self) -> Callable[[], Configuration]:
        """Return what reads the files, on whatever thread; the registry says now what it has."""
        old, registered = self.configuration, self._registered
        sections = registered.sections() if registered else []
        comment, port = registered.comment if registered else None, old.server.tcp_port

        def read() -> Configuration:
            found = with_usershares(load(old.path, tcp_port=port, registered=sections))
            return commented(offered(found), comment)

        return read

    def complete(self, made: Configuration) -> Configuration:
        """Return what a configuration is with Kerberos as it can be, and what RPC has set."""
        return commented(offered(made), self._registered.comment if self._registered else None)

    def use(self, configuration: Configuration) -> ConfigReloaded:
        """Let a configuration hold, with the users of the moment."""
        self._authenticator = self._read_users(configuration)
        self.configuration = configuration
        own = self._registered.securities() if self._registered else {}
        self._securities = {**own, **configuration.usershares}
        self.generation += 1
        return ConfigReloaded(self.generation)

    # -- administration --------------------------------------------------------------------

    def use_registry(self, registered: Registered) -> None:
        """Have what the registry says hold as well; ConfigError when the files are wrong by now."""
        self._registered = registered
        self.use(self.reader()())
        self.generation = 1  # nobody has heard of an earlier one

    def reconfigure(self, share: str | None, *, wanted: bool = True) -> int:
        """Have what the registry says of a share take effect; return the configuration's number.

        None: of the server. RefusedError(INVALID) when a share that is `wanted` would be left out.
        """
        base, registered = self.configuration.base, self._registered
        assert base is not None
        assert registered is not None
        made = base.changed(share, registered.section(share)) if share else base.whole()
        if share and wanted and (why := made.left_out.get(share_key(share))):
            raise RefusedError(Result.INVALID, why)
        self.configured(self.use(self.complete(made)))
        return self.generation

    @property
    def server(self) -> ServerConfig:
        """The settings."""
        return self.configuration.server

    def disk_shares(self) -> list[ShareConfig]:
        """Return the shares with files."""
        every = [share.config for share in self.configuration.shares.values()]
        return [share for share in every if share.type is ShareType.DISK]

    @property
    def users(self) -> UserTable:
        """The users of the moment."""
        return self._authenticator.users

    def edit_users(self, change: Callable[[UserTable], None]) -> None:
        """Write the password file anew, changed, and let it hold; what `change` raises stops it.

        What is connected is asked about a moment later, so that who changes his own password is
        told of it.
        """
        users, self.passwords_version.known = edit_accounts(self._passwords, change)
        if not self.directory.has_now(users):
            self.directory = self._direct(users, self.configuration)
        self._authenticator = self._authenticate(users, self.configuration)
        self.users_changed()

    def change_password(
        self, message: ChangePassword, now: float, derived: Derived | None = None
    ) -> tuple[Outcome, float]:
        """Change a password for who knows it; the answer waits when there were failures before."""
        if message.scheme is Scheme.RC4 and not self.server.ntlm:
            return Outcome(Result.NO_NTLM), 0.0
        account, address = self.users.account(message.user), message.address
        delay = self._throttle.reserve(account, address, now)
        if delay is None:
            return Outcome(Result.WRONG_PASSWORD), 0.0
        try:
            Users(self).change_own(message, derived)
        except RefusedError as error:
            if error.result is Result.WRONG_PASSWORD:
                self._throttle.failed(account, address, now)
                facts = {"client": address, "user": message.user}
                log.log(REFUSED, "a password is not changed: a wrong one", extra=facts)
            return Outcome(error.result), delay
        self._throttle.succeeded(account, address, now)
        return Outcome(Result.DONE), delay

    def sids(self, user: str) -> set[str]:
        """Return whom a user of the password file is, for descriptors."""
        return self.directory.sids(user, self.machine_sid)

    def remember_by(self, key: bytes) -> None:
        """Make the numbers of passwords by this key, as an earlier mountd did."""
        self._credentials.key = key

    def handle(self, worker: Hashable, message: MountdRequest, now: float) -> Answer:
        """Answer a worker's message; `now` is a clock in seconds that does not jump."""
        return self._handlers[type(message)](worker, message, now)

    def worker_gone(self, worker: Hashable) -> None:
        """Forget what a worker held whose connection ended."""
        self.trees.remove_worker(worker)
        self._tickets_waiting.worker_gone(worker)

    def _login(self, _worker: Hashable, request: LoginRequest, now: float) -> Answer:
        """Check a login; the answer waits when there were failures before."""
        if not self.configuration.server.ntlm:  # on the bind of DCE/RPC: the engine does not ask
            return LoginResponse(LoginStatus.REFUSED), 0.0
        user, address = request.user, request.client_address
        facts = {"client": address, "user": user}
        users = self._authenticator.users
        account = users.account(self._authenticator.account_of(user))
        delay = self._throttle.reserve(account, address, now)
        if delay is None:
            log.log(REFUSED, "too many logins wait", extra=facts)
            return LoginResponse(LoginStatus.TOO_MANY), 0.0
        response = self._authenticator.login(request)
        if response.status in PROVEN:
            self._throttle.succeeded(account, address, now)
            log.debug("login as uid %d: %s", response.uid, response.status, extra=facts)
        elif response.status in (LoginStatus.BAD_USER, LoginStatus.BAD_PASSWORD):
            self._throttle.failed(account, address, now)
            log.log(REFUSED, "login failed: %s", response.status, extra=facts)
        else:
            if account in users.hashes:
                # `map to guest = bad password`: a wrong password is a guess all the same. Names of
                # nobody are not: whole offices come as guests with their own.
                self._throttle.failed(account, address, now)
            log.debug("login as %s", response.status, extra=facts)
        return response, delay

    def login_again(self, request: LoginRequest) -> LoginResponse:
        """Answer a login whose answer has waited by what the files say now."""
        return self._authenticator.login(request)

    def session(self, request: SessionRequest) -> SessionResponse:
        """Tell whether a session may go on."""
        if not request.ticket:
            response = self._authenticator.still_valid(request)
        elif self._tickets is not None:
            response = self._tickets.still_valid(request.user, request.ticket)
        else:  # no keytab any more
            response = SessionResponse(valid=False)
        if not response.valid:
            log.log(REFUSED, "a session may not go on", extra={"user": request.user})
        return response

    def _ticket(self, worker: Hashable, request: TicketRequest, now: float) -> Answer:
        """Check a login by Kerberos: nothing to guess there, so nothing is delayed."""
        if self._tickets is None:
            return LoginResponse(LoginStatus.BAD_TICKET), 0.0
        return self._tickets.login(worker, request, now), 0.0

    def _ticket_mic(self, worker: Hashable, request: TicketMicRequest, now: float) -> Answer:
        """Go on with a login by Kerberos."""
        if self._tickets is None:
            return LoginResponse(LoginStatus.BAD_TICKET), 0.0
        return self._tickets.finish(worker, request, now), 0.0

    def bind_ticket(self, request: BindTicketRequest, now: float) -> BindTicketResponse:
        """Check a login by Kerberos on a bind of DCE/RPC."""
        return self._binds.answer(self._tickets, request, now)

    def _of_ticket(self, request: TreeConnectRequest) -> Account | None:
        """Return who acts for a user that came by Kerberos; None for all others."""
        facts = self._tickets.facts(request.ticket) if self._tickets and request.ticket else None
        if facts is None or facts.user != request.user or self._tickets is None:
            return None
        return self._tickets.account(facts)

    def _anonymous(self, _worker: Hashable, request: AnonymousRequest, _now: float) -> Answer:
        """Give the null session its identity."""
        log.debug("login as anonymous", extra={"client": request.client_address})
        return self._authenticator.anonymous(), 0.0

    def _logout(self, worker: Hashable, message: Logout, _now: float) -> Answer:
        """Forget a session's tree connects."""
        self.trees.remove_session(worker, message.session_id)
        return None, 0.0

    def _server_config(self, *_: object) -> Answer:
        """Return the global settings."""
        return ServerConfigResponse(self.configuration.server, self.generation), 0.0

    def _share_config(self, _worker: Hashable, request: ShareConfigRequest, _now: float) -> Answer:
        """Return a share's settings."""
        share = self.configuration.find_share(request.name)
        return ShareConfigResponse(share.config if share else None), 0.0

    def _tree_connect(self, worker: Hashable, request: TreeConnectRequest, _now: float) -> Answer:
        """Decide a tree connect and count it."""
        share, response = self.decide(request)
        if response.status is TreeStatus.OK and share is not None:
            tree, proven = (request.session_id, request.tree_id), not unproven(request)
            known = self.trees.connected(worker, request.session_id, share.config.name)
            if not known and self.trees.is_full(share.config, proven=proven):
                response = TreeConnectResponse(TreeStatus.TOO_MANY_CONNECTIONS)
            else:
                self.trees.add(worker, tree, share.config.name, proven=proven)
                response.domain = self._domain()
                response.audits = self._audits(request, response)
        if response.status is not TreeStatus.OK:
            log.log(
                REFUSED, "tree connect refused: %s", response.status,
                extra={
                    "client": request.client_address,
                    "user": request.user,
                    "share": request.share,
                },
            )  # fmt: skip
        return response, 0.0

    def decide(
        self, request: TreeConnectRequest, *, hosts: bool = True
    ) -> tuple[Share | None, TreeConnectResponse]:
        """Return a share, and who may do what on it; unless `hosts`, from wherever he comes."""
        configuration = self.configuration
        share = find_share(
            configuration,
            request.share,
            "" if unproven(request) else request.user,
            self._authenticator.users,
            self._accounts,
            by_ticket=bool(request.ticket),
        )
        admitted = configuration.hosts
        if share is not None and not hosts:
            admitted, share = NO_RESTRICTION, from_anywhere(share)
        known = self._of_ticket(request)
        response = decide(request, share, configuration.server, admitted, self._accounts, known)
        if response.status is TreeStatus.OK and self._securities:
            response = self._limited(request, response)
        return share, response

    def _absent_user(self, _worker: Hashable, request: AbsentUserRequest, _now: float) -> Answer:
        """Tell what somebody may do on a share who is not connected."""
        user, ticket = request.user, request.ticket
        if ticket:
            tickets = self._tickets
            there = tickets is not None and tickets.still_valid(user, ticket).valid
        else:
            there = self._authenticator.is_open(user)
        if not there:
            return TreeConnectResponse(TreeStatus.NO_USER), 0.0
        asked = TreeConnectRequest(
            0, 0, request.share, user, 0, 0, [], request.client_address, request.server_address,
            ticket=ticket,
        )  # fmt: skip
        return self.decide(asked, hosts=False)[1], 0.0

    def _limited(
        self, request: TreeConnectRequest, response: TreeConnectResponse
    ) -> TreeConnectResponse:
        """Return what a share's own security leaves of a tree connect."""
        assert response.share is not None
        descriptor = self._securities.get(share_key(response.share.name))
        if descriptor is None:
            return response
        return share_rights.limit(response, descriptor, self._sids_of(request))

    def _audits(self, request: TreeConnectRequest, response: TreeConnectResponse) -> bool:
        """Tell whether who connects a share holds SeSecurityPrivilege."""
        return share_rights.audits(response, self.holders(SECURITY), self._sids_of, request)

    def _sids_of(self, request: TreeConnectRequest) -> set[str]:
        """Return whom a session's user is, for descriptors."""
        if unproven(request):
            return {EVERYONE, NETWORK, ANONYMOUS if request.anonymous else GUESTS}
        sids = self.sids(request.user)
        if (account := self._of_ticket(request)) is not None:
            sids |= {f"{UNIX_USER}-{account.uid}"}
            sids |= {f"{UNIX_GROUP}-{gid}" for gid in account.groups}
        return sids

    def _domain(self) -> MachineDomain | None:
        """Return the machine's domain, with the first of its users' uids where there are many."""
        if not self.machine_sid:
            return None
        return MachineDomain(self.machine_sid, self.directory.uid_ranges()[:MAX_RANGES])

    def _tree_disconnect(self, worker: Hashable, message: TreeDisconnect, _now: float) -> Answer:
        """Forget a tree connect."""
        self.trees.remove(worker, (message.session_id, message.tree_id))
        return None, 0.0

    def _debug(self, _worker: Hashable, message: DebugAreas, _now: float) -> Answer:
        """Switch debug messages of this process, as each worker asks for."""
        before = logs.debugged()
        logs.debug(message.areas, message.enable)
        if logs.debugged() != before:
            self.debugging_changed()
        return None, 0.0

    def _limits(self, *_: object) -> Answer:
        """Return what is limited, and what is used of it."""
        rows = self.trees.rows(self.configuration.shares.values(), PROCESS)
        used = self._throttle.remembered
        rows.append(LimitRow(PROCESS, "accounts and addresses that failed", MAX_QUEUES, used))
        return LimitsResponse([*rows, *self.process_limits()]), 0.0

    def _trees_held(self, worker: Hashable, message: TreesHeld, _now: float) -> Answer:
        """Count what a worker held before mountd was restarted."""
        for held in message.trees:
            tree = held.session_id, held.tree_id
            self.trees.add(worker, tree, held.share, proven=held.proven)
        return None, 0.0
