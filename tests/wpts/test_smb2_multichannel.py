"""Smb2Multichannel: the first channel by TCP, the second by RDMA ([MS-SMB2] 3.3.5.5.2)."""

import os
import struct

import pytest
from smbdirect.client import Client as SmbDirectClient
from smbengine import requests
from smbengine.client import Client
from smbengine.rdma import CREDIT, check_read
from smbengine.server import Engine

from usmbd.protocol.state.interfaces import addresses
from usmbd.protocol.wire.fsctl import FSCTL_QUERY_NETWORK_INTERFACE_INFO
from usmbd.protocol.wire.fsctl_smb2 import RDMA_CAPABLE
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.ioctl import IoctlResponse
from usmbd.protocol.wire.negotiate import NegotiateResponse
from usmbd.protocol.wire.status import NtStatus

SIZE = 1 << 20


def interface_capabilities(client: Client) -> list[int]:
    """Return Capability of each interface that the server tells of ([MS-SMB2] 2.2.32.5)."""
    body = requests.ioctl(requests.RELATED, FSCTL_QUERY_NETWORK_INTERFACE_INFO)
    reply = client.call(Command.IOCTL, body)
    assert reply.status is NtStatus.SUCCESS
    fixed = reply.parse(IoctlResponse)
    data = reply.message[fixed.output_offset : fixed.output_offset + fixed.output_count]
    found = []
    while data:
        following, _, capability = struct.unpack_from("<3I", data)
        found.append(capability)
        data = data[following:] if following else b""
    return found


@pytest.mark.parametrize("dialect", [0x300, 0x311])
def test_Smb2Multichannel_2Channels_DiffTransport(smb2_engine: Engine, dialect: int) -> None:
    smb2_engine.server.rdma_interfaces = lambda: {name: 10**10 for name, _ in addresses()}
    content = os.urandom(SIZE)
    first = Client(smb2_engine, by_memory=True).ready(dialect)
    file = first.open("file")
    for start in range(0, SIZE, CREDIT):
        body = requests.write(file, content[start : start + CREDIT], start)
        assert first.call(Command.WRITE, body).status is NtStatus.SUCCESS
    first.connection.transport.local = "127.0.0.1"
    capabilities = interface_capabilities(first)
    assert capabilities
    # Each address comes with RDMA and, for channels by TCP, without it.
    rdma = [capability for capability in capabilities if capability & RDMA_CAPABLE]
    assert 2 * len(rdma) == len(capabilities)

    second = Client(smb2_engine, first.guid)
    assert isinstance(second.transport, SmbDirectClient)
    limits = second.negotiate(dialect).parse(NegotiateResponse)
    assert second.bind(first).status is NtStatus.SUCCESS
    second.tree_id = first.tree_id
    length = min(limits.max_read_size, SIZE)
    region = second.transport.register(length)
    info = requests.descriptors(region.remote())
    reply = second.call(
        Command.READ, requests.read_remote(file, length, info), credit_charge=length // CREDIT
    )
    check_read(reply, length)
    assert region.data == content
    second.close(file)
