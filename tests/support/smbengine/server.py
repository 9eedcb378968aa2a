"""An engine whose mountd, pipes, threads and other workers are in memory.

Nothing answers within the call that asks: `Engine.settle` delivers messages and answers until
nothing moves any more. What is `held` waits until a test releases it.

With `apart=True` the engine runs on a thread of its own, which may become another user while the
test's thread stays root; with `pinned=True` that thread is pinned as an RDMA worker's is, and calls
for users really go to other threads.
"""

import copy
import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from smbdirect.client import Client as SmbDirectClient
from smbdirect.network import Network

from smbengine.clock import FakeClock
from smbengine.peers import FakePeers, Turns
from usmbd.mountd import ntlm
from usmbd.mountd.ipc.messages import (
    AbsentUserRequest,
    AnonymousRequest,
    LoginRequest,
    LoginResponse,
    LoginStatus,
    Message,
    RpcAnswer,
    RpcAsks,
    RpcClose,
    RpcOpen,
    RpcRequest,
    RpcResponse,
    RpcStatus,
    RpcTold,
    RpcTransceive,
    RpcWrite,
    SessionRequest,
    SessionResponse,
    TreeConnectRequest,
    TreeConnectResponse,
    TreeStatus,
)
from usmbd.mountd.ipc.settings import ServerConfig, ShareConfig, ShareType
from usmbd.mountd.md4 import nt_hash
from usmbd.protocol.state.server import Server
from usmbd.protocol.state.store.base import SUPERVISOR
from usmbd.protocol.state.store.lmdb_persistent import PersistentPlaces
from usmbd.protocol.state.store.lmdb_store import LmdbStore
from usmbd.protocol.state.store.records import DurableRecord
from usmbd.protocol.vfs.identity import Identity, become
from usmbd.protocol.wire.status import NtStatus, SmbError
from usmbd.transport.base import Receiver, Transport
from usmbd.transport.memory import MemoryTransport, pair
from usmbd.transport.smbdirect.limits import Limits

PASSWORDS = {"alice": "secret", "bob": "hidden"}
GUID = bytes(range(16))
MAP_SIZE = 8 << 20
MAXIMUM_ROUNDS = 10_000

TRANSPORT = os.environ.get("USMBD_TEST_TRANSPORT", "memory")
"""What clients come by unless a test says it: "memory" or "smbdirect"."""

CREDITS = Limits(receive_credit_max=32, send_credit_target=30)
"""Of both sides of SMB Direct: to post and flush the 255 of the defaults took half of a test."""

ClientTransport = MemoryTransport | SmbDirectClient
"""A client's end of a connection."""

Resume = Callable[..., None]
Result = TypeVar("Result")


def on_a_thread(call: Callable[[], Result]) -> Result:
    """Call on a new thread and wait for the result."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return future.result()


def in_a_thread_of_its_own(test: Callable[..., None]) -> Callable[..., None]:
    """Decorate a test that becomes somebody: where it fails, the next ones are still root's."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        on_a_thread(lambda: test(*args, **kwargs))

    return run


