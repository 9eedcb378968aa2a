"""The NTLM messages and what the acceptor refuses in them."""

import hmac
import struct
from collections.abc import Callable

import pytest
from impacket import ntlm as impacket_ntlm

from usmbd.protocol.auth import ntlm_messages as messages
from usmbd.protocol.auth.ntlm import LoginProof, NtlmAcceptor
from usmbd.protocol.auth.ntlm_messages import ServerNames, message_type
from usmbd.protocol.auth.rc4 import rc4
from usmbd.protocol.wire.status import MalformedError, NtStatus, SmbError

# "SMB 2 and SMB 3 security in Windows 10", appendix, 3.1.1 master session.
WINDOWS_SESSION_KEY = bytes.fromhex("270E1BA896585EEB7AF3472D3B4C75A7")
WINDOWS_NEGOTIATE = bytes.fromhex(
    "4E544C4D5353500001000000978208E200000000000000000000000000000000060380250000000F"
)
WINDOWS_CHALLENGE = bytes.fromhex(
    "4E544C4D53535000020000000C000C003800000015828AE20D1D8BA31179D0080000000000000000"
    "50005000440000000A0092270000000F53005500540033003100310002000C005300550054003300"
    "3100310001000C0053005500540033003100310004000C0053005500540033003100310003000C00"
    "53005500540033003100310007000800A1A1F5ADCBAED00100000000"
)
WINDOWS_AUTHENTICATE = bytes.fromhex(
    "4E544C4D53535000030000001800180090000000EE00EE00A80000000C000C00580000001A001A00"
    "64000000120012007E0000001000100096010000158288E2060380250000000FECAC77A5F385A8BF"
    "9C38C706EEEDDCD3530055005400330031003100610064006D0069006E0069007300740072006100"
    "74006F00720044005200490056004500520033003100310000000000000000000000000000000000"
    "000000000000000063078EB639FE03E20A231C3AE3BF23080101000000000000A1A1F5ADCBAED001"
    "BC4AD05F223CC90F0000000002000C0053005500540033003100310001000C005300550054003300"
    "3100310004000C0053005500540033003100310003000C0053005500540033003100310007000800"
    "A1A1F5ADCBAED00106000400020000000800300030000000000000000000000000300000B61FEFCA"
    "A857EA57BF1EDCEBF8974B8E0EBA5A6DFD9D07A31D11B548F8C9D0CC0A0010000000000000000000"
    "00000000000000000900160063006900660073002F00530055005400330031003100000000000000"
    "0000000000003B9BDFF38F5EE8F9663F11A0F4C03A78"
)
NAMES = ServerNames("SERVER", "GROUP", "server.example", "example")
NOW = 0x01D0AECBADF5A1A1
FLAGS = 0xE2888215

Check = Callable[[LoginProof], bytes | None]


def new(challenge: bytes | None = None) -> NtlmAcceptor:
    """Return an acceptor."""
    return NtlmAcceptor(NAMES, NOW, challenge)


def challenged() -> NtlmAcceptor:
    """Return an acceptor that sent its challenge."""
    acceptor = new()
    acceptor.negotiate(memoryview(WINDOWS_NEGOTIATE))
    return acceptor


def authenticate(
    *,
    lm: bytes = b"",
    nt: bytes = b"",
    domain: bytes = b"",
    user: bytes = "u".encode("utf-16-le"),
    key: bytes = b"k" * 16,
    flags: int = FLAGS,
    mic: bytes = bytes(16),
) -> memoryview:
    """Return an AUTHENTICATE_MESSAGE."""
    fields, payload = b"", b""
    start = 72 + len(mic)
    for value in (lm, nt, domain, user, b"", key):
        fields += struct.pack("<HHI", len(value), len(value), start + len(payload))
        payload += value
    head = b"NTLMSSP\0" + struct.pack("<I", 3) + fields + struct.pack("<I8x", flags)
    return memoryview(head + mic + payload)


