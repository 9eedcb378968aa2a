"""`usmbd`: binds the port, starts and watches mountd and the workers, hands clients to workers."""

from usmbd.protocol.supervisor.main import main

__all__ = ["main"]
