"""The services: what this server does by the names that Windows' tools know, and nothing else."""

from dataclasses import dataclass
from typing import Final

from usmbd.mountd.rpc.errors import ERROR_SERVICE_NEVER_STARTED
from usmbd.mountd.rpc.interfaces.svcctl.types import ServiceStatus
from usmbd.mountd.rpc.view import View

SERVICE_WIN32_SHARE_PROCESS: Final = 0x20
SERVICE_WIN32: Final = 0x30
"""dwServiceType ([MS-SCMR] 2.2.15)."""

SERVICE_STOPPED, SERVICE_RUNNING = 1, 4
"""dwCurrentState ([MS-SCMR] 2.2.47)."""

SERVICE_AUTO_START, SERVICE_DISABLED = 2, 4
"""dwStartType ([MS-SCMR] 2.2.15)."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service: it runs as long as the server does, or is not there to be started."""

    name: str
    display_name: str
    description: str
    running: bool = True

    @property
    def start_type(self) -> int:
        """When it starts: with the server, or never."""
        return SERVICE_AUTO_START if self.running else SERVICE_DISABLED

    @property
    def status(self) -> ServiceStatus:
        """What it does. It takes no controls: the host starts and stops the server as a whole."""
        return ServiceStatus(
            type=SERVICE_WIN32_SHARE_PROCESS,
            state=SERVICE_RUNNING if self.running else SERVICE_STOPPED,
            controls=0,
            exit_code=0 if self.running else ERROR_SERVICE_NEVER_STARTED,
            specific_exit_code=0,
            check_point=0,
            wait_hint=0,
        )


def services(view: View) -> tuple[Service, ...]:
    """Return the services by name.

    The spooler is among them because clients look for it before they ask for printers, of which
    there are none.
    """
    return (
        Service("Dfs", "DFS Namespace", "Roots and links of DFS.", view.snapshot.config.dfs),
        Service("EventLog", "Windows Event Log", "Event logs, which are empty."),
        Service("LanmanServer", "Server", "Shares of files and named pipes."),
        Service("RemoteRegistry", "Remote Registry", "The server's settings as a registry."),
        Service("SamSs", "Security Accounts Manager", "Users and groups of the server."),
        Service("Spooler", "Print Spooler", "Printers, of which there are none.", running=False),
    )


def find(view: View, name: str) -> Service | None:
    """Return the service of that name in any case."""
    folded = name.casefold()
    return next((each for each in services(view) if each.name.casefold() == folded), None)
