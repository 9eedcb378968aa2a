"""mountd as a process: the sockets, the signals, the RPC child, around the `Service`."""

import asyncio
import contextlib
import logging
import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from usmbd.mountd import lockfile
from usmbd.mountd import log as logs
from usmbd.mountd.admin.administration import Administration
from usmbd.mountd.admin.registered import Registered
from usmbd.mountd.admin.registry import HIVES
from usmbd.mountd.admin.registry_store import FILE_NAME, RegistryStore
from usmbd.mountd.admin.running import Running
from usmbd.mountd.admin.users import Derived, Users
from usmbd.mountd.config.load import Configuration
from usmbd.mountd.credentials import load_key
from usmbd.mountd.derivations import Derivations
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.ipc.accounts import (
    AccountsRequest,
    AskReadable,
    AskUses,
    DirectoryRequest,
    DirectoryResponse,
    FindIds,
    FindNames,
    Uses,
)
from usmbd.mountd.ipc.codec import CodecError, mountd_server
from usmbd.mountd.ipc.directory import SECRETS_DIRECTORY, prepare_directories
from usmbd.mountd.ipc.messages import (
    CONTROL_SOCKET,
    MOUNTD_SOCKET,
    RPC_SOCKET,
    BindTicketRequest,
    ConfigReloaded,
    Failed,
    LimitRow,
    LoginRequest,
    LoginResponse,
    Message,
    MountdRequest,
    ReloadRequest,
    ReloadResponse,
    SessionRequest,
    TreeConnectRequest,
)
from usmbd.mountd.ipc.server import MAX_CLIENTS, Client, Server, listen
from usmbd.mountd.ipc.signals import handled
from usmbd.mountd.ipc.users import ChangePassword
from usmbd.mountd.machine_sid import load_machine_sid
from usmbd.mountd.readable import readable
from usmbd.mountd.remarks import remarks
from usmbd.mountd.rpc.configuration import Debugging, frame
from usmbd.mountd.rpc_answers import Reply
from usmbd.mountd.rpc_process import RpcProcess
from usmbd.mountd.rpc_start import ForkServer
from usmbd.mountd.service import PROCESS, Service
from usmbd.mountd.slices import BusyError, Slices, Steps
from usmbd.mountd.usershare_watch import UsershareWatch

log = logging.getLogger("usmbd.conn")

LOOK_SECONDS = 1.0
"""How often the password file is looked at: whoever was removed is out after the second look."""

TELL_SECONDS = 1.0
"""Until sessions hear of a password that was changed by RPC: who did it is answered before."""

LATEST_TELL_SECONDS = 5.0
"""The same where one password after the other is changed."""

# Login answers that wait at a time, of all clients together; a further one is sent at once.
# Each holds a few hundred bytes.
MAX_DELAYED = 4096

MAX_RELOADS = 64
"""Clients that wait at a time for the files to be read: tools, one of a person each."""

MAX_REFUSAL = 4096
"""Characters of what is wrong with the files; the log has all of it."""


