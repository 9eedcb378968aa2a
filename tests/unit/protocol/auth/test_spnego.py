"""The acceptor end to end in memory, with pyspnego as the client."""

import copy
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import spnego
from hypothesis import given, settings
from hypothesis import strategies as st
from spnego._spnego import NegState, NegTokenInit, NegTokenResp, pack_mech_type_list, unpack_token

from usmbd.protocol.auth.ntlm_messages import ServerNames
from usmbd.protocol.auth.spnego import (
    Acceptor,
    Challenge,
    Established,
    LoginProof,
    Ticket,
    negotiate_hint,
)
from usmbd.protocol.wire.status import NtStatus, SmbError

NTLM = "1.3.6.1.4.1.311.2.2.10"
KERBEROS = "1.2.840.113554.1.2.2"
KERBEROS_TOKEN = bytes.fromhex("6006062a0304050607")

Check = Callable[[LoginProof], bytes | None]


def client(protocol: str = "ntlm", password: str = "pässword", **kwargs: Any) -> Any:
    """Return a client of pyspnego; `ntlm` speaks raw NTLMSSP, `negotiate` SPNEGO."""
    if protocol == "ntlm":
        kwargs.setdefault("options", spnego.NegotiateOptions.use_ntlm)
    return spnego.client("DOM\\jürgen", password, "server", "cifs", protocol=protocol, **kwargs)


def challenge(acceptor: Acceptor, token: bytes | None) -> bytes:
    """Take a step that is to be answered with a token."""
    assert token is not None
    result = acceptor.step(token)
    assert isinstance(result, Challenge)
    return result.token


def prove(acceptor: Acceptor, token: bytes | None) -> LoginProof:
    """Take a step that is to end in a proof."""
    assert token is not None
    result = acceptor.step(token)
    assert isinstance(result, LoginProof)
    return result


def finish(acceptor: Acceptor, proof: LoginProof, check: Check) -> Established:
    """Let the client in."""
    base_key = check(proof)
    assert base_key is not None
    return acceptor.finish(base_key)


def test_the_hint_offers_ntlm() -> None:
    hint = unpack_token(negotiate_hint())
    assert isinstance(hint, NegTokenInit)
    assert hint.mech_types == [NTLM]
    assert hint.hint_name == b"not_defined_in_RFC4178@please_ignore"


@pytest.mark.parametrize("protocol", ["ntlm", "negotiate"])
def test_both_sides_agree_on_the_session_key(
    protocol: str, acceptor: Acceptor, check: Check
) -> None:
    peer = client(protocol)
    proof = prove(acceptor, peer.step(challenge(acceptor, peer.step())))
    assert (proof.user, proof.domain, proof.target_name) == ("jürgen", "DOM", "cifs/server")
    established = finish(acceptor, proof, check)
    if protocol == "negotiate":
        assert peer.step(established.token) is None
    else:
        assert established.token == b""
    assert peer.complete
    assert established.session_key == peer.session_key


def test_without_key_exchange_both_sides_use_the_base_key(acceptor: Acceptor, check: Check) -> None:
    peer = client("ntlm")
    peer._context_req &= ~0x40000000
    proof = prove(acceptor, peer.step(challenge(acceptor, peer.step())))
    established = finish(acceptor, proof, check)
    assert established.session_key == peer.session_key == check(proof)


def test_a_wrong_password_is_no_proof(acceptor: Acceptor, check: Check) -> None:
    peer = client("negotiate", password="wrong")
    assert check(prove(acceptor, peer.step(challenge(acceptor, peer.step())))) is None


@pytest.mark.parametrize("base_key", [b"B" * 16, bytes(16)])
def test_a_wrong_base_key_fails_at_the_integrity_code(base_key: bytes, acceptor: Acceptor) -> None:
    peer = client("negotiate")
    prove(acceptor, peer.step(challenge(acceptor, peer.step())))
    with pytest.raises(SmbError) as error:
        acceptor.finish(base_key)
    assert error.value.status == NtStatus.LOGON_FAILURE


def test_a_changed_message_fails_at_the_integrity_code(acceptor: Acceptor, check: Check) -> None:
    peer = client("ntlm")
    first = bytearray(peer.step())
    first[15] &= 0x7F  # NTLMSSP_NEGOTIATE_56 taken away under way
    proof = prove(acceptor, peer.step(challenge(acceptor, bytes(first))))
    with pytest.raises(SmbError) as error:
        finish(acceptor, proof, check)
    assert error.value.status == NtStatus.LOGON_FAILURE


