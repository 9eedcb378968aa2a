"""Kerberos tickets made by the holder of a service's key, and MIT's library as the client.

With the key of the keytab a test says everything of a ticket that a KDC would: the names, the
times, the PAC and its signatures. The exchange itself is the library's on both sides.
"""

import os
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from impacket.dcerpc.v5.dtypes import NULL
from impacket.dcerpc.v5.samr import GROUP_MEMBERSHIP
from impacket.krb5 import asn1, constants, crypto, pac, types
from pyasn1.codec.der import encoder

REALM = "USMBD.TEST"
SERVICE = "cifs/server.usmbd.test"
AES256 = 18
SIGNATURE = 16  # HMAC-SHA1-96 by AES-256
_EPOCH = 11644473600
_DOMAIN_SID = "S-1-5-21-1-2-3"


@dataclass
class Pac:
    """What a domain's KDC says of a user."""

    rid: int = 1106
    groups: tuple[int, ...] = (513, 1200)
    extra: tuple[str, ...] = ()
    domain: str = "DOM"
    sid: str = _DOMAIN_SID
    good: bool = True
    """Whether the server's signature is right."""
    name: str = ""
    """Whose it is said to be; empty: the ticket's user's."""
    resource: tuple[str, tuple[int, ...]] = ("", ())
    """The domain and the RIDs of its local groups."""


