"""SMB2 NEGOTIATE ([MS-SMB2] 3.3.5.3, 3.3.5.4): the dialect, what it can, and the algorithms."""

import logging
import secrets
import time

from usmbd.mountd.ipc.settings import Encryption, Signing
from usmbd.protocol.auth.spnego import negotiate_hint
from usmbd.protocol.commands.request import Answer, Request
from usmbd.protocol.compression.transform import Compression
from usmbd.protocol.compression.transform import negotiate as negotiate_compression
from usmbd.protocol.state.connection import CREDIT_SIZE, Connection
from usmbd.protocol.wire.body import Parts, parse_body
from usmbd.protocol.wire.filetime import from_ns
from usmbd.protocol.wire.negotiate import (
    SMB1_DIALECT_2XX,
    SMB1_DIALECT_202,
    SMB2_DIALECT_202,
    SMB2_DIALECT_210,
    SMB2_DIALECT_300,
    SMB2_DIALECT_302,
    SMB2_DIALECT_311,
    SMB2_DIALECT_WILDCARD,
    SMB2_GLOBAL_CAP_DFS,
    SMB2_GLOBAL_CAP_DIRECTORY_LEASING,
    SMB2_GLOBAL_CAP_ENCRYPTION,
    SMB2_GLOBAL_CAP_LARGE_MTU,
    SMB2_GLOBAL_CAP_LEASING,
    SMB2_GLOBAL_CAP_MULTI_CHANNEL,
    SMB2_GLOBAL_CAP_PERSISTENT_HANDLES,
    SMB2_NEGOTIATE_SIGNING_ENABLED,
    SMB2_NEGOTIATE_SIGNING_REQUIRED,
    NegotiateRequest,
    NegotiateResponse,
    build_negotiate_response,
    parse_dialects,
    parse_negotiate_contexts,
    parse_smb1_dialects,
)
from usmbd.protocol.wire.negotiate_contexts import (
    AES_128_CCM,
    AES_128_GCM,
    AES_256_CCM,
    AES_256_GCM,
    SHA_512,
    SIGNING_AES_CMAC,
    SIGNING_AES_GMAC,
    SIGNING_HMAC_SHA256,
    SMB2_COMPRESSION_CAPABILITIES_FLAG_CHAINED,
    SMB2_COMPRESSION_CAPABILITIES_FLAG_NONE,
    SMB2_RDMA_TRANSFORM_ENCRYPTION,
    SMB2_RDMA_TRANSFORM_SIGNING,
    NegotiateContexts,
    compression_context,
    encryption_context,
    posix_extensions_context,
    preauth_integrity_context,
    rdma_transform_context,
    signing_context,
)
from usmbd.protocol.wire.status import NtStatus, SmbError

log = logging.getLogger("usmbd.smb")

DIALECTS = (
    SMB2_DIALECT_311,
    SMB2_DIALECT_302,
    SMB2_DIALECT_300,
    SMB2_DIALECT_210,
    SMB2_DIALECT_202,
)

SALT_SIZE = 32
"""Bytes of salt in the preauthentication context, as Windows sends."""

SIGNING_PREFERENCE = (SIGNING_AES_GMAC, SIGNING_AES_CMAC, SIGNING_HMAC_SHA256)
"""GMAC signs 1 MiB in 0.1 ms, CMAC in 0.8, HMAC-SHA256 in 3.3."""


def negotiate(request: Request) -> Answer:
    """Answer an SMB2 NEGOTIATE; a second one ends the connection ([MS-SMB2] 3.3.5.4)."""
    connection = request.connection
    if connection.negotiated and not connection.multi_protocol:
        request.disconnect("a second NEGOTIATE")
    body = parse_body(NegotiateRequest, request.message)
    dialects = parse_dialects(request.message, body)
    dialect = _choose_dialect(connection, dialects)
    contexts = None
    if dialect == SMB2_DIALECT_311:
        contexts = parse_negotiate_contexts(request.message, body)
        if SHA_512 not in (contexts.hash_algorithms or ()):
            raise SmbError(NtStatus.SMB_NO_PREAUTH_INTEGRITY_HASH_OVERLAP)
    connection.multi_protocol = False
    connection.dialects = dialects
    connection.client_guid = body.client_guid
    connection.client_capabilities = body.capabilities
    connection.client_security_mode = body.security_mode
    _settle(connection, dialect)
    answers = _choose_algorithms(connection, contexts) if contexts is not None else None
    if (
        connection.server.config.encryption in (Encryption.DESIRED, Encryption.REQUIRED)
        and connection.cipher_id
        and SMB2_RDMA_TRANSFORM_ENCRYPTION not in connection.rdma_transform_ids
    ):
        connection.keep_reads_inline()
    if dialect == SMB2_DIALECT_311:
        connection.preauth.update(request.message)
        request.on_reply = connection.preauth.update
    return list(_response(connection, dialect, answers))