def nt_response(*pairs: tuple[int, bytes], end: bytes = bytes(4)) -> bytes:
    """Return an NTLMv2 response with these AV pairs."""
    av_pairs = b"".join(struct.pack("<HH", kind, len(value)) + value for kind, value in pairs)
    return bytes(16) + b"\1\1" + bytes(26) + av_pairs + end


def test_the_challenge_grants_what_windows_grants_and_names_the_server() -> None:
    message = new(b"12345678").negotiate(memoryview(WINDOWS_NEGOTIATE))
    parsed = impacket_ntlm.NTLMAuthChallenge(message)
    assert parsed["flags"] == impacket_ntlm.NTLMAuthChallenge(WINDOWS_CHALLENGE)["flags"]
    assert parsed["challenge"] == b"12345678"
    assert parsed["domain_name"].decode("utf-16-le") == "SERVER"
    pairs = impacket_ntlm.AV_PAIRS(parsed["TargetInfoFields"])
    names = {kind: pairs[kind][1].decode("utf-16-le") for kind in (1, 2, 3, 4)}
    assert names == {1: "SERVER", 2: "GROUP", 3: "server.example", 4: "example"}
    assert pairs[7][1] == NOW.to_bytes(8, "little")


def test_each_challenge_is_new() -> None:
    assert len({bytes(new().negotiate(memoryview(WINDOWS_NEGOTIATE))) for _ in range(8)}) == 8


def test_a_negotiate_of_the_old_size_is_enough() -> None:
    assert new().negotiate(memoryview(WINDOWS_NEGOTIATE)[:16])


def negotiate(clear: int, add: int = 0) -> memoryview:
    """Return a NEGOTIATE_MESSAGE of Windows with other flags."""
    flags = int.from_bytes(WINDOWS_NEGOTIATE[12:16], "little") & ~clear | add
    return memoryview(WINDOWS_NEGOTIATE[:12] + flags.to_bytes(4, "little"))


def test_clients_without_a_character_set_are_refused() -> None:
    with pytest.raises(SmbError) as error:
        new().negotiate(negotiate(0x00000003))
    assert error.value.status == NtStatus.INVALID_PARAMETER


def test_unicode_goes_before_oem() -> None:
    parsed = impacket_ntlm.NTLMAuthChallenge(new().negotiate(negotiate(0, 0x2)))
    assert parsed["flags"] & 0x3 == 0x1


def test_a_client_of_oem_alone_gives_its_proof_without_session_security() -> None:
    acceptor = new()
    parsed = impacket_ntlm.NTLMAuthChallenge(acceptor.negotiate(negotiate(0x00080001, 0x2)))
    assert parsed["flags"] & 0x00080003 == 0x2
    assert parsed["domain_name"] == b"SERVER"
    flags = FLAGS & ~0x00080001 | 0x2
    message = authenticate(nt=nt_response(), user=b"M\x9aller", domain=b"GROUP", flags=flags)
    proof = acceptor.authenticate(message)
    assert (proof.user, proof.domain) == ("MÜller", "GROUP")
    assert len(acceptor.finish(b"b" * 16)) == 16


@pytest.mark.parametrize("clear", [0, 0x00080000])
@pytest.mark.parametrize("flags", [FLAGS, 0])
def test_ntlm_v1_is_refused_when_it_comes(clear: int, flags: int) -> None:
    acceptor = new()
    acceptor.negotiate(negotiate(clear))
    with pytest.raises(SmbError) as error:
        acceptor.authenticate(authenticate(lm=bytes(24), nt=bytes(24), flags=flags & ~clear))
    assert error.value.status == NtStatus.LOGON_FAILURE


def permitting(clear: int = 0) -> NtlmAcceptor:
    """Return an acceptor that takes NTLMv1, and has sent its challenge."""
    acceptor = NtlmAcceptor(NAMES, NOW, b"12345678", ntlmv1=True)
    acceptor.negotiate(negotiate(clear))
    return acceptor