def test_a_guest_gets_a_token_without_a_signature(acceptor: Acceptor) -> None:
    peer = client("negotiate")
    prove(acceptor, peer.step(challenge(acceptor, peer.step())))
    established = acceptor.finish(b"")
    assert established.session_key == b""
    token = unpack_token(established.token)
    assert isinstance(token, NegTokenResp)
    assert (token.neg_state, token.mech_list_mic) == (NegState.accept_complete, None)


class KerberosFirst:
    """A client that would rather speak Kerberos, wrapped by hand around pyspnego's NTLM."""

    mech_types = (KERBEROS, NTLM)

    def __init__(self, acceptor: Acceptor, optimistic: bytes | None) -> None:
        """Send the first token; NTLM begins when the server chose it."""
        self.acceptor = acceptor
        self.ntlm = client("ntlm")
        init = NegTokenInit(list(self.mech_types), mech_token=optimistic).pack()
        token = unpack_token(challenge(acceptor, init))
        assert isinstance(token, NegTokenResp)
        self.first_answer = token

    def negotiate(self) -> NegTokenResp:
        """Send NEGOTIATE, return the challenge."""
        token = NegTokenResp(NegState.accept_incomplete, response_token=self.ntlm.step()).pack()
        answer = unpack_token(challenge(self.acceptor, token))
        assert isinstance(answer, NegTokenResp)
        return answer

    def authenticate(self, ntlm_challenge: bytes, mic: Callable[[], bytes | None]) -> LoginProof:
        """Send AUTHENTICATE with the signature that `mic` gives once there is a key."""
        token = self.ntlm.step(ntlm_challenge)
        response = NegTokenResp(response_token=token, mech_list_mic=mic())
        return prove(self.acceptor, response.pack())

    @property
    def mech_list(self) -> bytes:
        """Return what the signatures cover."""
        return pack_mech_type_list(self.mech_types)

    def mic(self) -> bytes:
        """Return the client's signature."""
        return bytes(self.ntlm.sign(self.mech_list))


@pytest.mark.parametrize("optimistic", [KERBEROS_TOKEN, None])
def test_ntlm_as_second_choice_needs_signatures_both_ways(
    acceptor: Acceptor, check: Check, optimistic: bytes | None
) -> None:
    peer = KerberosFirst(acceptor, optimistic)
    assert peer.first_answer.neg_state == NegState.request_mic
    assert peer.first_answer.supported_mech == NTLM
    assert peer.first_answer.response_token is None
    answer = peer.negotiate()
    assert answer.neg_state == NegState.accept_incomplete
    assert answer.response_token is not None
    proof = peer.authenticate(answer.response_token, peer.mic)
    established = finish(acceptor, proof, check)
    assert established.session_key == peer.ntlm.session_key
    last = unpack_token(established.token)
    assert isinstance(last, NegTokenResp)
    assert last.neg_state == NegState.accept_complete
    peer.ntlm.verify(peer.mech_list, last.mech_list_mic)


@pytest.mark.parametrize("mic", [None, b"", bytes(16), b"\1\0\0\0" + bytes(12)])
def test_ntlm_as_second_choice_without_the_right_signature_is_refused(
    acceptor: Acceptor, check: Check, mic: bytes | None
) -> None:
    peer = KerberosFirst(acceptor, KERBEROS_TOKEN)
    answer = peer.negotiate()
    assert answer.response_token is not None
    proof = peer.authenticate(answer.response_token, lambda: mic)
    with pytest.raises(SmbError) as error:
        finish(acceptor, proof, check)
    assert error.value.status == NtStatus.LOGON_FAILURE


def test_an_ntlm_token_under_another_mechanism_is_taken(acceptor: Acceptor, check: Check) -> None:
    ntlm = client("ntlm")
    init = NegTokenInit([KERBEROS, NTLM], mech_token=ntlm.step()).pack()
    answer = unpack_token(challenge(acceptor, init))
    assert isinstance(answer, NegTokenResp)
    assert answer.neg_state == NegState.request_mic
    assert answer.response_token is not None
    token = ntlm.step(answer.response_token)
    mic = ntlm.sign(pack_mech_type_list((KERBEROS, NTLM)))
    proof = prove(acceptor, NegTokenResp(response_token=token, mech_list_mic=mic).pack())
    assert finish(acceptor, proof, check).session_key == ntlm.session_key


