"""A new configuration reaches what is connected: sessions, tree connects, opens.

mountd is asked anew for each session and each of its tree connects, as if they came now, and for
opens that wait for their clients (`absent`). What is not allowed any more is closed, and deletes
nothing; of the rest, rights, identity and options become the new ones, open after open in slices:
one session may have thousands.
"""

import logging
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from typing import TypeVar

from usmbd.mountd.ipc.messages import (
    Message,
    SessionRequest,
    SessionResponse,
    TreeConnectResponse,
    TreeStatus,
)
from usmbd.mountd.ipc.settings import Encryption, ServerConfig, ShareConfig, ShareType, Signing
from usmbd.protocol.commands import session_owner
from usmbd.protocol.commands.tree_connect import question
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.server import Server
from usmbd.protocol.state.session import Session, SessionState
from usmbd.protocol.state.speed import Clock
from usmbd.protocol.state.tree import TreeConnect
from usmbd.protocol.state.turns import in_turns
from usmbd.protocol.state.volumes import open_volume
from usmbd.protocol.vfs.base import VolumeBase
from usmbd.protocol.vfs.identity import Identity
from usmbd.protocol.vfs.machine_domain import MachineDomain
from usmbd.protocol.vfs.snapshots import renewed
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.wire.status import NtStatus
from usmbd.protocol.worker.absent import AbsentOpens

Item = TypeVar("Item", Session, TreeConnect)
A = TypeVar("A", bound=Message)
Volumes = dict[VolumeBase, VolumeBase]

log = logging.getLogger("usmbd.conn")

AT_A_TIME = 64
"""Questions to mountd, and folders being opened, that are under way: logins are not held up."""

_REVOKED = TreeStatus.NO_SHARE, TreeStatus.INVALID_USER, TreeStatus.NO_USER
"""Why a user may not any more, wherever he comes from."""

RETRY_SECONDS = 1.0
"""Until a question is asked again that mountd could not answer."""