@pytest.mark.parametrize("clear", [0, 0x00080000])
def test_ntlm_v1_is_taken_where_it_is_permitted(clear: int) -> None:
    """The client's challenge counts with extended session security alone ([MS-NLMP] 3.3.1)."""
    acceptor = permitting(clear)
    flags = FLAGS & ~clear
    lm_response = b"clientch" + bytes(16)
    proof = acceptor.authenticate(authenticate(lm=lm_response, nt=b"n" * 24, flags=flags))
    assert (proof.user, proof.nt_response) == ("u", b"n" * 24)
    assert proof.client_challenge == (b"" if clear else b"clientch")
    assert acceptor.finish(b"b" * 16) == rc4(b"b" * 16, b"k" * 16)


@pytest.mark.parametrize("size", [0, 8, 23, 25])
def test_ntlm_v1_of_another_size_is_none(size: int) -> None:
    for lm, nt in ((bytes(24), bytes(size)), (bytes(size), bytes(24))):
        with pytest.raises(SmbError) as error:
            permitting().authenticate(authenticate(lm=lm, nt=nt))
        assert error.value.status == NtStatus.LOGON_FAILURE


def test_ntlm_v1_keeps_the_session_security_that_it_asked_for() -> None:
    message = authenticate(lm=bytes(24), nt=bytes(24), flags=FLAGS & ~0x00080000)
    with pytest.raises(SmbError) as error:
        permitting().authenticate(message)
    assert error.value.status == NtStatus.INVALID_PARAMETER


def test_the_mic_of_ntlm_v2_counts_where_ntlm_v1_is_permitted() -> None:
    promises = nt_response((messages.MSV_AV_FLAGS, b"\2\0\0\0"))
    acceptor = permitting()
    acceptor.authenticate(authenticate(nt=promises))
    with pytest.raises(SmbError) as error:
        acceptor.finish(b"b" * 16)
    assert error.value.status == NtStatus.LOGON_FAILURE


@pytest.mark.parametrize("flag", [0x00000080, 0x00400000])
def test_keys_made_of_the_lm_hash_are_not_granted(flag: int) -> None:
    """NTLMSSP_NEGOTIATE_LM_KEY, NTLMSSP_REQUEST_NON_NT_SESSION_KEY."""
    acceptor = NtlmAcceptor(NAMES, NOW, ntlmv1=True)
    answer = acceptor.negotiate(negotiate(0x00080000, flag))
    assert impacket_ntlm.NTLMAuthChallenge(answer)["flags"] & flag == 0


def test_an_authenticate_of_windows_is_parsed() -> None:
    parsed = messages.parse_authenticate(memoryview(WINDOWS_AUTHENTICATE))
    assert (parsed.domain, parsed.user, parsed.workstation) == (
        "SUT311",
        "administrator",
        "DRIVER311",
    )
    assert parsed.flags == FLAGS
    assert len(parsed.nt_response) == 0xEE
    assert parsed.encrypted_session_key == WINDOWS_AUTHENTICATE[-16:]
    pairs = messages.parse_av_pairs(parsed.nt_response)
    assert pairs[messages.MSV_AV_FLAGS] == b"\2\0\0\0"
    assert pairs[messages.MSV_AV_TARGET_NAME].decode("utf-16-le") == "cifs/SUT311"
    assert pairs[messages.MSV_AV_TIMESTAMP] == bytes.fromhex("A1A1F5ADCBAED001")


def test_the_integrity_code_of_windows_is_ours() -> None:
    parsed = messages.parse_authenticate(memoryview(WINDOWS_AUTHENTICATE))
    covered = WINDOWS_NEGOTIATE + WINDOWS_CHALLENGE + messages.without_mic(WINDOWS_AUTHENTICATE)
    assert hmac.digest(WINDOWS_SESSION_KEY, covered, "md5") == parsed.mic