class Daemon:
    """Serves one state directory until it is told to end."""

    def __init__(
        self,
        configuration: Configuration,
        passwords: Path,
        *,
        least_log_level: int = 0,
        fork_server: ForkServer | None = None,
    ) -> None:
        """Read the password file; ConfigError when it is malformed.

        `fork_server` forks the RPC process, which is executed where there is none.
        """
        self._fork_server = fork_server
        self._directory = Path(configuration.server.state_directory)
        # -v on the command line: a reload must not take it away.
        self._least_log_level = least_log_level
        self._passwords = passwords
        self._store: RegistryStore | None = None
        self._registered: Registered | None = None
        self._service = Service(configuration, passwords)
        self._delayed = 0
        self._warned: frozenset[str] = frozenset()
        """What the log has had of this configuration: a reload tells what is new."""
        self._reading: Configuration | None = None
        """What held when a thread began to read the files."""
        self._read_again = False
        self._asked: list[tuple[Client[MountdRequest], int]] = []
        """Who waits to hear what became of the files, and the handle of the question."""
        self._telling: asyncio.TimerHandle | None = None
        self._tell_by = 0.0

    def set_up_log(self) -> None:
        """Have the log as the configuration says, and what has to be known of that in it."""
        configuration = self._service.configuration
        server = configuration.server
        logs.set_up(PROCESS, self._log_level, as_json=server.log_json)
        warnings = list(remarks(configuration, self._passwords, self._service.users))
        for warning in warnings:
            if warning not in self._warned:
                log.warning("%s", warning)
        self._warned = frozenset(warnings)

    @property
    def _log_level(self) -> int:
        return max(self._service.configuration.server.log_level, self._least_log_level)

    def run(self, ready_fd: int | None) -> None:
        """Serve until SIGTERM or SIGINT; say "ready" on `ready_fd` when the sockets are there.

        OSError when the directory or a socket cannot be had, AlreadyRunningError when another
        mountd has them.
        """
        data = Path(self._service.configuration.server.data_directory)
        prepare_directories(self._directory, data)
        lock = lockfile.acquire(self._directory, self._service.configuration.path)
        try:
            self._service.remember_by(load_key(self._directory / SECRETS_DIRECTORY))
            self._service.machine_sid = load_machine_sid(data)
            # What has been seen of tickets has to outlive a restart: they are good for minutes.
            os.environ.setdefault("KRB5RCACHENAME", f"file2:{data}/krb5.rcache")
            self._store = self._open_registry(data / SECRETS_DIRECTORY)
            asyncio.run(self._main(ready_fd))
        finally:
            os.close(lock)

    def _open_registry(self, folder: Path) -> RegistryStore | None:
        """Open what administrators have made other than the files say; None: it cannot be used."""
        path = folder / FILE_NAME
        try:
            for earlier in folder.parent.glob(f"{FILE_NAME}*"):  # where it was once
                earlier.rename(folder / earlier.name)
            store = RegistryStore(path, HIVES)
            registered = Registered(store)
        except (OSError, sqlite3.Error) as error:
            log.error("%s cannot be used: %s", path, error)
            return None
        os.chmod(path, 0o600)
        self._registered = registered
        self._service.use_registry(registered)
        self.set_up_log()
        for why in self._service.configuration.left_out.values():
            log.error("a share of the registry is not served: %s", why)
        return store

    async def _main(self, ready_fd: int | None) -> None:
        """Serve until a signal says otherwise."""
        self._loop = asyncio.get_running_loop()
        self._slices, self._derivations = Slices(self._loop), Derivations(self._loop)
        self._stop = asyncio.Event()
        end = self._stop.set
        calls: dict[int, Callable[[], None]] = {
            signal.SIGTERM: end,
            signal.SIGINT: end,
            signal.SIGHUP: self._read_files,
        }
        with handled(calls):
            await self._serve(ready_fd)

    async def _serve(self, ready_fd: int | None) -> None:
        """Serve until told to end."""
        rpc_listener = listen(self._directory / RPC_SOCKET)
        running = Running(self._directory / CONTROL_SOCKET)
        self._administration = Administration(self._service, running, self._store, self._registered)
        if (rights := self._administration.rights) is not None:
            self._service.holders = rights.holders
        self._service.configured = self._configured
        self._service.users_changed = self._tell_of_users
        self._rpc = RpcProcess(rpc_listener, self._all_for_rpc, self._answer_rpc, self._fork_server)
        self._service.debugging_changed = lambda: self._rpc.tell(self._debugging_for_rpc())
        self._service.process_limits = self._limits
        self._server: Server[MountdRequest] = Server(
            listen(self._directory / MOUNTD_SOCKET),
            mountd_server(),
            self._on_message,
            self._on_close,
        )
        self._usershares = UsershareWatch(
            self._service, lambda found: self._reload(lambda: self._service.use(found))
        )
        if ready_fd is not None:
            # Whoever started mountd may have gone without waiting.
            with contextlib.suppress(OSError), os.fdopen(ready_fd, "wb") as stream:
                stream.write(b"ready\n")
        # Logins first: the RPC process imports for a second, and a login does not need it.
        self._rpc.start()
        self._look_at_passwords()
        self._usershares.look()
        log.info("mountd serves %s", self._directory)
        try:
            await self._stop.wait()
        finally:
            self._server.close()
            rpc_listener.close()
            self._rpc.stop()
            running.close()
            if self._store is not None:
                self._store.close()
            log.info("mountd ends")

    def _limits(self) -> list[LimitRow]:
        """Return the rows of what is limited around the service."""
        limit, waiting, lost = logs.queue_state()
        return [
            LimitRow(
                PROCESS, "workers and tools connected", MAX_CLIENTS, len(self._server.clients)
            ),
            LimitRow(PROCESS, "logins that are delayed", MAX_DELAYED, self._delayed),
            LimitRow(PROCESS, "bytes of log lines that wait", limit, waiting, refused=lost),
        ]

    def _all_for_rpc(self) -> bytes:
        """Return what a new RPC process is told."""
        return frame(self._service.describe_for_rpc(self._log_level)) + self._debugging_for_rpc()

    def _answer_rpc(self, message: DirectoryRequest, reply: Reply) -> DirectoryResponse | None:
        """Answer what the RPC process asks, by the users of the moment, or later by `reply`."""
        if isinstance(message, AccountsRequest):
            self._in_slices(self._service.directory.steps(message), _length(message), reply)
        elif isinstance(message, ChangePassword):
            self._change_password(message, reply)
        elif isinstance(message, LoginRequest):  # of who binds with security of his own
            response, delay = self._service.handle(None, message, self._loop.time())
            if isinstance(response, LoginResponse):
                self._loop.call_later(delay, reply, response)
        elif isinstance(message, SessionRequest):
            return self._service.session(message)
        elif isinstance(message, AskUses):
            return Uses([self._service.trees.count(share) for share in message.shares])
        elif isinstance(message, AskReadable):
            self._in_slices(readable(message, self._service), len(message.shares), reply)
        elif isinstance(message, BindTicketRequest):
            return self._service.bind_ticket(message, self._loop.time())
        else:
            self._administration.answer(message, reply)
        return None

    def _in_slices(self, steps: Steps, count: int, reply: Reply) -> None:
        """Answer in steps, between those of others."""

        def done(answer: DirectoryResponse | Exception) -> None:
            if isinstance(answer, BusyError):
                answer = Failed(str(answer))
            elif isinstance(answer, Exception):
                log.error("an answer to the RPC process failed", exc_info=answer)
                answer = Failed(type(answer).__name__)
            reply(answer)

        self._slices.begin(steps, count, done)

    def _change_password(self, message: ChangePassword, reply: Reply) -> None:
        """Change a password when the key of the new one is derived."""

        def change(derived: Derived | None) -> None:
            if derived is None and derive is not None:
                reply(Failed("too many passwords are being changed"))
                return
            now = self._loop.time()
            answer, delay = self._service.change_password(message, now, derived)
            self._loop.call_later(delay, reply, answer)

        derive = Users(self._service).deriving(message)
        if derive is None:
            change(None)
        else:
            self._derivations.begin(message.iterations, derive, change)

    @staticmethod
    def _debugging_for_rpc() -> bytes:
        return frame(Debugging(logs.debugged()))

    def _on_message(
        self, client: Client[MountdRequest], handle: int, message: MountdRequest
    ) -> None:
        """Answer a message, now or after its delay."""
        if isinstance(message, ReloadRequest):
            self._asked_to_reload(client, handle)
            return
        if isinstance(message, TreeConnectRequest) and self._usershares.first(
            lambda: self._answer(client, handle, message)
        ):
            return
        self._answer(client, handle, message)

    def _answer(self, client: Client[MountdRequest], handle: int, message: MountdRequest) -> None:
        """Answer a message by what holds now, unless its client has gone while it waited."""
        if not client.is_open:
            return
        try:
            answer, delay = self._service.handle(client, message, self._loop.time())
        except Exception as error:
            # One request's fault must not end the service of all others.
            log.exception("a %s failed", type(message).__name__)
            answer, delay = Failed(type(error).__name__), 0.0
        if answer is None:
            return
        if delay and self._delayed < MAX_DELAYED:
            self._delayed += 1
            generation = self._service.generation
            self._loop.call_later(
                delay, self._send_delayed, client, handle, message, answer, generation
            )
        else:
            self._send(client, handle, answer)

    def _send_delayed(
        self,
        client: Client[MountdRequest],
        handle: int,
        message: MountdRequest,
        answer: Message,
        generation: int,
    ) -> None:
        """Send an answer that has waited; a login is checked anew when the files have changed."""
        self._delayed -= 1
        if generation != self._service.generation and isinstance(message, LoginRequest):
            answer = self._service.login_again(message)
        self._send(client, handle, answer)

    def _send(self, client: Client[MountdRequest], handle: int, answer: Message) -> None:
        """Send an answer; one that is too long becomes a failure."""
        try:
            client.send(handle, answer)
        except CodecError as error:
            log.error("an answer is too long: %s", error)
            client.send(handle, Failed("the answer is too long"))

    def _on_close(self, client: Client[MountdRequest], reason: str) -> None:
        """Forget a client; say why when it was not its own wish."""
        self._service.worker_gone(client)
        self._asked = [asked for asked in self._asked if asked[0] is not client]
        if reason and not self._stop.is_set():
            log.error("a client of mountd was closed: %s", reason)

    def _look_at_passwords(self) -> None:
        """Read the password file again where it has changed; now and ever again."""
        self._loop.call_later(LOOK_SECONDS, self._look_at_passwords)
        if self._service.passwords_version.settled():
            self._reload(self._service.reread_users)

    def _tell_of_users(self) -> None:
        """Have what is connected stand up to the users as they are, when the answer is out.

        Of several changes the last one counts, for a while.
        """
        now = self._loop.time()
        if self._telling is None:
            self._tell_by = now + LATEST_TELL_SECONDS
        else:
            self._telling.cancel()
        self._telling = self._loop.call_at(min(now + TELL_SECONDS, self._tell_by), self._tell)

    def _tell(self) -> None:
        self._telling = None
        self._reload(self._service.reread_users)

    def _asked_to_reload(self, client: Client[MountdRequest], handle: int) -> None:
        """Read the files again for one who waits for the end of it."""
        if len(self._asked) >= MAX_RELOADS:
            self._send(client, handle, Failed("too many wait for the files to be read"))
            return
        self._asked.append((client, handle))
        self._read_files()

    def _answer_reloads(self, refused: str, *, users: bool) -> None:
        """Tell all who wait what became of the files."""
        asked, self._asked = self._asked, []
        for client, handle in asked:
            self._send(client, handle, ReloadResponse(refused[:MAX_REFUSAL], users))

    def _read_files(self) -> None:
        """Read the files again, on a thread: of thousands of shares it takes a while."""
        if self._reading is not None:
            self._read_again = True
            return
        if self._stop.is_set():  # the registry is closed, and nobody asks any more
            return
        self._read_again, self._reading = False, self._service.configuration
        read = self._service.reader()

        def on_thread() -> None:
            found: Configuration | Exception
            try:
                found = read()
            except Exception as error:
                found = error
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(self._files_read, found)

        threading.Thread(target=on_thread, daemon=True).start()

    def _files_read(self, found: Configuration | Exception) -> None:
        """Use what was read, unless the registry is another meanwhile: then read again."""
        before, self._reading = self._reading, None
        if self._read_again:
            self._read_files()
        elif isinstance(found, Exception):
            known = isinstance(found, ConfigError)
            log.error(
                "the new configuration is not used: %s", found, exc_info=None if known else found
            )
            refused = [str(found) if known else f"{type(found).__name__}, see the log"]
            if self._service.passwords_version.differs():
                # Whom an administrator locks out is so at once, whatever else is wrong.
                refused.append(self._reload(self._service.reread_users))
            wrong = list(filter(None, refused))
            self._answer_reloads("\n".join(wrong), users=len(wrong) == 1)
        elif before is self._service.configuration:
            why = self._reload(lambda: self._service.use(found))
            self._answer_reloads(why, users=not why)
        else:  # what was read is without it
            self._read_files()

    def _reload(self, read: Callable[[], ConfigReloaded]) -> str:
        """Have what `read` reads hold; a malformed file changes nothing. Return what is wrong."""
        if self._stop.is_set():  # the registry is closed, and nobody asks any more
            return "the server ends"
        try:
            message = read()
        except ConfigError as error:
            log.error("the new configuration is not used: %s", error)
            return str(error)
        self._configured(message)
        return ""

    def _configured(self, message: ConfigReloaded) -> None:
        """Tell all of a new configuration."""
        self.set_up_log()
        log.info("configuration read, generation %d", message.generation)
        self._rpc.tell(frame(self._service.describe_for_rpc(self._log_level)))
        for client in list(self._server.clients):
            self._send(client, 0, message)


def _length(message: AccountsRequest) -> int:
    """Return how many accounts are asked for by name or number."""
    if isinstance(message, FindNames):
        return len(message.names)
    return len(message.ids) if isinstance(message, FindIds) else 1
