"""The Windows Remote Registry Protocol ([MS-RRP]): keys, and their values."""

from usmbd.mountd.rpc.interfaces.winreg import keys, values
from usmbd.mountd.rpc.interfaces.winreg.base import CALLS as CALLS

DECLARED = (keys, values)
"""Modules that declare the calls."""

interface = CALLS.bind