@pytest.mark.parametrize("user", ["jürgen", "", "x" * 256])
def test_the_proof_of_impacket_yields_the_same_session_key(user: str, check: Check) -> None:
    acceptor = new()
    type1 = impacket_ntlm.getNTLMSSPType1("HOST", "DOM", signingRequired=True)
    challenge = acceptor.negotiate(memoryview(type1.getData()))
    type3, session_key = impacket_ntlm.getNTLMSSPType3(type1, challenge, user, "pässword", "DOM")
    proof = acceptor.authenticate(memoryview(type3.getData()))
    if user == "jürgen":
        base_key = check(proof)
        assert base_key is not None
        assert (proof.domain, proof.anonymous) == ("DOM", False)
        assert acceptor.finish(base_key) == session_key
    else:
        assert proof.user == user


@pytest.mark.parametrize("size", [1, 15, 16, 24, 43, 16 * 1024 + 1])
def test_lm_ntlm_v1_and_huge_responses_are_refused(size: int) -> None:
    with pytest.raises(SmbError) as error:
        challenged().authenticate(authenticate(lm=bytes(24), nt=bytes(size)))
    assert error.value.status == NtStatus.LOGON_FAILURE


def test_a_name_without_a_response_is_refused() -> None:
    with pytest.raises(SmbError) as error:
        challenged().authenticate(authenticate())
    assert error.value.status == NtStatus.LOGON_FAILURE


def test_a_name_too_long_is_refused() -> None:
    with pytest.raises(SmbError) as error:
        challenged().authenticate(authenticate(nt=nt_response(), user=b"x\0" * 257))
    assert error.value.status == NtStatus.LOGON_FAILURE


@pytest.mark.parametrize("lm", [b"", b"\0"])
@pytest.mark.parametrize("exchange", [True, False])
def test_a_null_session_is_recognized(lm: bytes, exchange: bool) -> None:
    acceptor = challenged()
    flags = FLAGS if exchange else FLAGS & ~messages.NTLMSSP_NEGOTIATE_KEY_EXCH
    proof = acceptor.authenticate(authenticate(lm=lm, user=b"", flags=flags))
    assert proof.anonymous
    assert acceptor.finish(b"") == (rc4(bytes(16), b"k" * 16) if exchange else bytes(16))


def test_a_guest_has_no_key() -> None:
    acceptor = challenged()
    acceptor.authenticate(authenticate(nt=nt_response((messages.MSV_AV_FLAGS, b"\2\0\0\0"))))
    assert acceptor.finish(b"") == b""


def test_without_key_exchange_the_base_key_is_the_session_key() -> None:
    acceptor = challenged()
    flags = FLAGS & ~messages.NTLMSSP_NEGOTIATE_KEY_EXCH
    acceptor.authenticate(authenticate(nt=nt_response(), key=b"", flags=flags))
    assert acceptor.finish(b"B" * 16) == b"B" * 16


@pytest.mark.parametrize("size", [0, 15, 17, 255])
def test_a_session_key_of_another_size_is_refused(size: int) -> None:
    acceptor = challenged()
    acceptor.authenticate(authenticate(nt=nt_response(), key=bytes(size)))
    with pytest.raises(SmbError) as error:
        acceptor.finish(b"B" * 16)
    assert error.value.status == NtStatus.INVALID_PARAMETER


def test_the_proof_carries_target_name_and_channel_bindings() -> None:
    pairs = [
        (messages.MSV_AV_TARGET_NAME, "cifs/server".encode("utf-16-le")),
        (messages.MSV_AV_CHANNEL_BINDINGS, b"c" * 16),
    ]
    proof = challenged().authenticate(authenticate(nt=nt_response(*pairs, end=b"")))
    assert (proof.target_name, proof.channel_bindings) == ("cifs/server", b"c" * 16)
    pairs[1] = (messages.MSV_AV_CHANNEL_BINDINGS, bytes(16))
    assert not challenged().authenticate(authenticate(nt=nt_response(*pairs))).channel_bindings


