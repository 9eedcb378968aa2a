"""What is around the pipes that the target `rpc` speaks to: a server, and an administrator."""

from functools import cache

from usmbd.mountd.ipc.accounts import AskRights, Rights
from usmbd.mountd.ipc.administration import Outcome, Result
from usmbd.mountd.ipc.messages import SessionRequest, SessionResponse
from usmbd.mountd.ipc.settings import ServerConfig, ShareConfig
from usmbd.mountd.rpc.outside import Alone, Answered, Question
from usmbd.mountd.rpc.view import Snapshot

RPC_PIPES = (
    *("wkssvc", "srvsvc", "winreg", "svcctl", "eventlog", "lsarpc", "samr", "netdfs", "epmapper"),
)
"""By the first byte of an input."""


class Governed(Alone):
    """mountd, for which everybody administrates, and which does nothing."""

    def ask(self, message: Question, answered: Answered) -> None:
        """Answer at once."""
        if isinstance(message, AskRights):
            answered(Rights(administrator=True))
        elif isinstance(message, SessionRequest):
            answered(SessionResponse(valid=True))
        else:
            answered(Outcome(Result.DENIED))


@cache
def served() -> Snapshot:
    """Return a server with two shares."""
    shares = (ShareConfig(name="data", path="/srv"), ShareConfig(name="Büro", path="/srv/büro"))
    return Snapshot(ServerConfig(netbios_name="NAS", workgroup="HOME"), shares)
