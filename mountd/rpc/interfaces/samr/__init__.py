"""The Security Account Manager, as far as it is read: domains, users, groups ([MS-SAMR])."""

from usmbd.mountd.rpc.interfaces.samr import groups, lists, server, users
from usmbd.mountd.rpc.interfaces.samr.base import CALLS as CALLS

DECLARED = (server, lists, groups, users)
"""The modules that declare the calls."""

interface = CALLS.bind
