"""The Security Account Manager: domains, users, groups, and users' passwords ([MS-SAMR])."""

from usmbd.mountd.rpc.interfaces.samr import changes, groups, lists, server, users
from usmbd.mountd.rpc.interfaces.samr.base import CALLS as CALLS

DECLARED = (server, lists, groups, users, changes)
"""The modules that declare the calls."""

interface = CALLS.bind
