"""READ and WRITE by RDMA, encrypted and signed: what is negotiated, chosen and refused."""

import os
import struct
from pathlib import Path

import pytest
from smbengine import requests
from smbengine.client import Client, Reply
from smbengine.rdma import (
    CCM_128,
    CONTENT,
    ENCRYPTION,
    GCM_256,
    GMAC,
    SIGNING,
    SIZE,
    TRANSFORM,
    V1,
    V1_INVALIDATE,
    Session,
    Transform,
    build_transform,
    check_read,
    check_written,
    parse_transform,
)
from smbengine.server import Engine

from usmbd.mountd.ipc.settings import Encryption
from usmbd.protocol.wire.read import SMB2_READFLAG_RESPONSE_RDMA_TRANSFORM, ReadResponse
from usmbd.protocol.wire.status import NtStatus

INVALID = NtStatus.INVALID_PARAMETER
BOTH = (ENCRYPTION, SIGNING)


@pytest.mark.parametrize("transport", ["memory", "smbdirect"])
@pytest.mark.parametrize(
    ("offered", "ciphers", "answer"),
    [
        (None, (GCM_256,), None),
        ((ENCRYPTION,), (GCM_256,), (ENCRYPTION,)),
        ((SIGNING,), (GCM_256,), (SIGNING,)),
        ((SIGNING, 7, ENCRYPTION, SIGNING), (GCM_256,), BOTH),
        ((7,), (GCM_256,), (0,)),
        ((ENCRYPTION,), (99,), (0,)),
        (BOTH, (99,), (SIGNING,)),
    ],
)
def test_what_is_negotiated(
    tmp_path: Path,
    transport: str,
    offered: tuple[int, ...] | None,
    ciphers: tuple[int, ...],
    answer: tuple[int, ...] | None,
) -> None:
    engine = Engine(tmp_path, transport=transport)
    client = Client(engine)
    client.negotiate(ciphers=ciphers, transforms=offered)
    assert client.contexts.rdma_transforms == answer
    assert client.connection.rdma_transform_ids == tuple(t for t in answer or () if t)
    engine.close()


def test_an_offer_of_nothing_is_refused(rdma_engine: Engine) -> None:
    assert Client(rdma_engine).negotiate(transforms=()).status is INVALID


def test_without_encryption_it_is_not_offered(tmp_path: Path) -> None:
    engine = Engine(tmp_path, transport="smbdirect", encryption=Encryption.OFF)
    client = Client(engine)
    client.negotiate(transforms=BOTH)
    assert client.contexts.rdma_transforms == (SIGNING,)
    engine.close()


# -- READ ------------------------------------------------------------------------------------


def read(session: Session) -> tuple[int, bytes]:
    """READ all of CONTENT; return the transform's type, 0 for none, and check it."""
    session.path.write_bytes(CONTENT)
    region = session.register(SIZE)
    reply = session.read(SIZE, region.remote())
    flags = reply.parse(ReadResponse).flags
    if flags != SMB2_READFLAG_RESPONSE_RDMA_TRANSFORM:
        check_read(reply, SIZE)
        assert region.data == CONTENT
        return 0, b""
    transform = parse_transform(reply.data)
    if transform.kind == ENCRYPTION:
        assert session.decrypt(region.data, transform) == CONTENT
    else:
        assert region.data == CONTENT
        assert session.signature(CONTENT, transform.nonce) == transform.signature
    return transform.kind, transform.nonce


@pytest.mark.parametrize(
    ("negotiated", "encrypted", "signed", "used"),
    [
        (BOTH, True, True, ENCRYPTION),
        (BOTH, False, True, SIGNING),
        (BOTH, False, False, 0),
        ((ENCRYPTION,), False, True, 0),
        # A client refuses an encrypted answer with a signature ([MS-SMB2] 3.2.5.11).
        ((SIGNING,), True, True, 0),
        (None, True, True, 0),
    ],
)
def test_data_is_protected_as_the_request_was(
    rdma_engine: Engine,
    negotiated: tuple[int, ...] | None,
    encrypted: bool,
    signed: bool,
    used: int,
) -> None:
    session = Session(rdma_engine, 0x311, transforms=negotiated, encrypted=encrypted)
    session.client.signs = signed
    assert read(session)[0] == used


def test_no_nonce_comes_twice(rdma_engine: Engine) -> None:
    for encrypted in (False, True):
        session = Session(rdma_engine, 0x311, transforms=BOTH, encrypted=encrypted)
        nonces = [read(session)[1] for _ in range(3)]
        assert len(set(nonces)) == 3
        if not encrypted:
            # A message's: MessageId, and two bits of what it is ([MS-SMB2] 3.1.4.1).
            assert all(struct.unpack("<QI", nonce)[1] > 3 for nonce in nonces)


def test_an_error_has_no_transform(rdma_engine: Engine) -> None:
    session = Session(rdma_engine, 0x311, transforms=BOTH)
    region = session.register(10)
    reply = session.read(10, region.remote(), channel=V1_INVALIDATE)
    assert reply.status is NtStatus.END_OF_FILE
    assert region.invalidated


def test_a_share_that_insists_on_encryption(rdma_engine: Engine) -> None:
    session = Session(rdma_engine, 0x311, transforms=BOTH, encrypted=True, share="sealed")
    assert read(session)[0] == ENCRYPTION
    content = os.urandom(SIZE)
    encrypted, transform = session.encrypt(content)
    check_written(write(session, encrypted, transform), SIZE)
    assert session.path.read_bytes() == content


def test_a_pipe(rdma_engine: Engine) -> None:
    session = Session(rdma_engine, 0x311, transforms=BOTH, share="IPC$", name="echo")
    check_written(write(session, b"hello", session.sign(b"hello")), 5)
    region = session.register(5)
    transform = parse_transform(session.read(5, region.remote()).data)
    assert session.signature(region.data, transform.nonce) == transform.signature


