"""The header against two independent codecs."""

import struct

import pytest
from scapy.layers import smb2 as scapy_smb2
from smbprotocol.header import SMB2HeaderAsync, SMB2HeaderRequest

from usmbd.protocol.wire import header
from usmbd.protocol.wire.header import Command, Header
from usmbd.protocol.wire.status import MalformedError


def test_request_of_a_peer_is_read() -> None:
    peer = SMB2HeaderRequest()
    peer["credit_charge"] = 2
    peer["channel_sequence"] = 7
    peer["command"] = Command.READ
    peer["credit_request"] = 33
    peer["flags"] = header.SMB2_FLAGS_SIGNED
    peer["next_command"] = 128
    peer["message_id"] = 2**40 + 1
    peer["process_id"] = 0xFEFF
    peer["tree_id"] = 5
    peer["session_id"] = 2**60 + 3
    peer["signature"] = bytes(range(16))
    data = peer.pack()
    ours = Header.parse(data)
    assert ours.pack() == data
    assert (ours.command, ours.credit_charge, ours.credits) == (Command.READ, 2, 33)
    assert (ours.channel_sequence, ours.next_command) == (7, 128)
    assert (ours.message_id, ours.tree_id, ours.session_id) == (2**40 + 1, 5, 2**60 + 3)
    assert ours.signature == bytes(range(16))


def test_async_id_is_read_by_a_peer() -> None:
    ours = Header(command=Command.CHANGE_NOTIFY, flags=header.SMB2_FLAGS_ASYNC_COMMAND)
    ours.async_id = 0x1122334455667788
    assert ours.async_id == 0x1122334455667788
    peer = SMB2HeaderAsync()
    peer.unpack(ours.pack())
    assert peer["async_id"].get_value() == 0x1122334455667788


def test_response_is_read_by_scapy() -> None:
    ours = Header(
        command=Command.CREATE,
        status=0xC0000022,
        flags=header.SMB2_FLAGS_SERVER_TO_REDIR,
        message_id=9,
        tree_id=3,
        session_id=4,
    )
    peer = scapy_smb2.SMB2_Header(ours.pack())
    assert (peer.Command, peer.Status, peer.MID, peer.TID, peer.SessionId) == (
        Command.CREATE,
        0xC0000022,
        9,
        3,
        4,
    )


def test_offsets_for_patching() -> None:
    ours = Header(command=Command.ECHO, flags=0x11223344, next_command=0x55667788).pack()
    assert ours[header.COMMAND_OFFSET] == Command.ECHO
    assert struct.unpack_from("<I", ours, header.FLAGS_OFFSET) == (0x11223344,)
    assert struct.unpack_from("<I", ours, header.NEXT_COMMAND_OFFSET) == (0x55667788,)
    assert len(ours) - header.SIGNATURE_OFFSET == 16


def test_short_header_raises() -> None:
    with pytest.raises(MalformedError):
        Header.parse(bytes(63))
