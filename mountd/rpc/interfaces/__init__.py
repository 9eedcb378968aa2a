"""The DCE/RPC interfaces, one module each, and the pipes that they are reached by."""

from collections.abc import Callable, Mapping

from usmbd.mountd.rpc.endpoint import Interface
from usmbd.mountd.rpc.interfaces import lsarpc, samr, srvsvc, wkssvc
from usmbd.mountd.rpc.view import View

PIPES: Mapping[str, tuple[Callable[[View], Interface], ...]] = {
    "lsarpc": (lsarpc.interface,),
    "lsass": (lsarpc.interface, samr.interface),
    "samr": (samr.interface,),
    "srvsvc": (srvsvc.interface,),
    "wkssvc": (wkssvc.interface,),
}
"""What can be bound on each pipe; a pipe that is not here does not exist."""