def negotiate_smb1(connection: Connection, message: memoryview) -> Parts:
    """Answer an SMB1 NEGOTIATE that offers SMB2; SmbError(NOT_SUPPORTED) when it does not."""
    offered = parse_smb1_dialects(message)
    if SMB1_DIALECT_2XX in offered and connection.server.config.max_protocol > SMB2_DIALECT_202:
        connection.multi_protocol = True
        connection.negotiated = True
        return _response(connection, SMB2_DIALECT_WILDCARD, None)
    if SMB1_DIALECT_202 in offered:
        dialect = _choose_dialect(connection, (SMB2_DIALECT_202,))
        _settle(connection, dialect)
        return _response(connection, dialect, None)
    raise SmbError(NtStatus.NOT_SUPPORTED)


def _choose_dialect(connection: Connection, offered: tuple[int, ...]) -> int:
    """Return the newest dialect that both sides admit; SmbError(NOT_SUPPORTED)."""
    config = connection.server.config
    for dialect in DIALECTS:
        if dialect in offered and config.min_protocol <= dialect <= config.max_protocol:
            return dialect
    raise SmbError(NtStatus.NOT_SUPPORTED)


def _settle(connection: Connection, dialect: int) -> None:
    """Set what follows from the dialect alone ([MS-SMB2] 3.3.5.4)."""
    config = connection.server.config
    connection.negotiated = True
    connection.dialect = dialect
    capabilities = SMB2_GLOBAL_CAP_DFS if config.dfs else 0
    if dialect > SMB2_DIALECT_202:
        capabilities |= SMB2_GLOBAL_CAP_LARGE_MTU
        connection.supports_multi_credit = True
        connection.set_sizes(config.smb2_max_read, config.smb2_max_write, config.smb2_max_trans)
        if config.leases:
            capabilities |= SMB2_GLOBAL_CAP_LEASING
            connection.server.caching.leases.connected(connection)
    else:
        connection.set_sizes(CREDIT_SIZE, CREDIT_SIZE, CREDIT_SIZE)
    if dialect >= SMB2_DIALECT_300:
        if config.directory_leases and capabilities & SMB2_GLOBAL_CAP_LEASING:
            capabilities |= SMB2_GLOBAL_CAP_DIRECTORY_LEASING
        asked = connection.client_capabilities
        if config.persistent_handles and connection.server.persistence.ready:
            capabilities |= SMB2_GLOBAL_CAP_PERSISTENT_HANDLES & asked
        if config.multichannel:
            capabilities |= SMB2_GLOBAL_CAP_MULTI_CHANNEL & asked
        if dialect < SMB2_DIALECT_311 and config.encryption is not Encryption.OFF:
            # 3.0 and 3.0.2 know one cipher; 3.1.1 says it in a context.
            capabilities |= SMB2_GLOBAL_CAP_ENCRYPTION & asked
            if asked & SMB2_GLOBAL_CAP_ENCRYPTION:
                connection.cipher_id = AES_128_CCM
    connection.server_capabilities = capabilities
    connection.signing_algorithm_id = (
        SIGNING_AES_CMAC if dialect >= SMB2_DIALECT_300 else SIGNING_HMAC_SHA256
    )


