"""NTLM as an acceptor ([MS-NLMP] 3.2), without I/O and without any password's hash.

::

    NEGOTIATE    -> negotiate()    -> CHALLENGE
    AUTHENTICATE -> authenticate() -> LoginProof   (mountd, which has the hashes, checks it)
    key of login -> finish()       -> session key  (and the message integrity code is checked)

NTLMv1 is refused, LOGON_FAILURE, when the response shows it, unless `ntlm auth` permits it: its
keys can be found by brute force. LM always is, and keys made of the LM hash are not granted
(NTLMSSP_NEGOTIATE_LM_KEY, NTLMSSP_REQUEST_NON_NT_SESSION_KEY): nobody stores that hash. As with
smbd, NTLMv2 is taken from clients that know neither Unicode nor extended session security.
"""

import hmac
import secrets
from dataclasses import dataclass, field

from usmbd.protocol.auth import ntlm_messages as messages
from usmbd.protocol.auth.ntlm_messages import Authenticate, ServerNames
from usmbd.protocol.auth.ntlm_security import first_mac, plain_macs
from usmbd.protocol.auth.rc4 import rc4
from usmbd.protocol.wire.status import MalformedError, NtStatus, SmbError

MAX_NAME = 256
"""Characters of a user, domain or workstation: a DNS name or LOGIN_NAME_MAX at the longest."""

MAX_NT_RESPONSE = 16 * 1024
"""Bytes of an NTLMv2 response; Windows stays below 1 KiB."""

MAX_NEGOTIATE = 1024
"""Bytes of a NEGOTIATE_MESSAGE, which is kept until the login ends: 40, and two OEM names."""

MAX_AUTHENTICATE = MAX_NT_RESPONSE + 8 * 1024
"""Bytes of an AUTHENTICATE_MESSAGE: the response, and three names of MAX_NAME characters."""

CHALLENGE_SIZE = 8

_GRANTED_FLAGS = (
    messages.NTLMSSP_NEGOTIATE_UNICODE
    | messages.NTLM_NEGOTIATE_OEM
    | messages.NTLMSSP_REQUEST_TARGET
    | messages.NTLMSSP_NEGOTIATE_SIGN
    | messages.NTLMSSP_NEGOTIATE_SEAL
    | messages.NTLMSSP_NEGOTIATE_ALWAYS_SIGN
    | messages.NTLMSSP_NEGOTIATE_EXTENDED_SESSIONSECURITY
    | messages.NTLMSSP_NEGOTIATE_VERSION
    | messages.NTLMSSP_NEGOTIATE_128
    | messages.NTLMSSP_NEGOTIATE_KEY_EXCH
    | messages.NTLMSSP_NEGOTIATE_56
)
"""What the server grants when the client asks."""

_CHARACTER_SETS = messages.NTLMSSP_NEGOTIATE_UNICODE | messages.NTLM_NEGOTIATE_OEM

_KEPT_FLAGS = (
    messages.NTLMSSP_NEGOTIATE_UNICODE | messages.NTLMSSP_NEGOTIATE_EXTENDED_SESSIONSECURITY
)
"""What a client that had it granted may not drop again."""

_CHECKSUM = 8
"""Where the checksum is in a signature without session security, behind RandomPad (2.2.2.9.1)."""


@dataclass(frozen=True, slots=True)
class LoginProof:
    """What a client brings forward to show who it is; mountd decides.

    `domain` is as the client sent it, for it takes part in the proof. `anonymous` asks for a
    null session: then names and response are empty. `target_name` is the SPN that the client
    meant to reach (`cifs/server`), `channel_bindings` the MD5 of its TLS channel, both empty
    when not sent; they are covered by the proof ([MS-NLMP] 2.2.2.1). `client_challenge` is that of
    NTLMv1 with extended session security (3.3.1).
    """

    user: str
    domain: str
    workstation: str
    server_challenge: bytes
    nt_response: bytes = field(repr=False)
    anonymous: bool = False
    target_name: str = ""
    channel_bindings: bytes = b""
    client_challenge: bytes = b""