class FakeMountd(Turns):
    """Checks proofs as mountd does, and lets users into the shares it knows."""

    def __init__(self, shares: dict[str, ShareConfig]) -> None:
        """Serve `shares` by their names."""
        super().__init__()
        self.shares = shares
        self.told: list[Message] = []
        self.asked: list[Message] = []
        self.identities: dict[str, Identity] = {}
        self.anonymous = LoginStatus.REFUSED
        self.unknown_user = LoginStatus.BAD_USER
        self.removed: set[str] = set()
        """Users whose sessions are not valid any more."""
        self.changed: set[str] = set()
        """Users that have other passwords."""
        self.silent = False
        """Whether it fails to answer."""
        self.refused: dict[str, TreeStatus] = {}
        """Why a share lets nobody in."""
        self.denied: set[str] = set()
        """Addresses that `hosts deny` names."""
        self.owners: dict[str, Identity] = {}
        """Whom a share's files are used as, if not as the session's user."""

    def ask(self, message: Message, resume: Resume) -> None:
        """Take a question."""
        self.asked.append(message)
        if self.silent:
            self.later(lambda: resume(None, SmbError(NtStatus.IO_TIMEOUT)))
        else:
            self.later(lambda: resume(self._answer(message)))

    def tell(self, message: Message) -> None:
        """Take what has no answer."""
        self.told.append(message)

    def _answer(self, message: Message) -> Message:
        if isinstance(message, LoginRequest):
            return self._login(message)
        if isinstance(message, AnonymousRequest):
            return LoginResponse(status=self.anonymous)
        if isinstance(message, SessionRequest):
            own = self.identities.get(message.user, own_identity())
            if message.user in self.changed:
                return SessionResponse(valid=False, known=True)
            return SessionResponse(
                message.user not in self.removed, own.uid, own.gid, list(own.groups), 7
            )
        if isinstance(message, AbsentUserRequest):
            if message.user in self.removed:
                return TreeConnectResponse(TreeStatus.NO_USER)
            own = self.identities.get(message.user, own_identity())
            return self._tree(message.share, own, set())
        assert isinstance(message, TreeConnectRequest)
        own = Identity(message.uid, message.gid, tuple(message.groups))
        return self._tree(message.share, own, {message.client_address, *message.other_addresses})

    def _tree(self, share_name: str, user: Identity, addresses: set[str]) -> TreeConnectResponse:
        """Let a user into a share, by some addresses."""
        name = share_name.casefold()
        share = self.shares.get(name)
        if share is None or name in self.refused:
            return TreeConnectResponse(status=self.refused.get(name, TreeStatus.NO_SHARE))
        if self.denied & addresses:
            return TreeConnectResponse(status=TreeStatus.HOST_DENIED)
        own = self.owners.get(name, user)
        return TreeConnectResponse(
            status=TreeStatus.OK,
            share=share,
            writable=not share.read_only,
            uid=own.uid,
            gid=own.gid,
            groups=list(own.groups),
            audits=own.uid == 0,
        )

    def _login(self, message: LoginRequest) -> LoginResponse:
        password = PASSWORDS.get(message.user)
        if password is None:
            return LoginResponse(status=self.unknown_user, user="nobody")
        key = ntlm.verify(
            nt_hash(password),
            message.user,
            message.domain,
            message.server_challenge,
            message.nt_response,
        )
        if key is None:
            return LoginResponse(status=LoginStatus.BAD_PASSWORD)
        own = self.identities.get(message.user, own_identity())
        return LoginResponse(
            status=LoginStatus.OK,
            user=message.user,
            uid=own.uid,
            gid=own.gid,
            groups=list(own.groups),
            session_base_key=key,
        )


