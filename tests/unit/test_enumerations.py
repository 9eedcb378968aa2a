"""Enumerations of the documents and of libraries, typed again."""

from enum import IntEnum, IntFlag

import pytest

from usmbd.mountd.rpc.pdu import ContextResult, NakReason, ProviderReason
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus
from usmbd.transport.smbdirect import verbs
from usmbd.transport.smbdirect.attributes import Mask, State
from usmbd.transport.smbdirect.cm_library import Kind
from usmbd.transport.smbdirect.provider import Access

IN_ORDER = {
    # [MS-SMB2] 2.2.1.2
    Command: (0, "NEGOTIATE SESSION_SETUP LOGOFF TREE_CONNECT TREE_DISCONNECT CREATE CLOSE FLUSH"
              " READ WRITE LOCK IOCTL CANCEL ECHO QUERY_DIRECTORY CHANGE_NOTIFY QUERY_INFO SET_INFO"
              " OPLOCK_BREAK SERVER_TO_CLIENT_NOTIFICATION"),
    # C706 12.6.3.1, [MS-RPCE] 2.2.2.4
    ContextResult: (0, "ACCEPTANCE USER_REJECTION PROVIDER_REJECTION NEGOTIATE_ACK"),
    ProviderReason: (0, "NOT_SPECIFIED ABSTRACT_SYNTAX_NOT_SUPPORTED"
                     " PROPOSED_TRANSFER_SYNTAXES_NOT_SUPPORTED LOCAL_LIMIT_EXCEEDED"),
}  # fmt: skip

NUMBERED: dict[type[IntEnum] | type[IntFlag], dict[str, int]] = {
    # C706 12.6.3.1, [MS-RPCE] 2.2.2.5
    NakReason: {
        "NOT_SPECIFIED": 0,
        "PROTOCOL_VERSION_NOT_SUPPORTED": 4,
        "AUTHENTICATION_TYPE_NOT_RECOGNIZED": 8,
    },
    # infiniband/verbs.h: ibv_qp_state
    State: {"RESET": 0, "INIT": 1, "RTR": 2, "RTS": 3, "ERR": 6},
    # rdma/rdma_cma.h: rdma_cm_event_type
    Kind: {
        **{"CONNECT_REQUEST": 4, "CONNECT_ERROR": 6, "UNREACHABLE": 7, "REJECTED": 8},
        **{"ESTABLISHED": 9, "DISCONNECTED": 10, "DEVICE_REMOVAL": 11, "ADDR_CHANGE": 14},
        "TIMEWAIT_EXIT": 15,
    },
}

# infiniband/verbs.h: ibv_qp_attr_mask, bit by bit
MASK = (
    "STATE CUR_STATE EN_SQD_ASYNC_NOTIFY ACCESS_FLAGS PKEY_INDEX PORT QKEY AV PATH_MTU TIMEOUT"
    " RETRY_CNT RNR_RETRY RQ_PSN MAX_QP_RD_ATOMIC ALT_PATH MIN_RNR_TIMER SQ_PSN MAX_DEST_RD_ATOMIC"
    " PATH_MIG_STATE CAP DEST_QPN"
)


def members(of: type[IntEnum] | type[IntFlag]) -> dict[str, int]:
    return {each.name or "": int(each) for each in of}


@pytest.mark.parametrize("of", IN_ORDER, ids=lambda of: of.__name__)
def test_those_that_are_counted(of: type[IntEnum]) -> None:
    first, names = IN_ORDER[of]
    assert members(of) == {name: first + n for n, name in enumerate(names.split())}


@pytest.mark.parametrize("of", NUMBERED, ids=lambda of: of.__name__)
def test_those_with_numbers(of: type[IntEnum]) -> None:
    assert members(of) == NUMBERED[of]


def test_attributes_of_a_queue_pair() -> None:
    assert members(Mask) == {name: 1 << bit for bit, name in enumerate(MASK.split())}


def test_access_to_registered_memory() -> None:
    """ibv_access_flags, and a bit above them for what only iWARP tells apart."""
    assert [Access.LOCAL_WRITE, Access.REMOTE_WRITE, Access.REMOTE_READ] == [1, 2, 4]
    assert verbs._ACCESS == 7
    assert Access.READ_SINK & verbs._ACCESS == 0


def test_speeds_of_ports() -> None:
    """ib_verbs.h of the kernel: widths, and megabits a lane from SDR to NDR; ibv_mtu."""
    assert verbs._LANES == {1: 1, 2: 4, 4: 8, 8: 12, 16: 2}
    speeds = [2500, 5000, 10000, 10000, 14000, 25000, 50000, 100000, 200000]
    assert {1 << bit: speed for bit, speed in enumerate(speeds)} == verbs._MEGABITS
    assert {number: 128 << number for number in range(1, 6)} == verbs._MTU


def test_statuses_that_impacket_does_not_know() -> None:
    """The others are compared with it in test_status.py ([MS-ERREF] 2.3.1)."""
    for name, value in {
        "OPLOCK_SWITCHED_TO_NEW_HANDLE": 0x00000215,
        "OPLOCK_HANDLE_CLOSED": 0x00000216,
        "INVALID_TOKEN": 0xC0000465,
        "SERVER_UNAVAILABLE": 0xC0000466,
        "COMPRESSION_NOT_BENEFICIAL": 0xC000046F,
        "SHARE_UNAVAILABLE": 0xC0000480,
        "AUTH_TAG_MISMATCH": 0xC000A002,
        "OFFLOAD_READ_FLT_NOT_SUPPORTED": 0xC000A2A1,
        "OFFLOAD_READ_FILE_NOT_SUPPORTED": 0xC000A2A3,
        "SMB_NO_PREAUTH_INTEGRITY_HASH_OVERLAP": 0xC05D0000,
        "SMB_BAD_CLUSTER_DIALECT": 0xC05D0001,
        "SMB_GUEST_LOGON_BLOCKED": 0xC05D0002,
    }.items():
        assert NtStatus[name] == value, name