class NtlmAcceptor:
    """The server's side of one NTLM authentication.

    Malformed messages raise MalformedError, refused ones another SmbError.
    """

    __slots__ = (
        "_anonymous",
        "_authenticate",
        "_authenticate_message",
        "_challenge_message",
        "_flags",
        "_mic_required",
        "_names",
        "_negotiate_message",
        "_now",
        "_ntlmv1",
        "_server_challenge",
        "_session_key",
    )

    def __init__(
        self,
        names: ServerNames,
        now: int,
        challenge: bytes | None = None,
        *,
        ntlmv1: bool = False,
    ) -> None:
        """Be `names` at the FILETIME `now`; `challenge` (8 bytes) is random unless given."""
        self._ntlmv1 = ntlmv1
        self._names = names
        self._now = now
        self._server_challenge = challenge or secrets.token_bytes(CHALLENGE_SIZE)
        self._flags = 0
        self._negotiate_message = b""
        self._challenge_message = b""
        self._authenticate_message = b""
        self._authenticate: Authenticate | None = None
        self._anonymous = False
        self._mic_required = False
        self._session_key = b""

    @property
    def expects_authenticate(self) -> bool:
        """Tell whether the challenge was sent."""
        return bool(self._challenge_message)

    def negotiate(self, message: memoryview) -> bytes:
        """Take a NEGOTIATE_MESSAGE, return the CHALLENGE_MESSAGE ([MS-NLMP] 3.2.5.1.1)."""
        if messages.message_type(message) != messages.NTLM_NEGOTIATE or self.expects_authenticate:
            raise MalformedError("a NEGOTIATE_MESSAGE was expected")
        if len(message) > MAX_NEGOTIATE:
            raise MalformedError(f"a NEGOTIATE_MESSAGE of {len(message)} bytes")
        wanted = messages.parse_negotiate_flags(message)
        if not wanted & _CHARACTER_SETS:
            raise SmbError(NtStatus.INVALID_PARAMETER)
        flags = wanted & _GRANTED_FLAGS
        if flags & messages.NTLMSSP_NEGOTIATE_UNICODE:
            flags &= ~messages.NTLM_NEGOTIATE_OEM  # one of both ([MS-NLMP] 2.2.2.5)
        flags |= messages.NTLMSSP_NEGOTIATE_NTLM | messages.NTLMSSP_NEGOTIATE_TARGET_INFO
        if flags & messages.NTLMSSP_REQUEST_TARGET:
            flags |= messages.NTLMSSP_TARGET_TYPE_SERVER
        self._flags = flags
        self._negotiate_message = bytes(message)
        self._challenge_message = messages.build_challenge(
            flags, self._server_challenge, self._names, self._now
        )
        return self._challenge_message

    def authenticate(self, message: memoryview) -> LoginProof:
        """Take an AUTHENTICATE_MESSAGE, return what is to be checked ([MS-NLMP] 3.2.5.1.2)."""
        if len(message) > MAX_AUTHENTICATE:
            raise MalformedError(f"an AUTHENTICATE_MESSAGE of {len(message)} bytes")
        if (
            messages.message_type(message) != messages.NTLM_AUTHENTICATE
            or not self.expects_authenticate
            or self._authenticate is not None
        ):
            raise MalformedError("an AUTHENTICATE_MESSAGE was expected")
        granted = self._flags
        parsed = messages.parse_authenticate(message, messages.encoding(granted))
        self._authenticate = parsed
        self._authenticate_message = bytes(message)
        # The client has the last word on what it was granted; it cannot add anything.
        self._flags &= parsed.flags
        # The LM response of an anonymous client is empty or one zero byte ([MS-NLMP] 3.2.5.1.2);
        # Samba's then drops the session security that it had asked for.
        if not parsed.user and not parsed.nt_response and parsed.lm_response in (b"", b"\0"):
            self._anonymous = True
            return LoginProof("", "", "", self._server_challenge, b"", anonymous=True)
        proof = self._proof(parsed)
        if granted & ~self._flags & _KEPT_FLAGS:
            raise SmbError(NtStatus.INVALID_PARAMETER)
        return proof

    def _proof(self, parsed: Authenticate) -> LoginProof:
        """Return the proof of a client that gave a name; SmbError(LOGON_FAILURE) if unusable."""
        names = (parsed.user, parsed.domain, parsed.workstation)
        if max(map(len, names)) > MAX_NAME:
            raise SmbError(NtStatus.LOGON_FAILURE)
        size = len(parsed.nt_response)
        if size == messages.NTLM_RESPONSE_SIZE and self._ntlmv1:
            return self._proof_v1(parsed)
        if not messages.NTLMV2_AV_PAIRS_OFFSET <= size <= MAX_NT_RESPONSE:
            raise SmbError(NtStatus.LOGON_FAILURE)
        pairs = messages.parse_av_pairs(parsed.nt_response)
        av_flags = int.from_bytes(pairs.get(messages.MSV_AV_FLAGS, b""), "little")
        self._mic_required = bool(av_flags & messages.AV_FLAG_MIC_PROVIDED)
        if self._mic_required and not parsed.mic:
            raise MalformedError("the message integrity code is missing")
        bindings = pairs.get(messages.MSV_AV_CHANNEL_BINDINGS, b"")
        return LoginProof(
            *names,
            server_challenge=self._server_challenge,
            nt_response=parsed.nt_response,
            target_name=messages.decode(pairs.get(messages.MSV_AV_TARGET_NAME, b"")),
            # Sixteen zero bytes mean that the client has no channel to bind to.
            channel_bindings=bindings if any(bindings) else b"",
        )

    def _proof_v1(self, parsed: Authenticate) -> LoginProof:
        """Return an NTLMv1 proof ([MS-NLMP] 3.3.1): it has no AV pairs, and so promises no MIC."""
        challenge = b""
        if self._flags & messages.NTLMSSP_NEGOTIATE_EXTENDED_SESSIONSECURITY:
            if len(parsed.lm_response) != messages.NTLM_RESPONSE_SIZE:
                raise SmbError(NtStatus.LOGON_FAILURE)
            challenge = parsed.lm_response[:CHALLENGE_SIZE]
        return LoginProof(
            *(parsed.user, parsed.domain, parsed.workstation),
            server_challenge=self._server_challenge,
            nt_response=parsed.nt_response,
            client_challenge=challenge,
        )

    def finish(self, exchange_key: bytes) -> bytes:
        """Return the session key (16 bytes), after mountd accepted the proof.

        `exchange_key` is KeyExchangeKey ([MS-NLMP] 3.4.5.1), by NTLMv2 SessionBaseKey itself. An
        empty one says that there is none: a null session's is zeros, and a guest has no key at all
        (empty), since the server knows nothing of the client's password. SmbError(LOGON_FAILURE)
        if the message integrity code is wrong.
        """
        parsed = self._authenticate
        if parsed is None:
            raise MalformedError("no AUTHENTICATE_MESSAGE came yet")
        if not exchange_key:
            if not self._anonymous:
                return b""
            exchange_key = bytes(messages.SESSION_KEY_SIZE)
        self._session_key = self._exported_session_key(parsed, exchange_key)
        if self._mic_required:
            covered = (
                self._negotiate_message
                + self._challenge_message
                + messages.without_mic(self._authenticate_message)
            )
            mic = hmac.digest(self._session_key, covered, "md5")
            if not hmac.compare_digest(mic, parsed.mic):
                raise SmbError(NtStatus.LOGON_FAILURE)
        return self._session_key

    def _exported_session_key(self, parsed: Authenticate, exchange_key: bytes) -> bytes:
        """Return ExportedSessionKey: the client's own, if it sent one ([MS-NLMP] 3.2.5.1.2)."""
        if not self._flags & messages.NTLMSSP_NEGOTIATE_KEY_EXCH:
            return exchange_key
        sealed = parsed.encrypted_session_key
        protects = messages.NTLMSSP_NEGOTIATE_SIGN | messages.NTLMSSP_NEGOTIATE_SEAL
        if not sealed and not self._flags & protects:
            return exchange_key
        if len(sealed) != messages.SESSION_KEY_SIZE:
            raise SmbError(NtStatus.INVALID_PARAMETER)
        return rc4(exchange_key, sealed)

    @property
    def signs(self) -> bool:
        """Tell whether both sides agreed on signatures."""
        extended = self._flags & messages.NTLMSSP_NEGOTIATE_EXTENDED_SESSIONSECURITY
        if self._anonymous and not extended:
            return False  # Samba's nobody drops session security, and signs nothing
        return bool(self._flags & messages.NTLMSSP_NEGOTIATE_SIGN)

    def countersign(self, message: bytes, mac: bytes) -> bytes | None:
        """Return the server's signature of a message, its first; None unless the client's fits."""
        key = self._session_key
        if self._flags & messages.NTLMSSP_NEGOTIATE_EXTENDED_SESSIONSECURITY:
            right = first_mac(self._flags, key, False, message)
            own = first_mac(self._flags, key, True, message)
        else:
            right, own = plain_macs(key, message)
            mac, right = mac[_CHECKSUM:], right[_CHECKSUM:]
        return own if hmac.compare_digest(mac, right) else None
