"""The Service Control Manager: what the server does, as services ([MS-SCMR])."""

from usmbd.mountd.rpc.interfaces.svcctl import changes, manager, notify, service
from usmbd.mountd.rpc.interfaces.svcctl.base import CALLS as CALLS

DECLARED = (manager, service, changes, notify)
"""The modules that declare the calls."""

interface = CALLS.bind
