"""Whom a list of shares shows what: the answer about `access based share enum`."""

from usmbd.mountd.ipc.accounts import AskReadable, Readable
from usmbd.mountd.ipc.messages import TreeConnectRequest, TreeStatus
from usmbd.mountd.service import Service
from usmbd.mountd.slices import Steps


def readable(message: AskReadable, service: Service) -> Steps:
    """Tell of each share whether the client may connect to it, from wherever he comes (smbd)."""
    answers = []
    for share in message.shares:
        asked = TreeConnectRequest(
            0, 0, share, message.user, 0, 0, [], message.address, guest=message.guest,
            anonymous=message.anonymous, ticket=message.ticket,
        )  # fmt: skip
        answers.append(service.decide(asked, hosts=False)[1].status is TreeStatus.OK)
        yield
    return Readable(answers)
