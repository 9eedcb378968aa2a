"""Whom a worker names as a pipe's caller, mountd vouches for before anything is done in his name.

A worker parses what strangers send, and one that is taken over could name anybody. What it knows of
a client since his login by mountd (the number of his password, or his sealed ticket) it cannot know
of somebody who has not logged in there.
"""

import logging

from usmbd.mountd.ipc.accounts import AskReadable, AskRights
from usmbd.mountd.ipc.administration import AdministrationRequest
from usmbd.mountd.ipc.messages import SessionRequest, SessionResponse
from usmbd.mountd.rpc.outside import Answered, Denied, Outside, Question, Told
from usmbd.mountd.rpc.view import Caller, View

logger = logging.getLogger("usmbd.ipc")


class Vouched:
    """The questions of one pipe's calls to mountd."""

    def __init__(self, view: View, outside: Outside) -> None:
        """Ask by `outside` for the caller of `view`, whoever that is by then."""
        self._view = view
        self._outside = outside
        self._sure: Caller | None = None

    def forget(self) -> None:
        """Ask again about the caller: the users may be others."""
        self._sure = None

    def ask(self, message: Question, answered: Answered) -> None:
        """Ask, after mountd has vouched for the caller where it is asked in his name."""
        caller = self._view.caller
        # Guests are no account, whoever else the worker says that they are.
        sure = caller is self._sure or caller.guest or caller.anonymous
        if sure or not isinstance(message, AskRights | AskReadable | AdministrationRequest):
            self._outside.ask(message, answered)
            return

        def told(answer: Told) -> None:
            if not isinstance(answer, SessionResponse):
                answered(answer)  # mountd is away: nobody knows
            elif answer.valid:
                self._sure = caller
                self._outside.ask(message, answered)
            else:
                facts = {"client": caller.address, "user": caller.user}
                logger.error("nobody vouches for who has opened a pipe", extra=facts)
                answered(Denied())

        question = SessionRequest(caller.user, caller.credential, ticket=caller.ticket)
        self._outside.ask(question, told)