# -- WRITE -----------------------------------------------------------------------------------


def write(session: Session, data: bytes, transform: Transform, channel: int = V1) -> Reply:
    """WRITE with a transform."""
    info = requests.descriptors(session.register(data).remote())
    return session.write(len(data), build_transform(transform, info, channel), channel=TRANSFORM)


def refuse(session: Session, info: bytes, status: NtStatus) -> None:
    """Assert that a WRITE of SIZE bytes is refused."""
    assert session.write(SIZE, info, channel=TRANSFORM).status is status
    assert session.path.read_bytes() == CONTENT


@pytest.fixture
def signing(rdma_engine: Engine) -> Session:
    """Return a session that may sign and encrypt by RDMA, and signs."""
    session = Session(rdma_engine, 0x311, transforms=BOTH, algorithm=GMAC)
    session.path.write_bytes(CONTENT)
    return session


@pytest.mark.parametrize("channel", [0, 3, 4])
def test_descriptors_of_no_known_channel(signing: Session, channel: int) -> None:
    info = requests.descriptors(signing.register(SIZE).remote())
    refuse(signing, build_transform(signing.sign(CONTENT), info, channel), INVALID)


@pytest.mark.parametrize("kind", [0, 3, 0xFFFF])
def test_no_known_transform(signing: Session, kind: int) -> None:
    info = requests.descriptors(signing.register(SIZE).remote())
    transform = signing.sign(CONTENT)._replace(kind=kind)
    refuse(signing, build_transform(transform, info, V1), INVALID)


@pytest.mark.parametrize("count", [0, 2, 0xFFFF])
@pytest.mark.parametrize("second", [ENCRYPTION, SIGNING])
def test_more_transforms_than_one(signing: Session, count: int, second: int) -> None:
    info = requests.descriptors(signing.register(SIZE).remote())
    transform = signing.sign(CONTENT)
    crypto = transform.pack() + transform._replace(kind=second).pack()
    fixed = struct.pack("<HHIHHI", 16 + len(crypto), len(info), V1, count, 0, 0)
    refuse(signing, fixed + crypto + info, INVALID)


@pytest.mark.parametrize("shift", [-8, -1, 1, 8])
def test_descriptors_that_do_not_begin_where_they_must(signing: Session, shift: int) -> None:
    info = requests.descriptors(signing.register(SIZE).remote())
    crypto = signing.sign(CONTENT).pack()
    fixed = struct.pack("<HHIHHI", 16 + len(crypto) + shift, len(info), V1, 1, 0, 0)
    refuse(signing, fixed + crypto + bytes(8) + info + bytes(8), INVALID)


def test_channel_information_that_is_cut_off(signing: Session) -> None:
    info = requests.descriptors(signing.register(SIZE).remote())
    whole = build_transform(signing.sign(CONTENT), info, V1)
    for end in range(1, len(whole), 3):
        refuse(signing, whole[:end], INVALID)


def test_encryption_of_a_request_that_is_not(signing: Session) -> None:
    encrypted, transform = signing.encrypt(CONTENT)
    assert write(signing, encrypted, transform).status is INVALID
    assert signing.path.read_bytes() == CONTENT


@pytest.mark.parametrize("signature", [b"", bytes(16), bytes(15), bytes(17), bytes(64)], ids=len)
def test_wrong_signatures(signing: Session, signature: bytes) -> None:
    transform = signing.sign(CONTENT)._replace(signature=signature)
    assert write(signing, CONTENT, transform).status is NtStatus.INVALID_SIGNATURE


@pytest.mark.parametrize("size", [0, 8, 11, 13, 16])
def test_nonces_of_another_length(signing: Session, size: int) -> None:
    transform = signing.sign(CONTENT)._replace(nonce=bytes(size))
    assert write(signing, CONTENT, transform).status is NtStatus.INVALID_SIGNATURE


@pytest.mark.parametrize("cipher", [CCM_128, GCM_256])
def test_encryption_that_is_wrong(rdma_engine: Engine, cipher: int) -> None:
    session = Session(rdma_engine, 0x311, transforms=BOTH, cipher=cipher, encrypted=True)
    session.path.write_bytes(CONTENT)
    encrypted, right = session.encrypt(os.urandom(SIZE))
    for wrong in (
        right._replace(nonce=right.nonce + b"\0"),
        right._replace(nonce=right.nonce[:-1]),
        right._replace(nonce=bytes(len(right.nonce))),
        right._replace(signature=right.signature + b"\0"),
        right._replace(signature=right.signature[:-1]),
        right._replace(signature=right.signature[:4]),
        right._replace(signature=b""),
        right._replace(signature=bytes(16)),
    ):
        info = requests.descriptors(session.register(encrypted).remote())
        refuse(session, build_transform(wrong, info, V1), NtStatus.AUTH_TAG_MISMATCH)
    changed = encrypted[:-1] + bytes([encrypted[-1] ^ 1])
    assert write(session, changed, right).status is NtStatus.AUTH_TAG_MISMATCH
    assert session.path.read_bytes() == CONTENT


@pytest.mark.parametrize("channel", [V1, V1_INVALIDATE])
def test_plain_writes_stay_possible(signing: Session, channel: int) -> None:
    region = signing.register(b"plain")
    check_written(signing.write(5, region.remote(), channel=channel), 5)
    assert signing.path.read_bytes() == b"plain" + CONTENT[5:]


def test_a_dialect_without_transforms(rdma_engine: Engine) -> None:
    session = Session(rdma_engine, 0x302)
    assert write(session, b"data", session.sign(b"data")).status is INVALID
