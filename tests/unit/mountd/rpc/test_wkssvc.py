"""wkssvc against impacket."""

import struct

import pytest
from impacket.dcerpc.v5 import wkst
from impacket.dcerpc.v5.dtypes import NULL

from usmbd.mountd.rpc.endpoint import Encoding
from usmbd.mountd.rpc.interfaces import wkssvc
from usmbd.mountd.rpc.view import View


def _request(encoding: Encoding, level: int) -> bytes:
    request = wkst.NetrWkstaGetInfo(isNDR64=encoding.ndr64)
    request["ServerName"] = NULL
    request["Level"] = level
    data: bytes = request.getData()
    return data


@pytest.mark.parametrize("encoding", [Encoding(False, "<"), Encoding(True, "<")])
@pytest.mark.parametrize("level", [100, 101, 102])
def test_wksta_get_info(view: View, level: int, encoding: Encoding) -> None:
    stub = wkssvc.interface(view).calls[0](_request(encoding, level), encoding)
    answer = wkst.NetrWkstaGetInfoResponse(stub, isNDR64=encoding.ndr64)
    assert answer["ErrorCode"] == 0
    info = answer["WkstaInfo"][f"WkstaInfo{level}"]
    prefix = f"wki{level}_"
    assert info[prefix + "platform_id"] == 500
    assert info[prefix + "computername"] == "NAS\x00"
    assert info[prefix + "langroup"] == "HOME\x00"
    assert (info[prefix + "ver_major"], info[prefix + "ver_minor"]) == (6, 1)
    if level > 100:
        assert info[prefix + "lanroot"] == "\x00"
    if level == 102:
        assert info[prefix + "logged_on_users"] == 0


def test_unknown_level(view: View) -> None:
    encoding = Encoding(False, "<")
    stub = wkssvc.interface(view).calls[0](struct.pack("<II", 0, 77), encoding)
    assert stub == struct.pack("<III", 77, 0, 124)[:4] + struct.pack("<I", 124)
