"""Logins by Kerberos on a bind of DCE/RPC: the ticket here, the protection in the RPC process.

Most clients speak DCE style, of three tokens ([MS-KILE] 3.4.5.4). The context waits here meanwhile;
at the end the RPC process is told its key and where both sides count from ([RFC4121] 2), and it is
gone.
"""

import secrets
from collections import OrderedDict
from typing import Final

import msgspec

from usmbd.mountd.ipc.messages import (
    BindTicketRequest,
    BindTicketResponse,
    LoginResponse,
    LoginStatus,
)
from usmbd.mountd.kerberos.acceptor import Accepted, Half, RefusedError
from usmbd.mountd.kerberos.login import TicketLogin, refused

MAX_WAITING: Final = 64
"""Security contexts that wait for their client's last token, of some KiB; the oldest gives way."""

WAIT_SECONDS: Final = 30.0
"""For which one waits: the client has everything that it needs to answer."""


class Binds:
    """The contexts under way."""

    def __init__(self) -> None:
        """Begin with none."""
        self._waiting: OrderedDict[int, tuple[float, Half]] = OrderedDict()

    def answer(
        self, tickets: TicketLogin | None, request: BindTicketRequest, now: float
    ) -> BindTicketResponse:
        """Take a token; return what the client is to be answered."""
        if tickets is None:
            return BindTicketResponse(LoginResponse(LoginStatus.BAD_TICKET))
        try:
            if request.context:
                until, half = self._waiting.pop(request.context, (0.0, None))
                if half is None or now > until:
                    raise RefusedError("its last token comes too late")
                return self._established(tickets, request, half.finish(request.token))
            found = tickets.acceptor.begin(request.token)
            if isinstance(found, Accepted):
                return self._established(tickets, request, found)
        except RefusedError as error:
            return BindTicketResponse(refused(request.client_address, error))
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popitem(last=False)
        number = secrets.randbits(62) | 1
        self._waiting[number] = now + WAIT_SECONDS, found
        more = LoginResponse(LoginStatus.MIC_WANTED, token=found.token)
        return BindTicketResponse(more, context=number)

    @staticmethod
    def _established(
        tickets: TicketLogin, request: BindTicketRequest, accepted: Accepted
    ) -> BindTicketResponse:
        """Return who the client is, with what his calls are protected by; RefusedError."""
        login = tickets.answer(accepted)
        if login.status is not LoginStatus.OK:
            return BindTicketResponse(login)
        if request.mech_list_mic:
            accepted.check(request.mech_list, request.mech_list_mic)
        if request.mech_list:
            mic = accepted.sign(request.mech_list)
            login = msgspec.structs.replace(login, mech_list_mic=mic)
        exported = accepted.export()
        return BindTicketResponse(
            login,
            kind=exported.kind,
            key=exported.key,
            subkey=exported.subkey,
            sending=exported.sending,
            # the library does not count there what it has checked
            receiving=exported.receiving + bool(request.mech_list_mic),
        )
