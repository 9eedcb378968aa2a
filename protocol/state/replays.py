"""The CREATEs that a client may send again, by CreateGuid ([MS-SMB2] 3.3.5.9.10).

A client that lost the channel on which it sent a CREATE sends it again on another, and gets what
the first one made: Open.IsReplayEligible. Once it has used the FileId it has had the answer, and
nothing is repeated any more. All channels of a client are in one worker, so these are the worker's.
"""

from typing import TYPE_CHECKING

from usmbd.protocol.state.open import Open
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus, SmbError

if TYPE_CHECKING:
    from usmbd.protocol.commands.request import Request

CreateGuid = tuple[bytes, bytes]
"""A client's ClientGuid and the CreateGuid of one of its CREATEs."""


class Replays:
    """The CREATEs of one worker's clients that can be repeated, or are under way."""

    def __init__(self) -> None:
        """Begin without any."""
        self.created: dict[CreateGuid, Open | Request] = {}
        """What they have made; the request itself while it waits."""

    def find(self, guid: CreateGuid) -> Open | None:
        """Return what the CREATE has made; None: there was no such.

        SmbError(FILE_NOT_AVAILABLE) while it is under way: the client asks again.
        """
        created = self.created.get(guid)
        if created is None or isinstance(created, Open):
            return created
        raise SmbError(NtStatus.FILE_NOT_AVAILABLE)

    def refuse(self, guid: CreateGuid) -> None:
        """Refuse a CREATE that is in `created`: SmbError(DUPLICATE_OBJECTID), or as of `find`."""
        if self.find(guid):
            raise SmbError(NtStatus.DUPLICATE_OBJECTID)

    def waits(self, request: "Request") -> None:
        """Know of a CREATE that begins to wait, until `made` or `failed` says what became of it.

        One that is answered before the next is read meets no other with its CreateGuid.
        """
        guid = getattr(request, "create_guid", None)
        if guid is not None:
            self.created.setdefault(guid, request)

    def failed(self, guid: CreateGuid, request: "Request") -> None:
        """Forget a CREATE that has made nothing that lasts."""
        if self.created.get(guid) is request:
            del self.created[guid]

    def outlives(self, request: "Request") -> bool:
        """Tell whether a CREATE goes on without its channel: the client asks for it on another.

        As with smbd; Windows cancels it, and the replay begins anew.
        """
        if request.header.command != Command.CREATE or len(request.session.channel_list) < 2:
            return False
        guid = getattr(request, "create_guid", None)
        return guid is not None and self.created.get(guid) is request

    def made(self, guid: CreateGuid, request: "Request", open_: Open, action: int) -> None:
        """Know what a CREATE has made, and by which CreateAction, unless it is closed already."""
        if open_.closed:
            self.failed(guid, request)
            return
        open_.replay = guid, action
        self.created[guid] = open_

    def forget(self, open_: Open, guid: CreateGuid) -> None:
        """Repeat an open's CREATE no more, which can be: it is closed, or its FileId is used."""
        open_.replay = None
        # It is nobody else's: another CREATE with it is a replay, or refused.
        self.created.pop(guid, None)
