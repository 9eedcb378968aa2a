"""Whether a Kerberos token is good for this server ([RFC4121], [MS-KILE] 3.4).

The library does the work (MIT's, by python-gssapi): it decrypts the ticket with a key of the
keytab, looks at the times, refuses what it has seen before, and checks the PAC's signature by that
key. Here is added what a file server has to ask besides: that the ticket was meant for one, that it
is of somebody, and that a PAC that is there is signed.

Channel bindings are not asked for: SMB over TCP has no channel of its own to bind to. A ticket
that was meant for a TLS service is refused because of its name.
"""

import functools
import importlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from usmbd.mountd.kerberos.pac import LogonInfo, parse_logon_info
from usmbd.mountd.kerberos.principals import Principal, parse_principal
from usmbd.mountd.plain_file import check_file

ARCFOUR: Final = 23
"""RC4's encryption type ([RFC4757] 5)."""

SERVICES: Final = ("cifs", "host")
"""Whose keys are used: tickets for a file server, which Windows' domains give in the name of `host`
as well. One that was sent to a web or an LDAP server of this machine is none, unless both have the
same key: then the name in a ticket, which nothing protects, shows nothing."""

MIN_KEY, MAX_KEY = 16, 32
"""Bytes of a session key that SMB2 can use: not those of DES."""

_KERBEROS = "1.2.840.113554.1.2.2"
_SESSION_KEY = "1.2.840.113554.1.2.2.5.5"
"""GSS_C_INQ_SSPI_SESSION_KEY: the acceptor's subkey, else the initiator's, as Windows counts."""

_PAC = b"urn:mspac:"
_LOGON_INFO = b"urn:mspac:logon-info"


class UnavailableError(Exception):
    """Kerberos cannot be had, and why."""


class RefusedError(Exception):
    """A token is not good, and why (for the log alone)."""


@functools.cache
def _library() -> Any:
    """Return python-gssapi's low-level interface, loaded when it is used; UnavailableError."""
    try:
        return importlib.import_module("gssapi.raw")
    except ImportError as error:
        raise UnavailableError(
            f"{error}: install python-gssapi (python3-gssapi of Debian, or usmbd[kerberos])"
        ) from error


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn the library's errors into RefusedError."""
    try:
        yield
    except _library().GSSError as error:
        raise RefusedError(_told(error)) from error


@dataclass(frozen=True, slots=True)
class Accepted:
    """A client that has shown a ticket."""

    principal: Principal
    token: bytes
    """What it is to be answered."""
    session_key: bytes = field(repr=False)
    expires: int
    """Seconds since 1970: the ticket's end, and the skew of clocks that is let pass."""
    logon_info: LogonInfo | None
    """What the domain says of the user, by a PAC with a good signature; None without one."""
    context: object = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """Return the server's signature of SPNEGO's list."""
        with _refusing():
            return bytes(_library().get_mic(self.context, message))

    def check(self, message: bytes, mic: bytes) -> None:
        """Check the client's; RefusedError."""
        with _refusing():
            _library().verify_mic(self.context, message, mic)

    def export(self) -> "Exported":
        """Return what protects messages, after which the context is gone; RefusedError."""
        with _refusing():
            lucid = _library().krb5_export_lucid_sec_context(self.context, 1)
        if lucid.protocol != 1:
            old = lucid.rfc1964_kd
            if old.key_type != ARCFOUR:
                raise RefusedError("its ticket's encryption is one of old (DES)")
            return Exported(ARCFOUR, bytes(old.key), False, lucid.send_seq, lucid.recv_seq)
        keys = lucid.cfx_kd
        subkey = keys.acceptor_subkey_type is not None
        return Exported(
            keys.acceptor_subkey_type if subkey else keys.ctx_key_type,
            bytes(keys.acceptor_subkey if subkey else keys.ctx_key),
            subkey,
            lucid.send_seq,
            lucid.recv_seq,
        )


@dataclass(frozen=True, slots=True)
class Exported:
    """What protects messages by a context, away from the library ([RFC4121] 2)."""

    kind: int
    """The encryption type of the key."""
    key: bytes = field(repr=False)
    subkey: bool
    """The key is the acceptor's."""
    sending: int
    receiving: int
    """The numbers of the next messages."""