def test_ntlm_first_without_an_optimistic_token_goes_on(acceptor: Acceptor, check: Check) -> None:
    answer = unpack_token(challenge(acceptor, NegTokenInit([NTLM]).pack()))
    assert isinstance(answer, NegTokenResp)
    assert (answer.neg_state, answer.supported_mech) == (NegState.accept_incomplete, NTLM)
    ntlm = client("ntlm")
    token = challenge(acceptor, NegTokenResp(response_token=ntlm.step()).pack())
    inner = unpack_token(token)
    assert isinstance(inner, NegTokenResp)
    assert inner.response_token is not None
    last = NegTokenResp(response_token=ntlm.step(inner.response_token)).pack()
    established = finish(acceptor, prove(acceptor, last), check)
    assert established.token == bytes.fromhex("a1073005a0030a0100")


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"NTLMSSP\0",
        b"NTLMSSP\0\3\0\0\0" + bytes(80),
        bytes.fromhex("a1073005a0030a0100"),
        NegTokenInit([]).pack(),
        NegTokenInit([KERBEROS], mech_token=KERBEROS_TOKEN).pack(),
        NegTokenInit([NTLM], mech_token=b"").pack(),
        NegTokenInit([NTLM], mech_token=b"NTLMSSP\0\1\0\0\0").pack(),
        NegTokenInit([KERBEROS] * 32 + [NTLM]).pack(),
    ],
)
def test_malformed_first_tokens_are_refused(acceptor: Acceptor, token: bytes) -> None:
    with pytest.raises(SmbError) as error:
        acceptor.step(token)
    assert error.value.status == NtStatus.INVALID_PARAMETER


@pytest.mark.parametrize("mic", [None, b"signature"])
def test_a_ticket_of_the_first_choice_needs_no_signature(mic: bytes | None) -> None:
    """The list is signed where another mechanism was chosen, or the client does (RFC 4178, 5)."""
    acceptor = Acceptor(ServerNames("S", "G"), 0, kerberos=True)
    mechanisms = ["1.2.840.48018.1.2.2", "1.3.6.1.4.1.311.2.2.10"]
    token = NegTokenInit(mech_types=mechanisms, mech_token=b"ticket", mech_list_mic=mic).pack()
    ticket = acceptor.step(token)
    signed = (pack_mech_type_list(mechanisms), mic) if mic else (b"", b"")
    assert ticket == Ticket(b"ticket", *signed)


def test_tokens_out_of_turn_are_refused(acceptor: Acceptor) -> None:
    with pytest.raises(SmbError):
        acceptor.finish(b"B" * 16)
    peer = client("negotiate")
    first = peer.step()
    second = peer.step(challenge(acceptor, first))
    for token in (first, NegTokenResp(NegState.accept_incomplete).pack(), b"NTLMSSP\0" * 8):
        with pytest.raises(SmbError):
            acceptor.step(token)
    prove(acceptor, second)
    with pytest.raises(SmbError) as error:
        acceptor.step(second)
    assert error.value.status == NtStatus.INVALID_PARAMETER


def _exchange() -> tuple[bytes, bytes, Acceptor]:
    """Return a client's two tokens and the acceptor that waits for the second."""
    names = ServerNames("SERVER", "GROUP")
    acceptor = Acceptor(names, 0)
    peer = client("negotiate")
    first = peer.step()
    return first, peer.step(challenge(acceptor, first)), acceptor


FIRST, SECOND, CHALLENGED = _exchange()
CHANGES = st.lists(st.tuples(st.integers(0, 1023), st.integers(0, 255)), min_size=1, max_size=3)


@settings(max_examples=300, deadline=None)
@given(st.booleans(), CHANGES, st.integers(0, 1023))
def test_changed_and_cut_tokens_end_in_a_result_or_an_smb_error(
    second: bool, changes: list[tuple[int, int]], cut: int
) -> None:
    token = bytearray(SECOND if second else FIRST)
    for place, value in changes:
        token[place % len(token)] = value
    if cut < len(token):
        del token[cut:]
    acceptor = copy.deepcopy(CHALLENGED) if second else Acceptor(ServerNames("S", "G"), 0)
    with suppress(SmbError):
        if isinstance(acceptor.step(token), LoginProof):
            acceptor.finish(b"B" * 16)