class FakeRpc(Turns):
    """Pipes named `echo`: what is written can be read; a transaction is answered in capitals.

    Who has written something asks for what is in `asks` before it is read.
    """

    def __init__(self) -> None:
        """Begin without a pipe."""
        super().__init__()
        self.pipes: dict[int, bytes] = {}
        self.asks: list[RpcAsks] = []
        self.told: list[RpcTold] = []

    def ask(self, message: Message, resume: Resume) -> None:
        """Take a question."""
        self.later(lambda: resume(self._answer(message)))

    def tell(self, message: Message) -> None:
        """Take what has no answer: for pipes there is no such message."""
        raise AssertionError(message)

    def _answer(self, message: Message) -> RpcAnswer:
        assert isinstance(message, RpcRequest)
        if isinstance(message, RpcOpen):
            if message.name.casefold() != "echo":
                return RpcResponse(status=RpcStatus.NO_PIPE)
            self.pipes[message.pipe] = b""
            return RpcResponse(status=RpcStatus.OK)
        if message.pipe not in self.pipes:
            return RpcResponse(status=RpcStatus.BAD_HANDLE)
        if isinstance(message, RpcClose):
            del self.pipes[message.pipe]
            return RpcResponse(status=RpcStatus.OK)
        if isinstance(message, RpcWrite):
            self.pipes[message.pipe] += message.data
            return RpcResponse(status=RpcStatus.OK)
        if isinstance(message, RpcTold):
            self.told.append(message)
        if self.asks:
            if isinstance(message, RpcTransceive):
                self.pipes[message.pipe] = message.data.upper()
            return self.asks.pop(0)
        if isinstance(message, RpcTold):
            return self._cut(message.pipe, self.pipes[message.pipe], message.max_output)
        if isinstance(message, RpcTransceive):
            return self._cut(message.pipe, message.data.upper(), message.max_output)
        if not self.pipes[message.pipe]:
            return RpcResponse(status=RpcStatus.EMPTY)
        data = self.pipes[message.pipe]
        answer = self._cut(message.pipe, data, message.max_length)
        if message.keep:
            self.pipes[message.pipe] = data
            answer.waiting = len(data)
        return answer

    def _cut(self, pipe: int, data: bytes, limit: int) -> RpcResponse:
        self.pipes[pipe] = data[limit:]
        more = len(data) > limit
        return RpcResponse(status=RpcStatus.MORE_DATA if more else RpcStatus.OK, data=data[:limit])


class FakeThreads(Turns):
    """A pool whose calls run when they are told to, on the test's thread unless that is pinned."""

    def __init__(self) -> None:
        """Begin without work."""
        super().__init__()
        self.submitted = 0
        self.lanes: list[object] = []
        self.pinned = False
        self.running = False
        """A call is being made."""

    def submit(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        identity: Identity | None,
        resume: Resume,
        lane: object = None,
        places: int = 0,
    ) -> None:
        """Queue a call."""
        self.submitted += 1
        self.lanes.append(lane)

        def call() -> Any:
            become(identity)
            self.running = True
            try:
                return function(*args)
            finally:
                self.running = False

        def run() -> None:
            try:
                value = on_a_thread(call) if self.pinned else call()
            except Exception as error:
                resume(None, error)
            else:
                resume(value, None)

        self.later(run)