def _choose_algorithms(
    connection: Connection, contexts: NegotiateContexts
) -> list[tuple[int, bytes]]:
    """Choose cipher, signing and RDMA transforms of 3.1.1; return the answering contexts."""
    answers = [preauth_integrity_context(secrets.token_bytes(SALT_SIZE))]
    if contexts.ciphers is not None:
        if connection.server.config.encryption is not Encryption.OFF:
            connection.cipher_id = _choose_cipher(contexts.ciphers)
        answers.append(encryption_context(connection.cipher_id))
    if contexts.compression_algorithms is not None:
        if connection.server.config.compression:
            connection.compression = negotiate_compression(
                contexts.compression_algorithms, contexts.compression_flags
            )
        answers.append(_compression_answer(connection.compression))
    if contexts.signing_algorithms is not None:
        chosen = next((a for a in SIGNING_PREFERENCE if a in contexts.signing_algorithms), None)
        if chosen is not None:
            connection.signing_algorithm_id = chosen
            answers.append(signing_context(chosen))
    if contexts.rdma_transforms is not None:
        # By TCP too: a client offers its further channels by RDMA no more than what the first
        # channel's answer had in common ([MS-SMB2] 3.2.4.2.2.2).
        connection.rdma_transform_ids = tuple(
            transform
            for transform in (SMB2_RDMA_TRANSFORM_ENCRYPTION, SMB2_RDMA_TRANSFORM_SIGNING)
            if transform in contexts.rdma_transforms
            and (connection.cipher_id or transform != SMB2_RDMA_TRANSFORM_ENCRYPTION)
        )
        answers.append(rdma_transform_context(connection.rdma_transform_ids))
    if contexts.posix_extensions and connection.server.config.posix_extensions:
        connection.posix_extensions = True
        answers.append(posix_extensions_context())
    return answers


def _compression_answer(chosen: Compression | None) -> tuple[int, bytes]:
    """Return the context that says what is common ([MS-SMB2] 2.2.4.1.3)."""
    if chosen is None:
        return compression_context((), SMB2_COMPRESSION_CAPABILITIES_FLAG_NONE)
    flags = SMB2_COMPRESSION_CAPABILITIES_FLAG_NONE
    if chosen.chained:
        flags = SMB2_COMPRESSION_CAPABILITIES_FLAG_CHAINED
    return compression_context(chosen.ids, flags)


def _choose_cipher(offered: tuple[int, ...]) -> int:
    """Return the client's first GCM cipher, else its first CCM, which is 7 times slower; or 0."""
    for family in ((AES_128_GCM, AES_256_GCM), (AES_128_CCM, AES_256_CCM)):
        for cipher in offered:
            if cipher in family:
                return cipher
    return 0


def _response(
    connection: Connection, dialect: int, contexts: list[tuple[int, bytes]] | None
) -> Parts:
    """Build the response; the wildcard dialect has the limits of 2.0.2's successor."""
    config = connection.server.config
    mode = SMB2_NEGOTIATE_SIGNING_ENABLED
    if config.signing is Signing.MANDATORY:
        mode |= SMB2_NEGOTIATE_SIGNING_REQUIRED
    connection.server_security_mode = mode
    response = NegotiateResponse(
        security_mode=mode,
        dialect_revision=dialect,
        server_guid=connection.server.guid,
        capabilities=connection.server_capabilities,
        max_transact_size=connection.max_transact_size,
        max_read_size=connection.max_read_size,
        max_write_size=connection.max_write_size,
        system_time=from_ns(time.time_ns()),
        server_start_time=0,
    )
    hint = negotiate_hint(kerberos=config.kerberos, ntlm=config.ntlm)
    return build_negotiate_response(response, hint, contexts)


def validate_negotiate(
    connection: Connection, capabilities: int, guid: bytes, mode: int, dialects: tuple[int, ...]
) -> tuple[int, bytes, int, int] | None:
    """Check what a client says of its NEGOTIATE ([MS-SMB2] 3.3.5.15.12).

    Returns capabilities, GUID, security mode and dialect of the server, or None when an
    attacker changed the NEGOTIATE: the connection is to be closed.
    """
    try:
        dialect = _choose_dialect(connection, dialects)
    except SmbError:
        return None
    if (
        dialect != connection.dialect
        or guid != connection.client_guid
        or mode != connection.client_security_mode
        or capabilities != connection.client_capabilities
    ):
        return None
    return (
        connection.server_capabilities,
        connection.server.guid,
        connection.server_security_mode,
        connection.dialect,
    )
