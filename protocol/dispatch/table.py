"""The dispatch table: every command with what it needs before its handler runs.

Handlers never check again what stands here ([MS-SMB2] 3.3.5.2).
"""

from collections.abc import Callable
from dataclasses import dataclass

from usmbd.protocol.commands.change_notify import change_notify
from usmbd.protocol.commands.close import close
from usmbd.protocol.commands.create import create
from usmbd.protocol.commands.echo import echo
from usmbd.protocol.commands.flush import flush
from usmbd.protocol.commands.ioctl import ioctl
from usmbd.protocol.commands.lock import lock
from usmbd.protocol.commands.logoff import logoff
from usmbd.protocol.commands.negotiate import negotiate
from usmbd.protocol.commands.oplock_break import oplock_break
from usmbd.protocol.commands.query_directory import query_directory
from usmbd.protocol.commands.query_info import query_info
from usmbd.protocol.commands.read import read
from usmbd.protocol.commands.request import Answer, Handling, NoReply, Request
from usmbd.protocol.commands.session_setup import session_setup
from usmbd.protocol.commands.set_info import set_info
from usmbd.protocol.commands.tree_connect import tree_connect, tree_disconnect
from usmbd.protocol.commands.write import write
from usmbd.protocol.state.session import SessionState
from usmbd.protocol.wire.status import NtStatus, SmbError


@dataclass(frozen=True, slots=True)
class Row:
    """One command: its handler and its preconditions."""

    handler: Callable[[Request], Answer | Handling]
    session: bool = True
    """A valid session, with its signature and encryption checked."""
    tree: bool = True
    """A tree connect of that session."""
    file_id: int = 0
    """Where FileId lies in the body; 0: the command has none."""
    file_optional: bool = False
    """A FileId may stand for no open: the handler refuses it where it needs one."""
    modifies: bool = False
    """Refused when it comes too late, from a channel that was lost ([MS-SMB2] 3.3.5.2.10)."""
    when_expired: bool = False
    """Also served for an expired session ([MS-SMB2] 3.3.5.2.9)."""
    when_suspended: bool = True
    """Also served for an account's session that re-authenticated as nobody."""

    def check_state(self, state: SessionState) -> None:
        """Refuse what a session that is not VALID may not do ([MS-SMB2] 3.3.5.2.9); SmbError."""
        if state is SessionState.EXPIRED and not self.when_expired:
            raise SmbError(NtStatus.NETWORK_SESSION_EXPIRED)
        if state is SessionState.SUSPENDED and not self.when_suspended:
            raise SmbError(NtStatus.ACCESS_DENIED)


def _cancel(request: Request) -> Answer:
    """CANCEL is the dispatcher's own: it acts on another request."""
    return NoReply()


TABLE: tuple[Row, ...] = (
    Row(negotiate, session=False, tree=False),
    Row(session_setup, session=False, tree=False),
    Row(logoff, tree=False, when_expired=True),
    Row(tree_connect, tree=False, when_suspended=False),
    Row(tree_disconnect),
    Row(create, when_suspended=False),
    Row(close, file_id=8, when_expired=True),
    Row(flush, file_id=8),
    Row(read, file_id=16),
    Row(write, file_id=16, modifies=True),
    Row(lock, file_id=8, when_expired=True),
    Row(ioctl, file_id=8, file_optional=True, modifies=True),
    Row(_cancel, tree=False, when_expired=True),
    Row(echo, session=False, tree=False),
    Row(query_directory, file_id=8),
    Row(change_notify, file_id=8),
    Row(query_info, file_id=24),
    Row(set_info, file_id=16, modifies=True),
    # FileId's place depends on the form: the handler finds the open.
    Row(oplock_break),
)
"""By command code ([MS-SMB2] 2.2.1.2)."""