class Recheck:
    """Asks mountd about all that is connected, whenever it has read its files."""

    def __init__(self, server: Server, clock: Clock) -> None:
        """Begin with nothing to ask."""
        self._server = server
        self._clock = clock
        self._absent = AbsentOpens(server)
        self._waiting: deque[Session | TreeConnect] = deque()
        self._under_way: set[Hashable] = set()

    def begin(self) -> None:
        """Ask about everything; what an earlier call still waits for does not count any more."""
        self._server.generation += 1
        self._under_way.clear()
        self._waiting.clear()
        self._waiting.extend(self._server.session_table.values())
        self._server.roots.check()
        self._go_on()
        self._absent.begin()

    def _go_on(self) -> None:
        """Ask as much as may be under way."""
        while self._waiting and len(self._under_way) < AT_A_TIME:
            item = self._waiting.popleft()
            if item.closed:
                continue
            self._under_way.add(item)
            if isinstance(item, Session):
                self._ask(item, _session_question(item), SessionResponse, self._session_answer)
                continue
            connection = next(iter(item.session.channel_list), None)
            if connection is None:  # its last connection ends just now
                self._under_way.discard(item)
                continue
            ask = question(item.session, item.tree_id, item.asked_name, connection)
            self._ask(item, ask, TreeConnectResponse, self._tree_answer)

    def _ask(
        self, item: Item, message: Message, kind: type[A], take: Callable[[Item, A], None]
    ) -> None:
        """Ask mountd; `take(item, answer)` if that still counts when the answer comes."""
        generation = self._server.generation

        def answered(answer: Message | None, error: BaseException | None = None, /) -> None:
            if generation != self._server.generation:
                return
            if not isinstance(answer, kind):
                self._clock.call_later(RETRY_SECONDS, self._again, item, generation)
                return
            if item.closed:
                self._done(item)
            else:
                take(item, answer)

        self._server.mountd.ask(message, answered)

    def _again(self, item: Session | TreeConnect, generation: int) -> None:
        """Put a question behind the others that found no answer."""
        if generation == self._server.generation:
            self._waiting.append(item)
            self._done(item)

    def _done(self, item: Hashable) -> None:
        """Go on with what waits."""
        self._under_way.discard(item)
        self._go_on()

    # -- sessions ------------------------------------------------------------------------

    def _session_answer(self, session: Session, answer: SessionResponse) -> None:
        """End a session whose login is not good any more, or ask about its trees."""
        if answer.valid:
            session_owner.refresh(session, answer)
            if not session.ticket and session.expires != answer.expires:
                session.expires = answer.expires
                self._server.expiries.watch(session)
            self._waiting.extend(session.tree_connect_table.values())
        else:
            for tree in session.tree_connect_table.values():
                tree.revoked = not answer.known
            self._end(session, "the user may not log in like this any more")
        self._done(session)

    def settings_changed(self, config: ServerConfig) -> None:
        """End what the server's own settings do not allow any more, in slices."""
        in_turns(self._server.turns, self, self._end_unfit(config))

    def _end_unfit(self, config: ServerConfig) -> Iterator[None]:
        """Look at one connection or session in each step."""
        for connection in list(self._server.connections):
            if (
                connection.dialect
                and not connection.closed
                and not (config.min_protocol <= connection.dialect <= config.max_protocol)
            ):
                connection.transport.close("its dialect is not served any more")
            yield
        for session in list(self._server.session_table.values()):
            if session.closed:
                pass  # before its turn came
            elif config.encryption is Encryption.REQUIRED and not session.encrypt_data:
                self._end(session, "encryption is required now")
            elif config.signing is Signing.MANDATORY and not (
                session.signing_required or session.encrypt_data
            ):
                self._end(session, "signing is mandatory now")
            elif config.protected and session.state is SessionState.SUSPENDED:
                self._end(session, "nobody may use it anonymously now")
            yield

    def _end(self, session: Session, why: str) -> None:
        """Close a session; its client may log in anew."""
        log.info(
            "session ended: %s", why,
            extra={"user": session.user or "anonymous", "session": session.session_id},
        )  # fmt: skip
        self._server.close_session(session)

    # -- trees ---------------------------------------------------------------------------

    def _tree_answer(self, tree: TreeConnect, answer: TreeConnectResponse) -> None:
        """Close a tree that is not allowed any more, or change it to what is."""
        share, before = answer.share, tree.share
        if answer.status is not TreeStatus.OK or share is None:
            tree.revoked = answer.status in _REVOKED
            self._close(tree, answer.status.value)
        elif (share.name, share.type, share.path) != (before.name, before.type, before.path):
            tree.revoked = True
            self._close(tree, "it is another share now")
        elif share.encryption_required and not before.encryption_required:
            # Clients learn that they have to encrypt when they connect, and not later.
            self._close(tree, "it has to be encrypted now")
        elif _learnt(tree, share) != _learnt(tree, before):
            self._close(tree, "clients go by what it was when they connected")
        else:
            tree.domain = MachineDomain(answer.domain) if answer.domain else None
            tree.identity = Identity(answer.uid, answer.gid, tuple(answer.groups))
            tree.writable, tree.audits = answer.writable, answer.audits
            go_on = partial(self._use, tree, share, self._server.generation)
            if answer.writable:
                go_on()  # what is open gets the right when it is opened anew
            else:
                in_turns(self._server.turns, tree, self._take_writing(tree), go_on)
            return
        self._done(tree)

    def _take_writing(self, tree: TreeConnect) -> Iterator[None]:
        """Take the right to write from one open of a tree in each step."""
        for open_ in _opens(tree):
            open_.lose_writing(self._server)
            yield

    def _use(self, tree: TreeConnect, share: ShareConfig, generation: int) -> None:
        """Have a share's settings hold for the tree, unless there are newer ones."""
        if generation != self._server.generation:
            return
        if share != tree.share and share.type is ShareType.DISK:
            self._reopen(tree, share)
        else:
            tree.use(share, tree.volume, tree.speed)
            self._done(tree)

    def _reopen(self, tree: TreeConnect, share: ShareConfig) -> None:
        """Have the share's options hold for what the tree opens from now on."""
        resume = partial(self._reopened, tree, share, self._server.generation)
        others = {open_.node.volume for open_ in _opens(tree)} - {tree.volume}
        self._server.threads.submit(_renewed, (share, others), None, resume, share.name)

    def _reopened(
        self,
        tree: TreeConnect,
        share: ShareConfig,
        generation: int,
        found: tuple[Volume, Volumes] | None,
        error: BaseException | None = None,
    ) -> None:
        """Use the volume with the new options."""
        if generation != self._server.generation:
            return
        steps: Iterator[None] = iter(())
        if found is None:
            self._close(tree, str(error))
        elif not tree.closed:
            before = tree.volume
            volume, speed = self._server.volumes.admit(share, found[0])
            if before is not None and before.root_identity == volume.root_identity:
                tree.use(share, volume, speed)
                steps = self._renew(tree, {**found[1], before: volume})
            else:
                self._server.roots.close(tree)
        in_turns(self._server.turns, tree, steps, partial(self._done, tree))

    def _renew(self, tree: TreeConnect, volumes: Volumes) -> Iterator[None]:
        """Have one open of a tree in each step list, rename, replace and watch by new options."""
        for open_ in _opens(tree):
            open_.node.volume = volumes.get(open_.node.volume, open_.node.volume)
            if open_.watch is not None:  # it has walked by the old ones
                self._server.notifier.end(open_.watch, NtStatus.NOTIFY_ENUM_DIR)
            yield

    def _close(self, tree: TreeConnect, why: str) -> None:
        """End a tree connect and its opens."""
        if not tree.closed:
            user = tree.session.user or "anonymous"
            log.info("share is closed: %s", why, extra={"share": tree.share.name, "user": user})
            self._server.close_tree(tree)


def _learnt(tree: TreeConnect, share: ShareConfig) -> tuple[object, ...]:
    """Return what of a share its client is told once, and reads and writes by from then on."""
    fruit = share.fruit
    if not tree.aapl:
        return (share.msdfs_root,)
    if fruit is None:
        return (share.msdfs_root, None)
    return (
        share.msdfs_root,
        share.case_sensitive,
        fruit.aapl,
        fruit.copyfile,
        fruit.nfs_aces,
        fruit.posix_rename,
        fruit.zero_file_id,
        fruit.time_machine,
    )


def _opens(tree: TreeConnect) -> Iterator[Open]:
    """Return what is open of a tree, and still is when its turn comes."""
    for open_ in list(tree.session.open_table.values()):
        if open_.tree is tree and not open_.closed:
            yield open_


def _renewed(share: ShareConfig, others: Iterable[VolumeBase]) -> tuple[Volume, Volumes]:
    """Open a share's volume, and by its options what else opens of the tree have; OSError."""
    volume = open_volume(share)
    return volume, {other: renewed(volume, other) for other in others}


def _session_question(session: Session) -> SessionRequest:
    """Return what mountd is asked about a session."""
    return SessionRequest(
        user=session.user,
        credential=session.credential,
        guest=session.guest,
        anonymous=session.anonymous,
        ticket=session.ticket,
    )