@dataclass
class Forge:
    """A realm that consists of one service's key."""

    folder: Path
    service: str = SERVICE
    realm: str = REALM
    key: Any = field(default_factory=lambda: crypto.Key(AES256, os.urandom(32)))
    made: int = 0

    def __post_init__(self) -> None:
        """Write what the library reads: its configuration and the keytab."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.configuration.write_text(
            f"[libdefaults]\n default_realm = {self.realm}\n dns_canonicalize_hostname = false\n"
            " dns_lookup_kdc = false\n dns_lookup_realm = false\n rdns = false\n clockskew = 1\n"
        )
        self.keytab.write_bytes(b"\5\2" + self._entry(self.service))

    @property
    def configuration(self) -> Path:
        """For KRB5_CONFIG."""
        return self.folder / "krb5.conf"

    @property
    def keytab(self) -> Path:
        """For `dedicated keytab file`."""
        return self.folder / "server.keytab"

    def prefer(self, cipher: str) -> None:
        """Have both sides agree on keys of this encryption type."""
        said = self.configuration.read_text()
        line = f"[libdefaults]\n permitted_enctypes = {cipher} aes256-cts-hmac-sha1-96\n"
        self.configuration.write_text(said.replace("[libdefaults]\n", line, 1))

    def add(self, service: str) -> None:
        """Give another name the same key."""
        with self.keytab.open("ab") as stream:
            stream.write(self._entry(service))

    def _entry(self, name: str) -> bytes:
        """Return a keytab's entry."""

        def counted(data: bytes) -> bytes:
            return struct.pack(">H", len(data)) + data

        parts = name.split("/")
        entry = struct.pack(">H", len(parts)) + counted(self.realm.encode())
        entry += b"".join(counted(part.encode()) for part in parts)
        entry += struct.pack(">IIBH", 1, 0, 1, AES256) + counted(self.key.contents)
        return struct.pack(">i", len(entry)) + entry

    def ticket(
        self,
        user: str = "alice",
        *,
        realm: str = "",
        service: str = "",
        seconds: int = 3600,
        since: int = 10,
        pac: Pac | None = None,
        session_kind: int = AES256,
    ) -> str:
        """Return a cache (for `store`) that holds a ticket of the user for the service."""
        realm, service = realm or self.realm, service or self.service
        session = os.urandom(16 if session_kind in (17, 19, 23) else 32)
        now = datetime.now(UTC).replace(microsecond=0)
        begin, end = now - timedelta(seconds=since), now + timedelta(seconds=seconds)
        client = types.Principal(
            (user.split("/"), realm), type=constants.PrincipalNameType.NT_PRINCIPAL.value
        )
        server = types.Principal(
            (service.split("/"), self.realm), type=constants.PrincipalNameType.NT_SRV_INST.value
        )
        inner = asn1.EncTicketPart()
        inner["flags"] = constants.encodeFlags([])
        inner["key"]["keytype"], inner["key"]["keyvalue"] = session_kind, session
        inner["crealm"] = realm
        asn1.seq_set(inner, "cname", client.components_to_asn1)
        inner["transited"]["tr-type"], inner["transited"]["contents"] = 0, b""
        inner["authtime"] = types.KerberosTime.to_asn1(begin)
        inner["starttime"] = types.KerberosTime.to_asn1(begin)
        inner["endtime"] = types.KerberosTime.to_asn1(end)
        if pac is not None:
            wrapped = asn1.AD_IF_RELEVANT()
            wrapped[0]["ad-type"] = 128  # AD-WIN2K-PAC
            wrapped[0]["ad-data"] = self._pac(pac, pac.name or user, begin)
            inner["authorization-data"][0]["ad-type"] = 1
            inner["authorization-data"][0]["ad-data"] = encoder.encode(wrapped)
        ticket = asn1.Ticket()
        ticket["tkt-vno"], ticket["realm"] = 5, self.realm
        asn1.seq_set(ticket, "sname", server.components_to_asn1)
        ticket["enc-part"]["etype"], ticket["enc-part"]["kvno"] = AES256, 1
        ticket["enc-part"]["cipher"] = crypto._enctype_table[AES256].encrypt(
            self.key, 2, encoder.encode(inner), None
        )
        session_key = struct.pack(">HI", session_kind, len(session)) + session
        return self._cache(client, realm, server, session_key, encoder.encode(ticket), begin, end)

    def _cache(
        self, client: Any, realm: str, server: Any, session_key: bytes, ticket: bytes,
        begin: datetime, end: datetime,
    ) -> str:  # fmt: skip
        """Write a credential cache (version 4) with one ticket."""

        def counted(data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + data

        def principal(name: Any, realm: str) -> bytes:
            parts = [str(part).encode() for part in name.components]
            head = struct.pack(">II", name.type, len(parts)) + counted(realm.encode())
            return head + b"".join(map(counted, parts))

        self.made += 1
        path = self.folder / f"cache-{self.made}"
        times = [int(begin.timestamp()), int(begin.timestamp()), int(end.timestamp()), 0]
        path.write_bytes(
            b"\5\4\0\0"
            + principal(client, realm)
            + principal(client, realm)
            + principal(server, self.realm)
            + session_key
            + struct.pack(">IIII", *times)
            + b"\0"
            + struct.pack(">III", 0, 0, 0)
            + counted(ticket)
            + counted(b"")
        )
        return f"FILE:{path}"

    def _pac(self, facts: Pac, user: str, begin: datetime) -> bytes:
        """Return a signed PAC ([MS-PAC] 2.3)."""
        name = user.encode("utf-16-le")
        filetime = (int(begin.timestamp()) + _EPOCH) * 10**7
        client = struct.pack("<QH", filetime, len(name)) + name
        empty = struct.pack("<I", SIGNATURE) + bytes(12)
        contents = {
            pac.PAC_LOGON_INFO: _logon_info(facts, user),
            pac.PAC_CLIENT_INFO_TYPE: client,
            pac.PAC_SERVER_CHECKSUM: empty,
            pac.PAC_PRIVSVR_CHECKSUM: empty,
        }
        head, body, at = struct.pack("<II", len(contents), 0), b"", 8 + 16 * len(contents)
        start = 0
        for kind, data in contents.items():
            if kind == pac.PAC_SERVER_CHECKSUM:
                start = at + len(body) + 4
            head += struct.pack("<IIQ", kind, len(data), at + len(body))
            body += data + bytes(-len(data) % 8)
        whole = bytearray(head + body)
        check = crypto._checksum_table[SIGNATURE].checksum(self.key, 17, bytes(whole))
        if not facts.good:
            check = bytes(12)
        whole[start : start + 12] = check
        return bytes(whole)


def _logon_info(facts: Pac, user: str) -> bytes:
    """Return KERB_VALIDATION_INFO in its serialization ([MS-PAC] 2.5)."""
    info = pac.KERB_VALIDATION_INFO()
    for each in ("LogonTime", "LogoffTime", "KickOffTime"):
        info[each]["dwLowDateTime"], info[each]["dwHighDateTime"] = 0xFFFFFFFF, 0x7FFFFFFF
    for each in ("PasswordLastSet", "PasswordCanChange", "PasswordMustChange"):
        info[each]["dwLowDateTime"] = info[each]["dwHighDateTime"] = 0
    info["LastSuccessfulILogon"]["dwLowDateTime"] = 0
    info["LastSuccessfulILogon"]["dwHighDateTime"] = 0
    info["LastFailedILogon"]["dwLowDateTime"] = info["LastFailedILogon"]["dwHighDateTime"] = 0
    info["EffectiveName"] = user
    for each in ("FullName", "LogonScript", "ProfilePath", "HomeDirectory", "HomeDirectoryDrive"):
        info[each] = ""
    info["LogonServer"], info["LogonDomainName"] = "DC", facts.domain
    info["LogonCount"] = info["BadPasswordCount"] = info["SubAuthStatus"] = 0
    info["FailedILogonCount"] = info["Reserved3"] = 0
    info["UserId"], info["PrimaryGroupId"] = facts.rid, facts.groups[0]
    info["GroupCount"] = len(facts.groups)
    info["GroupIds"] = [_membership(rid) for rid in facts.groups]
    info["UserFlags"] = 0x20 if facts.extra else 0
    info["UserSessionKey"] = bytes(16)
    info["LogonDomainId"].fromCanonical(facts.sid)
    info["LMKey"] = bytes(8)
    info["UserAccountControl"] = 0x200
    info["SidCount"] = len(facts.extra)
    if facts.extra:
        sids = pac.PKERB_SID_AND_ATTRIBUTES_ARRAY()
        for text in facts.extra:
            each = pac.KERB_SID_AND_ATTRIBUTES()
            each["Sid"].fromCanonical(text)
            each["Attributes"] = 7
            sids["Data"].append(each)
        info["ExtraSids"] = sids
    else:
        info["ExtraSids"] = NULL
    domain, rids = facts.resource
    info["ResourceGroupCount"] = len(rids)
    if rids:
        info["ResourceGroupDomainSid"].fromCanonical(domain)
        info["ResourceGroupIds"] = [_membership(rid) for rid in rids]
    else:
        info["ResourceGroupDomainSid"] = NULL
        info["ResourceGroupIds"] = NULL
    whole = pac.VALIDATION_INFO()
    whole["Data"] = info
    return bytes(whole.getData() + whole.getDataReferents())


def _membership(rid: int) -> Any:
    """Return GROUP_MEMBERSHIP."""
    group = GROUP_MEMBERSHIP()
    group["RelativeId"], group["Attributes"] = rid, 7
    return group


class Initiator:
    """A client that has a ticket: MIT's library, by python-gssapi."""

    def __init__(
        self, cache: str, service: str = SERVICE, *, mutual: bool = True, dce: bool = False
    ) -> None:
        """Take the cache of `Forge.ticket` or of kinit, and whom the client means to reach.

        `dce`: as clients of DCE/RPC do it, in three tokens.
        """
        from gssapi import raw

        self.raw = raw
        kerberos = raw.OID.from_int_seq("1.2.840.113554.1.2.2")
        self._name = raw.import_name(service.encode(), raw.NameType.kerberos_principal)
        self._options = {
            "creds": raw.acquire_cred_from({b"ccache": cache.encode()}, usage="initiate").creds,
            "mech": kerberos,
            "flags": [raw.RequirementFlag.mutual_authentication]
            if mutual
            else [raw.RequirementFlag.integrity],
        }
        if dce:
            kinds = raw.RequirementFlag
            self._options["flags"] += [kinds.dce_style, kinds.integrity, kinds.confidentiality]
        begun = raw.init_sec_context(self._name, **self._options)
        self._context = begun.context
        self.token = bytes(begun.token)

    def finish(self, token: bytes) -> bytes:
        """Take the server's answer, and return the client's, which DCE style has.

        The library raises when it is not the right server.
        """
        if not token:
            return b""
        done = self.raw.init_sec_context(
            self._name, context=self._context, input_token=token, **self._options
        )
        return bytes(done.token or b"")

    @property
    def key(self) -> bytes:
        """The session key."""
        oid = self.raw.OID.from_int_seq("1.2.840.113554.1.2.2.5.5")
        return bytes(self.raw.inquire_sec_context_by_oid(self._context, oid)[0])

    def sign(self, message: bytes) -> bytes:
        """Sign SPNEGO's list."""
        return bytes(self.raw.get_mic(self._context, message))

    def verify(self, message: bytes, mic: bytes) -> None:
        """Check the server's signature of it."""
        self.raw.verify_mic(self._context, message, mic)

    def protect(
        self, head: bytes, stub: bytes, tail: bytes, *, sealed: bool
    ) -> tuple[bytes, bytes]:
        """Return a call's stub and token; head and tail are signed alone."""
        message = self._buffers(head, stub, tail, True, sealed=sealed)
        if sealed:
            self.raw.wrap_iov(self._context, message)
        else:
            self.raw.get_mic_iov(self._context, message)
        return bytes(message[2].value), bytes(message[0].value)

    def unprotect(
        self, head: bytes, stub: bytes, tail: bytes, token: bytes, *, sealed: bool
    ) -> bytes:
        """Return an answer's stub; the library raises when its token is wrong."""
        message = self._buffers(head, stub, tail, token, sealed=sealed)
        if sealed:
            self.raw.unwrap_iov(self._context, message)
        else:
            self.raw.verify_mic_iov(self._context, message)
        return bytes(message[2].value)

    def _buffers(
        self, head: bytes, stub: bytes, tail: bytes, token: bytes | bool, *, sealed: bool
    ) -> Any:
        """Return what the library works on: the token, and the three parts of a message."""
        kinds = self.raw.IOVBufferType
        allocate, value = (token, None) if isinstance(token, bool) else (False, token)
        return self.raw.IOV(
            (kinds.header if sealed else kinds.mic_token, allocate, value),
            (kinds.sign_only, False, head),
            (kinds.data, False, stub),
            (kinds.sign_only, False, tail),
            std_layout=False,
        )
