"""Negotiate contexts at and past their bounds."""

import struct

import pytest
from scapy.layers import smb2 as scapy_smb2

from usmbd.protocol.wire import negotiate_contexts as nc
from usmbd.protocol.wire.status import MalformedError, NtStatus, SmbError

PREAUTH = (nc.SMB2_PREAUTH_INTEGRITY_CAPABILITIES, struct.pack("<HHH", 1, 0, nc.SHA_512))


def parse(*contexts: tuple[int, bytes]) -> nc.NegotiateContexts:
    return nc.parse_contexts(memoryview(nc.build_contexts(contexts)), len(contexts))


def test_all_contexts_are_read() -> None:
    contexts = parse(
        PREAUTH,
        (nc.SMB2_COMPRESSION_CAPABILITIES, struct.pack("<HHIHH", 2, 0, 1, 4, 2)),
        (nc.SMB2_TRANSPORT_CAPABILITIES, struct.pack("<I", 1)),
        (nc.SMB2_RDMA_TRANSFORM_CAPABILITIES, struct.pack("<HHIHH", 2, 0, 0, 1, 2)),
        (nc.SMB2_POSIX_EXTENSIONS_AVAILABLE, nc.POSIX_EXTENSIONS_ID),
        (0x7777, b"unknown"),
    )
    assert contexts.compression_algorithms == (nc.COMPRESSION_PATTERN_V1, nc.COMPRESSION_LZ77)
    assert contexts.compression_flags == nc.SMB2_COMPRESSION_CAPABILITIES_FLAG_CHAINED
    assert contexts.transport_flags == nc.SMB2_ACCEPT_TRANSPORT_LEVEL_SECURITY
    assert contexts.rdma_transforms == (1, 2)
    assert contexts.posix_extensions
    assert contexts.ciphers is None


@pytest.mark.parametrize(
    "contexts",
    [
        [],
        [(nc.SMB2_ENCRYPTION_CAPABILITIES, b"\1\0\2\0")],
        [PREAUTH, PREAUTH],
        [PREAUTH, (2, b"\1\0\2\0"), (2, b"\1\0\2\0")],
        [PREAUTH, (2, b"\0\0\2\0")],
        [PREAUTH, (2, b"\2\0\2\0")],
        [PREAUTH, (8, b"\xff\xff\2\0")],
        [PREAUTH, (3, struct.pack("<HHI", 1, 0, 0))],
        [PREAUTH, (5, b"a\0b")],
        [(1, struct.pack("<HHH", 1, 9, nc.SHA_512) + bytes(8))],
        [PREAUTH] + [(0x7777, b"")] * nc.MAXIMUM_CONTEXTS,
    ],
)
def test_bad_contexts_are_refused(contexts: list[tuple[int, bytes]]) -> None:
    with pytest.raises(SmbError) as error:
        parse(*contexts)
    assert error.value.status is NtStatus.INVALID_PARAMETER


def test_more_contexts_than_sent_raise() -> None:
    data = nc.build_contexts([PREAUTH])
    with pytest.raises(MalformedError):
        nc.parse_contexts(memoryview(data), 2)


def test_data_past_the_end_is_refused() -> None:
    data = nc.build_contexts([PREAUTH])
    with pytest.raises(SmbError):
        nc.parse_contexts(memoryview(data)[:-1], 1)


@pytest.mark.parametrize("kind", [1, 2, 3, 6, 7, 8])
def test_empty_data_raises(kind: int) -> None:
    with pytest.raises(SmbError):
        parse((kind, b""))


@pytest.mark.parametrize(
    ("context", "name", "expected"),
    [
        (nc.encryption_context(nc.AES_256_GCM), "Ciphers", [nc.AES_256_GCM]),
        (nc.signing_context(2), "SigningAlgorithms", [2]),
        (nc.compression_context((2, 4), 1), "CompressionAlgorithms", [2, 4]),
        (nc.compression_context((), 0), "CompressionAlgorithms", [0]),
        (nc.rdma_transform_context((1,)), "RDMATransformIds", [1]),
        (nc.rdma_transform_context(()), "RDMATransformIds", [0]),
        (nc.transport_context(1), "Flags", 1),
    ],
)
def test_answers_are_read_by_scapy(
    context: tuple[int, bytes], name: str, expected: list[int] | int
) -> None:
    peer = scapy_smb2.SMB2_Negotiate_Context(nc.build_contexts([context]))
    assert peer.ContextType == context[0]
    assert peer.payload.getfieldval(name) == expected


def test_posix_answer_is_the_fixed_identifier() -> None:
    assert nc.posix_extensions_context() == (0x100, nc.POSIX_EXTENSIONS_ID)
