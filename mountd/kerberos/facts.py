"""What is remembered of a ticket: the workers keep it, sealed, and show it with later questions.

So a mountd that was restarted knows it too, and nothing has to be kept here for each session.
"""

import msgspec

from usmbd.mountd.credentials import Credentials
from usmbd.mountd.identity import Account


class TicketFacts(msgspec.Struct, array_like=True, frozen=True):
    """Whom a ticket let in."""

    principal: str
    realm: str
    is_own: bool
    domain: str
    """The domain's short name, by the PAC."""
    user: str
    """The account."""
    own: tuple[int, int] | None = None
    """uid and gid, where the system has no account of that name and `idmap` gives them."""
    groups: tuple[int, ...] = ()
    """gids of the PAC's groups."""

    def account(self, found: Account | None) -> Account | None:
        """Return who acts: the system's account, if it was `found`, with the ticket's groups."""
        if found is None:
            if self.own is None:
                return None
            found = Account(self.user, *self.own, (self.own[1],))
        if not self.groups:
            return found
        groups = tuple(dict.fromkeys((*found.groups, *self.groups)))
        return Account(found.name, found.uid, found.gid, groups)


def seal(facts: TicketFacts, credentials: Credentials) -> bytes:
    """Return the facts as a worker keeps them."""
    return credentials.seal(msgspec.msgpack.encode(facts))


def unseal(sealed: bytes, credentials: Credentials) -> TicketFacts | None:
    """Return the facts; None where nobody sealed them."""
    data = credentials.open(sealed)
    return None if data is None else msgspec.msgpack.decode(data, type=TicketFacts)
