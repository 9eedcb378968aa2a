"""The interface of the Windows Remote Registry Protocol ([MS-RRP] 1.9), and its handles."""

from typing import Final
from uuid import UUID

from usmbd.mountd.rpc.access import is_administrator
from usmbd.mountd.rpc.calls import Asking, Calls, Status
from usmbd.mountd.rpc.errors import ERROR_ACCESS_DENIED
from usmbd.mountd.rpc.interfaces.winreg.types import Key
from usmbd.mountd.rpc.view import View

CALLS = Calls(UUID("338cd001-2244-31f1-aaaa-900038001003"), 1)

KEY_QUERY_VALUE, KEY_SET_VALUE = 0x01, 0x02
KEY_ENUMERATE_SUB_KEYS = 0x08
READ_CONTROL, WRITE_DAC, WRITE_OWNER = 0x20000, 0x40000, 0x80000
ACCESS_SYSTEM_SECURITY = 0x01000000
"""[MS-RRP] 2.2.3."""

CLASSES: Final = ("HKLM", "SOFTWARE", "Classes")
CURRENT_USER: Final = ("HKU", ".DEFAULT")
"""The hives that are parts of others: nobody has a profile on the server."""


def find(view: View, handle: bytes, needed: int = 0) -> Key:
    """Return the key of a handle; Status(ERROR_ACCESS_DENIED) when it was opened for less."""
    key = view.handles.get(handle, Key)
    if needed & ~key.granted:
        raise Status(ERROR_ACCESS_DENIED)
    return key


def need_administrator(view: View) -> Asking[None]:
    """Status(ERROR_ACCESS_DENIED) for who does not administrate, as with Windows' own service."""
    if not (yield from is_administrator(view)):
        raise Status(ERROR_ACCESS_DENIED)
