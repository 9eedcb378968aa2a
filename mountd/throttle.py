"""Brute force made slow: who failed waits, whether the next guess is right or wrong.

The failures of one account at one address, those of one address with any user, and those of one
account wherever they come from, each open a queue. Answers leave a queue one after the other at a
growing distance, so that asking in parallel gains nothing, and a right password is answered no
sooner than a wrong one. Everything is forgotten after a while.

No login is ever locked. Where the account's owner has logged in before, nobody else's guesses delay
him: that address is not in the account's common queue. At a new one he waits with the guessers.

An account is whatever the caller counts as one: all names that find the same user. An address is
one of IPv4, or the /64 of one of IPv6.
"""

from collections import OrderedDict
from dataclasses import dataclass

from usmbd.mountd.ipc.network import network

# Typing errors of a person are free.
FREE_FAILURES = 3
# An address can be a terminal server or a NAT with many people behind it.
FREE_ADDRESS_FAILURES = 20
# From all addresses together, on which the account's owner is not known: many people do not err so.
FREE_ACCOUNT_FAILURES = 30
# Doubles with every further failure: 0.25, 0.5, ... seconds.
FIRST_DELAY = 0.25
MAX_DELAY = 4.0
# One guesser must not slow his neighbours down by more than this.
MAX_ADDRESS_DELAY = 0.5
# A guess in half a second, of all the world's addresses: 170,000 a day instead of what the machine
# can do. More would keep the owner out who comes from a new address meanwhile.
MAX_ACCOUNT_DELAY = 0.5
# The longest that an answer waits; guesses that would wait longer are refused unseen. Clients
# give up on a login after 20 s (smbclient) to 60 s (Windows).
MAX_WAIT = 15.0
# Failures are forgotten after this many seconds without a new one.
MEMORY = 300.0
# Queues at a time: the oldest is forgotten first. An attacker with more than this many
# addresses gains the free failures of each, as he does anyway.
MAX_QUEUES = 16384
# Addresses at which accounts have logged in, and for how long after the last time that is known.
MAX_KNOWN = 65536
KNOWN_SECONDS = 30 * 86400.0

Key = tuple[str, str]


@dataclass(slots=True)
class _Queue:
    """The failures of one key and when its next answer may leave."""

    failures: int = 0
    last: float = 0.0
    next_answer: float = 0.0


class Throttle:
    """The queues. `now` is any clock in seconds that does not jump back."""

    def __init__(self) -> None:
        """Start with no failures."""
        self._queues: OrderedDict[Key, _Queue] = OrderedDict()
        self._known: OrderedDict[Key, float] = OrderedDict()

    @property
    def remembered(self) -> int:
        """How many accounts and addresses have failed."""
        return len(self._queues)

    def reserve(self, account: str, address: str, now: float) -> float | None:
        """Return the seconds that this login's answer must wait; None when too many wait."""
        wait = 0.0
        slots: list[tuple[_Queue, float, float]] = []
        for key, free, longest in self._keys(account, address, now):
            queue = self._queues.get(key)
            if queue is None or now - queue.last > MEMORY or queue.failures < free:
                continue
            step = min(FIRST_DELAY * 2 ** min(queue.failures - free, 16), longest)
            start = max(now, queue.next_answer)
            if start + step - now > MAX_WAIT:
                return None
            slots.append((queue, start, step))
            wait = max(wait, start + step - now)
        for queue, start, step in slots:
            queue.next_answer = start + step
        return wait

    def failed(self, account: str, address: str, now: float) -> None:
        """Count a failure."""
        for key, _, _ in self._keys(account, address, now):
            queue = self._queues.get(key)
            if queue is None or now - queue.last > MEMORY:
                queue = self._queues[key] = _Queue()
            queue.failures += 1
            queue.last = now
            self._queues.move_to_end(key)
        while len(self._queues) > MAX_QUEUES:
            self._queues.popitem(last=False)

    def succeeded(self, account: str, address: str, now: float) -> None:
        """Forget the failures of this account at this address, which is known to be its owner's.

        The address keeps its own, and the account those of other addresses.
        """
        key = account, network(address)
        self._queues.pop(key, None)
        self._known[key] = now
        self._known.move_to_end(key)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def _keys(self, account: str, address: str, now: float) -> list[tuple[Key, int, float]]:
        """Return the queues of a login, with their free failures and longest delays."""
        address = network(address)  # who has an IPv6 address has 2^64 of them
        keys = [
            ((account, address), FREE_FAILURES, MAX_DELAY),
            (("", address), FREE_ADDRESS_FAILURES, MAX_ADDRESS_DELAY),
        ]
        since = self._known.get((account, address))
        if since is None or now - since > KNOWN_SECONDS:
            keys.append(((account, ""), FREE_ACCOUNT_FAILURES, MAX_ACCOUNT_DELAY))
        return keys
