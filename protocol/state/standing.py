"""As whom limits know a connection: those who have proved an account lose nothing to the others."""

from enum import IntEnum


class Standing(IntEnum):
    """What has been proved on a connection; it only rises."""

    STRANGER = 0
    """Nothing: nobody has logged in, or only to see the pipes."""
    GUEST = 1
    """Nothing, but a share with files has let somebody in."""
    USER = 2
    """An account."""