class Engine:
    """A server with everything around it, and the transports of its clients."""

    def __init__(
        self,
        path: Path,
        *,
        apart: bool = False,
        pinned: bool = False,
        transport: str = TRANSPORT,
        **config: Any,
    ) -> None:
        """Serve the folders `data`, `readonly` and `sealed` below `path`."""
        self.files = path / "data"
        self.files.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {
            "path": str(self.files),
            "streams_xattr": True,
            "read_only": False,
            "create_mask": 0o777,
            "directory_mask": 0o777,
        }
        self.shares = {
            "data": ShareConfig(name="data", **options),
            "readonly": ShareConfig(name="readonly", **(options | {"read_only": True})),
            "sealed": ShareConfig(name="sealed", encryption_required=True, **options),
            "gone": ShareConfig(name="gone", **(options | {"path": str(path / "gone")})),
            "ipc$": ShareConfig(name="IPC$", type=ShareType.PIPE),
        }
        LmdbStore.create(path / "store", MAP_SIZE)
        self.places = PersistentPlaces.below(path / "state", path / "lib")
        self.restored = 0
        if config.get("persistent_handles"):
            supervisor = LmdbStore.attach(path / "store", SUPERVISOR, self.places)
            self.restored = supervisor.restore(2, self.locate)
            supervisor.close()
        self.store = LmdbStore.attach(path / "store", 1, self.places)
        self.mountd = FakeMountd(self.shares)
        self.rpc = FakeRpc()
        self.threads = FakeThreads()
        self.peers = FakePeers()
        self.clock = FakeClock()
        self.transports: list[MemoryTransport] = []
        # By which clients come.
        self.network = Network(CREDITS) if transport == "smbdirect" else None
        self._thread = ThreadPoolExecutor(1) if apart or pinned else None
        self.threads.pinned = pinned
        self.server = self._server(self.store, self.config(config))

    @staticmethod
    def locate(durable: DurableRecord) -> bytes | None:
        """Find a persistent open's file after a boot."""
        return durable.key

    def config(self, options: dict[str, Any]) -> ServerConfig:
        """Return the server's settings; directories have leases, which they have when asked for."""
        return ServerConfig(**{"directory_leases": True} | options)

    def _server(self, store: LmdbStore, config: ServerConfig) -> Server:
        server = Server(
            config,
            store.worker,
            GUID,
            store,
            self.mountd,
            self.rpc,
            self.threads,
            self.peers,
            self.clock,
        )
        if self.threads.pinned:
            self.run(server.pin)
        self.peers.servers[store.worker] = server
        server.persistence.prepare(config.persistent_handles)
        return server

    def another_worker(self) -> Server:
        """Return a second worker of the same store."""
        environment = copy.copy(self.store._environment)  # LMDB opens one only once in a process
        environment.worker = 2
        store = LmdbStore(environment, self.places)
        store._persistent._kept = self.store._persistent._kept
        return self._server(store, self.server.config)

    def join(
        self,
        receiver: Receiver,
        accept: Callable[[Transport], Receiver],
        limits: Limits | None = None,
        by_memory: bool = False,
    ) -> ClientTransport:
        """Connect a client that `receiver` stands for; `accept` gives the server's receiver.

        By RDMA, if there is any: with the client's `limits`, and not if `by_memory`.
        """
        if self.network is not None and not by_memory:
            client = SmbDirectClient(self.network.client_device, limits or CREDITS)
            theirs = self.network.connect(client)
            theirs.start(accept(theirs))
            client.start(receiver)
            return client
        ours, other = pair()
        other.start(accept(other))
        ours.start(receiver)
        self.transports += [other, ours]
        return ours

    def run(self, call: Callable[[], Result]) -> Result:
        """Call on the thread of the engine's loop."""
        return self._thread.submit(call).result() if self._thread is not None else call()

    def settle(self) -> None:
        """Deliver messages and answers until nothing moves."""
        self.run(self._settle)

    def _settle(self) -> None:
        """Do so, on the loop's thread."""
        for _ in range(MAXIMUM_ROUNDS):
            moved = self._deliver()
            for turns in (self.mountd, self.rpc, self.threads, self.peers):
                if not turns.held:
                    moved += turns.run()
            for server in self.peers.servers.values():
                server.notifier.read()
                server.caching.kernel.read()
            moved += self._deliver()
            moved += self.clock.turn()
            if not moved:
                return
        raise AssertionError("the engine does not come to rest")

    def _deliver(self) -> int:
        """Deliver the messages that are on their way; return how many moved."""
        moved = sum(transport.pump() for transport in self.transports)
        return moved + (self.network.settle() if self.network is not None else 0)

    def release(self, turns: Turns) -> None:
        """Let go of what was held."""
        turns.held = False
        self.settle()

    def close(self) -> None:
        """End all clients; the test's thread is the process's own again."""
        self.run(self._close)
        if self._thread is not None:
            self._thread.shutdown()
        become(None)
        self.store.close()

    def _close(self) -> None:
        """Do so, on the loop's thread."""
        for transport in self.transports:
            transport.close("the test is over")
        if self.network is not None:
            self.network.close()
        for turns in (self.mountd, self.rpc, self.threads, self.peers):
            turns.run()
        for server in self.peers.servers.values():
            server.notifier.close()
            server.caching.kernel.close()


def own_identity() -> Identity:
    """Return the test's own user: files are really made, as nobody else."""
    return Identity(os.geteuid(), os.getegid(), tuple(os.getgroups()))
