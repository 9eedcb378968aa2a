"""The CREATEs that a client may send again, by CreateGuid ([MS-SMB2] 3.3.5.9.10).

A client that lost the channel on which it sent a CREATE sends it again on another, and gets what
the first one made: Open.IsReplayEligible. Once it has used the FileId it has had the answer, and
nothing is repeated any more. All channels of a client are in one worker, so these are the worker's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from usmbd.protocol.state.open import Open
from usmbd.protocol.wire.status import NtStatus, SmbError

if TYPE_CHECKING:
    from usmbd.protocol.commands.request import Request

CreateGuid = tuple[bytes, bytes]
"""A client's ClientGuid and the CreateGuid of one of its CREATEs."""


class Created(NamedTuple):
    """What a CREATE made."""

    open: Open
    action: int
    """CreateAction."""


class Replays:
    """The CREATEs of one worker's clients that can be repeated, or are under way."""

    def __init__(self) -> None:
        """Begin without any."""
        self._created: dict[CreateGuid, Created | Request] = {}
        self._under_way: set[Request] = set()

    def find(self, guid: CreateGuid) -> Created | None:
        """Return what the CREATE has made; None: there was no such.

        SmbError(FILE_NOT_AVAILABLE) while it is under way: the client asks again.
        """
        created = self._created.get(guid)
        if created is None or isinstance(created, Created):
            return created
        raise SmbError(NtStatus.FILE_NOT_AVAILABLE)

    @contextmanager
    def under_way(self, guid: CreateGuid, request: "Request") -> Iterator[None]:
        """Know of a CREATE until it is answered; what it has made then was told by `add`."""
        self._created[guid] = request
        self._under_way.add(request)
        try:
            yield
        finally:
            self._under_way.discard(request)
            if self._created.get(guid) is request:
                del self._created[guid]

    def outlives(self, request: "Request") -> bool:
        """Tell whether a CREATE goes on without its channel: the client asks for it on another.

        As with smbd; Windows cancels it, and the replay begins anew.
        """
        return request in self._under_way and len(request.session.channel_list) > 1

    def add(self, guid: CreateGuid, open_: Open, action: int) -> None:
        """Know what a CREATE has made."""
        open_.replay = guid
        self._created[guid] = Created(open_, action)

    def forget(self, open_: Open) -> None:
        """Repeat an open's CREATE no more: it is closed, or its FileId has been used."""
        guid, open_.replay = open_.replay, None
        if guid is not None:
            created = self._created.get(guid)
            if isinstance(created, Created) and created.open is open_:
                del self._created[guid]
