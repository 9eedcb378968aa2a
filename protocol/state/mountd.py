"""Asking mountd, or its RPC process: what the engine sees of the client that does."""

from typing import Protocol, TypeVar

from usmbd.mountd.ipc.messages import Message
from usmbd.protocol.effects import Resume, Wait
from usmbd.protocol.wire.status import NtStatus, SmbError

A = TypeVar("A", bound=Message)


class Answered(Protocol):
    """Takes what mountd answers."""

    def __call__(self, answer: Message | None, error: BaseException | None = None, /) -> None:
        """Take the answer, or None and the error."""


class Mountd(Protocol):
    """The client of mountd or of its RPC process: asks, and calls back with the answer."""

    def ask(self, message: Message, answered: Answered) -> None:
        """Send `message`; `answered(answer)` or `(None, SmbError)` follows, on the loop."""

    def tell(self, message: Message) -> None:
        """Send a message that has no answer."""


def ask(client: Mountd, message: Message, kind: type[A], keeps: int = 0) -> Wait[A]:
    """Return the wait for an answer of `kind`; SmbError(INTERNAL_ERROR) where it is another.

    `keeps` as in `Wait`.
    """

    def start(resume: Resume[A]) -> None:
        def answered(answer: Message | None, error: BaseException | None = None, /) -> None:
            if error is not None or isinstance(answer, kind):
                resume(answer, error)  # type: ignore[arg-type]
            else:
                resume(None, SmbError(NtStatus.INTERNAL_ERROR))

        client.ask(message, answered)

    return Wait(start, keeps=keeps)