@dataclass(frozen=True, slots=True)
class Half:
    """A client whose context wants another token (DCE style, [MS-KILE] 3.4.5.4)."""

    token: bytes
    """What it is to be answered first."""
    context: object = field(repr=False)
    credentials: object = field(repr=False)

    def finish(self, token: bytes) -> Accepted:
        """Take its last token; RefusedError."""
        found = _step(token, self.credentials, self.context)
        if isinstance(found, Half):
            raise RefusedError("there is no end of tokens")
        return found


def _check(keytab: str) -> None:
    """Refuse a keytab that the library would wait for: a pipe, say; UnavailableError."""
    kind, _, path = keytab.rpartition(":")
    if path.startswith("/") and kind in ("", "FILE", "WRFILE"):
        try:
            check_file(path)
        except OSError as error:
            raise UnavailableError(f"keytab {path}: {error.strerror}") from error


class Acceptor:
    """The keytab, and what is asked of tickets."""

    def __init__(self, keytab: str, service: str = "") -> None:
        """Take a keytab (`FILE:/path`, a path, "" for the library's own) and the wanted service.

        `service`: SERVICE or SERVICE/HOST or SERVICE/HOST@REALM; empty: any of `SERVICES`.
        UnavailableError where the library, the keytab or a key of such a service is missing.
        """
        raw = _library()
        _check(keytab)
        self._credentials = []
        problem: Exception | None = None
        for name in [service] if service else SERVICES:
            # A service's name without a host is any host's: the keytab has this machine's alone.
            kinds = raw.NameType
            kind = kinds.kerberos_principal if "/" in name else kinds.hostbased_service
            try:
                found = raw.acquire_cred_from(
                    {b"keytab": keytab.encode()} if keytab else None,
                    name=raw.import_name(name.encode(), kind),
                    mechs=[raw.OID.from_int_seq(_KERBEROS)],
                    usage="accept",
                )
            except raw.GSSError as error:
                problem = problem or error
            else:
                self._credentials.append(found.creds)
        if not self._credentials and problem is not None:
            raise UnavailableError(_told(problem)) from problem

    def accept(self, token: bytes) -> Accepted:
        """Take a client's only token; RefusedError."""
        found = self.begin(token)
        if isinstance(found, Half):
            raise RefusedError("the client speaks another kind of Kerberos (DCE style)")
        return found

    def begin(self, token: bytes) -> Accepted | Half:
        """Take a client's first token; RefusedError."""
        problem: RefusedError | None = None
        for credentials in self._credentials:
            try:
                return _step(token, credentials)
            except RefusedError as error:
                problem = problem or error
        assert problem is not None
        raise problem


def _step(token: bytes, credentials: object, context: object = None) -> Accepted | Half:
    """Take a token by the keys of one service; RefusedError."""
    raw = _library()
    try:
        with _refusing():
            result = raw.accept_sec_context(token, acceptor_creds=credentials, context=context)
            context = result.context
            if result.more_steps:
                return Half(bytes(result.token or b""), context, credentials)
            facts = raw.inquire_context(context)
            target = str(raw.display_name(facts.target_name, False).name, "utf-8")
            client = str(raw.display_name(facts.initiator_name, False).name, "utf-8")
            principal = parse_principal(client, target.rpartition("@")[2])
            of_key = raw.OID.from_int_seq(_SESSION_KEY)
            key = bytes(raw.inquire_sec_context_by_oid(context, of_key)[0])
            logon_info = _logon_info(raw, facts.initiator_name)
    except ValueError as error:
        raise RefusedError(str(error)) from error
    if not MIN_KEY <= len(key) <= MAX_KEY:
        raise RefusedError(f"its session key has {len(key)} bytes")
    expires = int(time.time()) + int(facts.lifetime or 0)
    return Accepted(principal, bytes(result.token or b""), key, expires, logon_info, context)


def _logon_info(raw: Any, name: object) -> LogonInfo | None:
    """Return the PAC's logon information, None where there is none; RefusedError.

    The library has checked the server's signature ([MS-PAC] 2.8.1) and that it is the PAC of this
    principal; where one of both is wrong, it lists what is in the PAC and tells nothing of it.
    """
    attributes = raw.inquire_name(name, mech_name=False).attrs or ()
    if _PAC not in attributes:
        return None
    try:
        good = raw.get_name_attribute(name, _PAC).authenticated
        if good and _LOGON_INFO in attributes:
            return parse_logon_info(raw.get_name_attribute(name, _LOGON_INFO).values[0])
    except raw.GSSError:
        good = False
    if not good:
        raise RefusedError("the signature of its PAC is wrong")
    return None


def _told(error: Exception) -> str:
    """Return an error of the library in one line."""
    return " ".join(str(error).split())
