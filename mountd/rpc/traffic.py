"""How much the DCE/RPC process has had to do, as its management interface tells it."""

from dataclasses import dataclass


@dataclass(slots=True)
class Traffic:
    """What clients have sent and got since it began (C706 appendix Q, rpc__mgmt_inq_stats)."""

    calls: int = 0
    received: int = 0
    """PDUs."""
    sent: int = 0
