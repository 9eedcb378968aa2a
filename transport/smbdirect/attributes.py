"""The C structure `ibv_qp_attr`, in which the connection manager hands over a state.

`rdma_init_qp_attr` fills it; the layout is libibverbs' stable ABI (`infiniband/verbs.h`).
"""

from ctypes import Structure, c_uint, c_uint8, c_uint16, c_uint32, c_uint64, sizeof
from enum import IntEnum, IntFlag


class State(IntEnum):
    """`ibv_qp_state`: how far a queue pair is."""

    RESET = 0
    INIT = 1
    RTR = 2
    """Ready to receive."""
    RTS = 3
    """Ready to send."""
    ERR = 6


class Mask(IntFlag):
    """`ibv_qp_attr_mask`: which attributes a change carries."""

    STATE = 1 << 0
    CUR_STATE = 1 << 1
    EN_SQD_ASYNC_NOTIFY = 1 << 2
    ACCESS_FLAGS = 1 << 3
    PKEY_INDEX = 1 << 4
    PORT = 1 << 5
    QKEY = 1 << 6
    AV = 1 << 7
    PATH_MTU = 1 << 8
    TIMEOUT = 1 << 9
    RETRY_CNT = 1 << 10
    RNR_RETRY = 1 << 11
    RQ_PSN = 1 << 12
    MAX_QP_RD_ATOMIC = 1 << 13
    ALT_PATH = 1 << 14
    MIN_RNR_TIMER = 1 << 15
    SQ_PSN = 1 << 16
    MAX_DEST_RD_ATOMIC = 1 << 17
    PATH_MIG_STATE = 1 << 18
    CAP = 1 << 19
    DEST_QPN = 1 << 20


class GlobalRoute(Structure):
    """`ibv_global_route`; `bytes(dgid)` is the GID in network order."""

    _fields_ = (
        ("dgid", c_uint64 * 2),
        ("flow_label", c_uint32),
        ("sgid_index", c_uint8),
        ("hop_limit", c_uint8),
        ("traffic_class", c_uint8),
    )


class AddressHandle(Structure):
    """`ibv_ah_attr`: the way to the peer."""

    _fields_ = (
        ("grh", GlobalRoute),
        ("dlid", c_uint16),
        ("sl", c_uint8),
        ("src_path_bits", c_uint8),
        ("static_rate", c_uint8),
        ("is_global", c_uint8),
        ("port_num", c_uint8),
    )


class Capabilities(Structure):
    """`ibv_qp_cap`: depths; never set by a change of state."""

    _fields_ = (
        ("max_send_wr", c_uint32),
        ("max_recv_wr", c_uint32),
        ("max_send_sge", c_uint32),
        ("max_recv_sge", c_uint32),
        ("max_inline_data", c_uint32),
    )


class Attributes(Structure):
    """`ibv_qp_attr`, 144 bytes."""

    _fields_ = (
        ("qp_state", c_uint),
        ("cur_qp_state", c_uint),
        ("path_mtu", c_uint),
        ("path_mig_state", c_uint),
        ("qkey", c_uint32),
        ("rq_psn", c_uint32),
        ("sq_psn", c_uint32),
        ("dest_qp_num", c_uint32),
        ("qp_access_flags", c_uint),
        ("cap", Capabilities),
        ("ah_attr", AddressHandle),
        ("alt_ah_attr", AddressHandle),
        ("pkey_index", c_uint16),
        ("alt_pkey_index", c_uint16),
        ("en_sqd_async_notify", c_uint8),
        ("sq_draining", c_uint8),
        ("max_rd_atomic", c_uint8),
        ("max_dest_rd_atomic", c_uint8),
        ("min_rnr_timer", c_uint8),
        ("port_num", c_uint8),
        ("timeout", c_uint8),
        ("retry_cnt", c_uint8),
        ("rnr_retry", c_uint8),
        ("alt_port_num", c_uint8),
        ("alt_timeout", c_uint8),
        ("rate_limit", c_uint32),
    )


SIZE = sizeof(Attributes)


def decode(attributes: bytes) -> Attributes:
    """Return the structure in `attributes`; ValueError unless its size is that of the ABI."""
    if len(attributes) != SIZE:
        raise ValueError(f"ibv_qp_attr has {SIZE} bytes, not {len(attributes)}")
    return Attributes.from_buffer_copy(attributes)