def test_a_promised_integrity_code_must_be_there_and_right() -> None:
    nt = nt_response((messages.MSV_AV_FLAGS, b"\2\0\0\0"))
    with pytest.raises(MalformedError, match="missing"):
        challenged().authenticate(authenticate(nt=nt, mic=b""))
    acceptor = challenged()
    acceptor.authenticate(authenticate(nt=nt, mic=b"m" * 16))
    with pytest.raises(SmbError) as error:
        acceptor.finish(b"B" * 16)
    assert error.value.status == NtStatus.LOGON_FAILURE


@pytest.mark.parametrize(
    "av_pairs", [b"\x09\x00\xff\xff", b"\x06\x00\x04\x00\x02", b"\x09\x00\x01\x00x"]
)
def test_lying_av_pairs_are_refused(av_pairs: bytes) -> None:
    with pytest.raises(MalformedError, match=r"."):
        challenged().authenticate(authenticate(nt=nt_response(end=av_pairs)))


@pytest.mark.parametrize("place", range(12, 60, 8))
@pytest.mark.parametrize("lie", [(1, 0xFFFFFFFF), (1, 0), (0xFFFF, 88), (2, 59)])
def test_fields_outside_of_the_message_are_refused(place: int, lie: tuple[int, int]) -> None:
    message = bytearray(authenticate(nt=nt_response()))
    struct.pack_into("<HHI", message, place, lie[0], lie[0], lie[1])
    with pytest.raises(MalformedError, match="outside"):
        challenged().authenticate(memoryview(message))


def test_messages_out_of_turn_are_refused() -> None:
    with pytest.raises(MalformedError, match="AUTHENTICATE"):
        new().authenticate(authenticate(nt=nt_response()))
    acceptor = challenged()
    with pytest.raises(MalformedError, match="NEGOTIATE"):
        acceptor.negotiate(memoryview(WINDOWS_NEGOTIATE))
    with pytest.raises(MalformedError, match="yet"):
        acceptor.finish(b"B" * 16)
    acceptor.authenticate(authenticate(nt=nt_response()))
    with pytest.raises(MalformedError, match="AUTHENTICATE"):
        acceptor.authenticate(authenticate(nt=nt_response()))


def test_an_anonymous_client_of_samba_is_let_in_without_session_security() -> None:
    acceptor = challenged()
    # smbclient 4.17 -N: ANONYMOUS set, EXTENDED_SESSIONSECURITY dropped, a session key sent.
    message = bytes.fromhex(
        "4e544c4d535350000300000000000000580000000000000058000000000000005800000000000000"
        "580000000400040058000000100010005c000000158a0062060100000000000f717012d0c4a8672a"
        "0058adfcb6aaac5656004d00581882bdad21a0088f8933d785226cb5"
    )
    assert acceptor.authenticate(memoryview(message)).anonymous
    assert not acceptor.signs
    assert len(acceptor.finish(b"")) == 16


def test_a_client_with_a_name_must_keep_session_security() -> None:
    flags = FLAGS & ~messages.NTLMSSP_NEGOTIATE_EXTENDED_SESSIONSECURITY
    with pytest.raises(SmbError) as error:
        challenged().authenticate(authenticate(nt=nt_response(), flags=flags))
    assert error.value.status == NtStatus.INVALID_PARAMETER


@pytest.mark.parametrize("signature", [b"NTLMSSQ\0", b"NTLMSSP1", bytes(8)])
def test_what_is_no_ntlm_has_no_type(signature: bytes) -> None:
    with pytest.raises(MalformedError, match="no NTLMSSP signature"):
        message_type(memoryview(signature + b"\1\0\0\0"))
    assert message_type(memoryview(b"NTLMSSP\0\3\0\0\0")) == 3
