"""The layout of `ibv_qp_attr`, against offsets that a C compiler gave for verbs.h (x86-64)."""

import pytest

from usmbd.transport.smbdirect.attributes import (
    SIZE,
    AddressHandle,
    Attributes,
    GlobalRoute,
    Mask,
    decode,
)
from usmbd.transport.smbdirect.provider import Unavailable
from usmbd.transport.smbdirect.verbs import load

OFFSETS = {
    "qp_state": 0,
    "path_mtu": 8,
    "qkey": 16,
    "rq_psn": 20,
    "sq_psn": 24,
    "dest_qp_num": 28,
    "qp_access_flags": 32,
    "cap": 36,
    "ah_attr": 56,
    "alt_ah_attr": 88,
    "pkey_index": 120,
    "max_rd_atomic": 126,
    "max_dest_rd_atomic": 127,
    "min_rnr_timer": 128,
    "port_num": 129,
    "timeout": 130,
    "retry_cnt": 131,
    "rnr_retry": 132,
    "rate_limit": 136,
}
ADDRESS_OFFSETS = {"dlid": 24, "sl": 26, "src_path_bits": 27, "is_global": 29, "port_num": 30}
ROUTE_OFFSETS = {"flow_label": 16, "sgid_index": 20, "hop_limit": 21, "traffic_class": 22}


def test_layout_is_that_of_the_header() -> None:
    assert SIZE == 144
    for structure, offsets in (
        (Attributes, OFFSETS),
        (AddressHandle, ADDRESS_OFFSETS),
        (GlobalRoute, ROUTE_OFFSETS),
    ):
        assert {name: getattr(structure, name).offset for name in offsets} == offsets


def test_fields_are_read_where_they_are() -> None:
    raw = bytearray(144)
    raw[28:32] = (0x123456).to_bytes(4, "little")
    raw[56:72] = bytes(range(16))
    raw[132] = 7
    attributes = decode(bytes(raw))
    assert (attributes.dest_qp_num, attributes.rnr_retry) == (0x123456, 7)
    assert bytes(attributes.ah_attr.grh.dgid) == bytes(range(16))
    with pytest.raises(ValueError, match="144 bytes, not 140"):
        decode(bytes(140))


def test_masks_are_those_of_pyverbs() -> None:
    try:
        # It imports pyverbs without what that does to the root logger.
        load()
    except Unavailable as error:
        pytest.skip(str(error))
    enums = pytest.importorskip("pyverbs.enums")
    for mask in Mask:
        assert getattr(enums, f"IBV_QP_{mask.name}") == mask
