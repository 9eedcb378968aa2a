"""The Local Security Authority: policy, rights, names and SIDs ([MS-LSAD], [MS-LSAT])."""

from usmbd.mountd.rpc.interfaces.lsarpc import accounts, lookups, policy, rights, secrets, trusts
from usmbd.mountd.rpc.interfaces.lsarpc.base import CALLS as CALLS

DECLARED = (policy, lookups, rights, accounts, secrets, trusts)
"""The modules that declare the calls."""

interface = CALLS.bind
