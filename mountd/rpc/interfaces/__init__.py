"""The DCE/RPC interfaces, one module each, and the pipes that they are reached by."""

from collections.abc import Callable, Mapping
from functools import partial

from usmbd.mountd.rpc.calls import Calls
from usmbd.mountd.rpc.endpoint import Interface
from usmbd.mountd.rpc.interfaces import (
    dssetup,
    epmapper,
    eventlog,
    lsarpc,
    mgmt,
    netdfs,
    ntsvcs,
    samr,
    srvsvc,
    srvsvc_changes,
    srvsvc_files,
    srvsvc_running,
    srvsvc_server,
    svcctl,
    winreg,
    wkssvc,
    wkssvc_workstation,
)
from usmbd.mountd.rpc.pdu import Syntax
from usmbd.mountd.rpc.view import View

DECLARED = (srvsvc_changes, srvsvc_files, srvsvc_running, srvsvc_server, wkssvc_workstation)
"""Modules that declare calls on another's interface."""

_CALLS: Mapping[str, tuple[Calls, ...]] = {
    "eventlog": (eventlog.CALLS,),
    "lsarpc": (lsarpc.CALLS, dssetup.CALLS),
    "lsass": (lsarpc.CALLS, samr.CALLS),
    "netdfs": (netdfs.CALLS,),
    "ntsvcs": (ntsvcs.CALLS,),
    "plugplay": (ntsvcs.CALLS,),
    "samr": (samr.CALLS,),
    "srvsvc": (srvsvc.CALLS,),
    "svcctl": (svcctl.CALLS,),
    "winreg": (winreg.CALLS,),
    "wkssvc": (wkssvc.CALLS,),
}
_SYNTAXES: Mapping[str, tuple[Syntax, ...]] = {
    pipe: tuple(each.syntax for each in calls) for pipe, calls in _CALLS.items()
}

PIPES: Mapping[str, tuple[Callable[[View], Interface], ...]] = {
    **{
        pipe: (
            *(each.bind for each in calls),
            partial(mgmt.interface, syntaxes=_SYNTAXES[pipe]),
        )
        for pipe, calls in _CALLS.items()
    },
    "epmapper": (
        partial(epmapper.interface, endpoints=_SYNTAXES),
        partial(mgmt.interface, syntaxes=(epmapper.CALLS.syntax,)),
    ),
}
"""What can be bound on each pipe; a pipe that is not here does not exist."""
