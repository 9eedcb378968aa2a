"""A client of the engine that logs in by a ticket, in SPNEGO's ways."""

import hashlib
from typing import Any

from smbtest.tickets import Initiator
from spnego._spnego import NegTokenInit, NegTokenResp, pack_mech_type_list, unpack_token

from smbengine.client import Client, Reply, challenge_of
from usmbd.protocol.wire.status import NtStatus

MS_KERBEROS, KERBEROS = "1.2.840.48018.1.2.2", "1.2.840.113554.1.2.2"
NTLM, UNKNOWN = "1.3.6.1.4.1.311.2.2.10", "1.3.6.1.4.1.311.2.2.30"  # NEGOEX
USUAL = (MS_KERBEROS, KERBEROS, NTLM)


def kerberos_login(
    client: Client,
    initiator: Initiator,
    mechanisms: tuple[str, ...] = USUAL,
    *,
    optimistic: bool = True,
    signed_list: tuple[str, ...] | None = None,
    **options: Any,
) -> Reply:
    """SESSION_SETUP by Kerberos up to the last reply; the keys are kept when it is a success.

    `signed_list` is what the client's signature covers, where it is asked for one.
    """
    wire = pack_mech_type_list(list(mechanisms))
    token = NegTokenInit(
        mech_types=list(mechanisms), mech_token=initiator.token if optimistic else None
    ).pack()
    options.setdefault("session_id", client.session_id)
    digest = client.preauth
    sent = optimistic and mechanisms[0] in (MS_KERBEROS, KERBEROS)
    while True:
        message, replies = client.setup(token, **options)
        digest = hashlib.sha512(digest + message).digest()
        (reply,) = replies
        options["session_id"] = reply.header.session_id
        if reply.status not in (NtStatus.MORE_PROCESSING_REQUIRED, NtStatus.SUCCESS):
            return reply
        answer = unpack_token(challenge_of(reply))
        assert isinstance(answer, NegTokenResp)
        if answer.response_token:
            initiator.finish(answer.response_token)
        if answer.mech_list_mic:
            initiator.verify(wire, answer.mech_list_mic)
        if reply.status is NtStatus.SUCCESS:
            break
        digest = hashlib.sha512(digest + reply.message).digest()
        if not sent:
            sent = True
            token = NegTokenResp(response_token=initiator.token).pack()
        else:
            assert answer.mech_list_mic
            signed = pack_mech_type_list(list(signed_list or mechanisms))
            token = NegTokenResp(mech_list_mic=initiator.sign(signed)).pack()
    if reply.header.session_id != client.session_id:
        client.session_id = reply.header.session_id
        client._derive(initiator.key, digest)
    elif options.get("flags", 0):
        client._derive(initiator.key, digest, binding=True)
    if reply.signed:
        assert client.signer is not None
        assert client.signer.verify(memoryview(bytearray(reply.message)), is_server=True)
    return reply
