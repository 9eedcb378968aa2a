"""How a wish ends that is not fulfilled."""

from usmbd.mountd.ipc.administration import Result


class RefusedError(Exception):
    """A wish is refused, for this reason."""

    def __init__(self, result: Result, why: str = "") -> None:
        """Take what is answered, and what the log says of it."""
        super().__init__(why or result)
        self.result = result
        self.why = why
