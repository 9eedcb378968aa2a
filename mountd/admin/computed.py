"""Keys of the registry whose values nobody stores: what tools ask Windows of itself."""

from collections.abc import Callable, Sequence
from typing import Protocol

from usmbd.mountd.admin import registered
from usmbd.mountd.admin.registry_store import REG_SZ, RegistryStore, Value, text
from usmbd.mountd.ipc.settings import ServerConfig, ShareConfig

REG_MULTI_SZ = 7

CONTROL = ("HKLM", "SYSTEM", "CurrentControlSet", "Control")
PRODUCT = (*CONTROL, "ProductOptions")
COMPUTER_NAME = (*CONTROL, "ComputerName", "ComputerName")
VERSION = ("HKLM", "SOFTWARE", "Microsoft", "Windows NT", "CurrentVersion")
TCPIP = ("HKLM", "SYSTEM", "CurrentControlSet", "Services", "Tcpip", "Parameters")
EVENT_LOGS = ("HKLM", "SYSTEM", "CurrentControlSet", "Services", "EventLog")
LOGS = ("Application", "Security", "System")
"""Event Viewer looks there for the logs that it may open (`rpc.interfaces.eventlog`)."""


class Source(Protocol):
    """What computed values are made of."""

    @property
    def server(self) -> ServerConfig:
        """The settings."""

    def disk_shares(self) -> Sequence[ShareConfig]:
        """Return the shares with files."""


class Computed:
    """The values of these keys, by the configuration of the moment."""

    def __init__(self, store: RegistryStore, source: Source) -> None:
        """Make the keys, whose values then come from `source`."""
        self._source = source
        made: dict[tuple[str, ...], Callable[[], list[Value]]] = {
            PRODUCT: lambda: [Value("ProductType", REG_SZ, text("ServerNT"))],
            COMPUTER_NAME: lambda: [_text("ComputerName", source.server.netbios_name)],
            VERSION: self._version,
            TCPIP: lambda: [_text("Hostname", source.server.netbios_name.lower())],
            registered.SHARES: self._shares,
            **{(*EVENT_LOGS, log): list for log in LOGS},
        }
        self._keys = {_folded(path): values for path, values in made.items()}
        with store.changing():
            for path in made:
                store.make(path)

    def values(self, path: Sequence[str]) -> list[Value] | None:
        """Return the values of a key by name; None: they are stored."""
        values = self._keys.get(_folded(path))
        return sorted(values(), key=lambda value: value.name.casefold()) if values else None

    def needs(self, path: Sequence[str]) -> bool:
        """Tell whether a key has to stay: it is one of these, or the configuration's."""
        folded = _folded(path)
        own = map(_folded, (registered.SMBCONF, registered.PARAMETERS, registered.SECURITY))
        return folded in self._keys or folded in set(own)

    def _version(self) -> list[Value]:
        """Return the version that srvsvc tells, too."""
        return [
            _text("CurrentVersion", "6.1"),
            _text("ProductName", "usmbd"),
            _text("SystemRoot", "C:\\WINDOWS"),
        ]

    def _shares(self) -> list[Value]:
        """Return the shares as Windows keeps them."""
        found = []
        for share in self._source.disk_shares():
            lines = (
                "CSCFlags=0",
                f"MaxUses={share.max_connections or 0xFFFFFFFF}",
                "Path=C:" + str(share.path).replace("/", "\\"),
                "Permissions=0",
                f"Remark={share.comment}",
                f"ShareName={share.name}",
                "Type=0",
            )
            data = "".join(line + "\0" for line in (*lines, "")).encode("utf-16-le", "replace")
            found.append(Value(share.name, REG_MULTI_SZ, data))
        return found


def _text(name: str, value: str) -> Value:
    return Value(name, REG_SZ, text(value))


def _folded(path: Sequence[str]) -> tuple[str, ...]:
    return tuple(each.casefold() for each in path)
