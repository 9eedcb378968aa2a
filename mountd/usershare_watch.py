"""Notices when users of the machine make shares, and end them (`usershares`).

The folder is looked at twice a second, and when somebody connects a share, who then waits until
what is new in it is read. It is read on a thread: what a user shares may be on a disk that hangs.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Final, Protocol

from usmbd.mountd.config.configuration import Configuration
from usmbd.mountd.config.usershare_rules import Rules
from usmbd.mountd.usershares import stamp, version, with_usershares

log = logging.getLogger("usmbd.conn")

LOOK_SECONDS: Final = 0.5
"""How often the folder is looked at: what changes has all that is connected asked for again."""

MAX_WAITING: Final = 1024
"""Tree connects that wait at a time until the folder is read."""


class Host(Protocol):
    """What this needs of mountd."""

    @property
    def configuration(self) -> Configuration:
        """The configuration of the moment."""

    def complete(self, made: Configuration) -> Configuration:
        """Return what a configuration is with all that is no file's."""


class UsershareWatch:
    """Has what users share hold, once it has changed."""

    def __init__(self, host: Host, use: Callable[[Configuration], object]) -> None:
        """Read for `host`; `use` lets a configuration hold."""
        self._host = host
        self._use = use
        self._stamp = 0
        self._version: tuple[object, ...] = ()
        self._reading = False
        self._waiting: list[Callable[[], None]] = []
        self._loop = asyncio.get_running_loop()

    def look(self) -> None:
        """Read what has changed; now and ever again."""
        self._loop.call_later(LOOK_SECONDS, self.look)
        rules = self._rules
        if rules is not None and not self._reading and version(rules) != self._version:
            self._read(rules)

    def first(self, call: Callable[[], None]) -> bool:
        """Make the call once what has changed is read; False: nothing has."""
        rules = self._rules
        if rules is None or len(self._waiting) >= MAX_WAITING:
            return False
        if not self._reading:
            if stamp(rules) == self._stamp:
                return False
            self._read(rules)
        self._waiting.append(call)
        return True

    @property
    def _rules(self) -> Rules | None:
        base = self._host.configuration.base
        return base.rules if base is not None else None

    def _read(self, rules: Rules) -> None:
        """Read the folder on a thread."""
        before = self._host.configuration
        self._reading, self._stamp, self._version = True, stamp(rules), version(rules)

        def on_thread() -> None:
            found: Configuration | Exception
            try:
                found = with_usershares(before)
            except Exception as error:
                found = error
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(self._found, before, found)

        threading.Thread(target=on_thread, daemon=True).start()

    def _found(self, before: Configuration, found: Configuration | Exception) -> None:
        """Use what was read, unless the configuration is another by now: then read again."""
        self._reading = False
        if isinstance(found, Exception):
            log.error("usershares cannot be read", exc_info=found)
        elif before is not self._host.configuration:
            if (rules := self._rules) is not None:
                self._read(rules)
                return
        elif _theirs(found) != _theirs(before):
            try:
                self._use(self._host.complete(found))
            except Exception:  # nobody could log in by it, say; who waits goes on by what holds
                log.exception("usershares cannot be used")
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()


def _theirs(configuration: Configuration) -> tuple[object, ...]:
    """Return what users share, and what was told of it."""
    base = configuration.base
    shares = {key: configuration.shares[key] for key in configuration.usershares}
    return shares, configuration.usershares, base.told if base is not None else ()
