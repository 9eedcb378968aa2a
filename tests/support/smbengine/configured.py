"""An engine that a configuration file describes: mountd's own answers, without its process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from smbengine.server import PASSWORDS, Engine, Turns
from usmbd.mountd.config.load import load
from usmbd.mountd.identity import Accounts
from usmbd.mountd.ipc.messages import Message, MountdRequest
from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.service import Service
from usmbd.mountd.users import edit_users


class OwnAccounts(Accounts):
    """Everybody is the test's own user, as where the server is not root."""

    def __init__(self) -> None:
        """Act for nobody else."""
        self.privileged = False


class RealMountd(Turns):
    """mountd's `Service` behind the engine's questions."""

    def __init__(self, service: Service) -> None:
        """Answer by `service`."""
        super().__init__()
        self.service = service

    def ask(self, message: MountdRequest, resume: Callable[..., None]) -> None:
        """Take a question."""
        self.later(lambda: resume(self.service.handle("worker", message, 0.0)[0]))

    def tell(self, message: Message) -> None:
        """Take what has no answer."""
        self.service.handle("worker", message, 0.0)  # type: ignore[arg-type]


class Configured(Engine):
    """A server with the files of `path`, and users as `PASSWORDS` says."""

    def __init__(self, path: Path, text: str, **options: Any) -> None:
        """Serve what the configuration's text says; `{path}` stands for `path` in it."""
        file = path / "usmbd.conf"
        file.write_text(text.replace("{path}", str(path)))
        passwords = path / "pwd.db"
        edit_users(
            passwords, lambda users: users.update({u: nt_hash(p) for u, p in PASSWORDS.items()})
        )
        self._text = load(file)
        service = Service(self._text, passwords, OwnAccounts())
        self._service = service
        super().__init__(path, **options)

    def config(self, options: dict[str, Any]) -> ServerConfig:
        """Return what the file says, and have mountd's own answers."""
        self.mountd = RealMountd(self._service)  # type: ignore[assignment]
        return self._text.server
