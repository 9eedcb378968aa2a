"""The window of message ids that a client may use: credits ([MS-SMB2] 3.3.1.1, 3.3.5.2.3).

Rule: an id is used once; a request of CreditCharge n uses n ids; the window only grows by what
the server grants. Ids come in order nearly always, so the common case is two comparisons.
"""

from usmbd.protocol.wire.status import NtStatus, SmbError


class SequenceWindow:
    """Connection.CommandSequenceWindow."""

    __slots__ = ("_high", "_low", "_used", "maximum")

    def __init__(self, maximum: int) -> None:
        """Begin with the one id of the first NEGOTIATE; never hold more than `maximum` credits."""
        self._low = 0  # the first id that is not used
        self._high = 1  # the first id that is not granted
        self._used: set[int] = set()  # used ids above _low
        self.maximum = maximum

    def use(self, message_id: int, charge: int) -> bool:
        """Use `charge` ids from `message_id` on; False when one is not granted or was used."""
        end = message_id + charge
        if message_id == self._low and end <= self._high and not self._used:
            self._low = end
            return True
        if message_id < self._low or end > self._high:
            return False
        wanted = range(message_id, end)
        if not self._used.isdisjoint(wanted):
            return False
        self._used.update(wanted)
        while self._low in self._used:
            self._used.remove(self._low)
            self._low += 1
        return True

    def grant(self, asked: int, charge: int) -> int:
        """Grant credits for a request that asks for `asked` and costs `charge`; return how many.

        A client gets what it asks for, at least one while it would be left with none, and
        never so many that the window outgrows `maximum`: an id that is left out for ever
        stops the window from moving, and then the client, as it should.
        """
        room = self.maximum - (self._high - self._low)
        granted = asked or 1
        if granted > room:
            granted = room
        if granted < 1:
            granted = int(self._high == self._low)  # the lowest is never a used one
        self._high += granted
        return granted

    @property
    def available(self) -> int:
        """Credits that the client holds now."""
        return self._high - self._low - len(self._used)


def charge_for(length: int) -> int:
    """Return the CreditCharge that a payload of `length` bytes costs ([MS-SMB2] 3.1.5.2)."""
    return (length - 1 >> 16) + 1 if length else 1


def check_charge(charge: int, length: int) -> None:
    """Refuse a `charge` below the cost of `length`: INVALID_PARAMETER ([MS-SMB2] 3.3.5.2.5)."""
    if length > 65536 and charge_for(length) > max(charge, 1):
        raise SmbError(NtStatus.INVALID_PARAMETER)
