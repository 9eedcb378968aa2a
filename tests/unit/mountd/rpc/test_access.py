"""What is granted of a request for rights ([MS-DTYP] 2.4.3)."""

import pytest

from usmbd.mountd.rpc.access import Access
from usmbd.mountd.rpc.calls import Status

ACCESS = Access(all=0xF003F, read=0x20010, write=0x20007, execute=0x20021, everybody=0x20021)


@pytest.mark.parametrize(
    ("desired", "administrator", "granted"),
    [
        (0x02000000, True, 0xF003F),
        (0x02000000, False, 0x20021),
        (0x10000000, True, 0xF003F),
        (0x80000000, True, 0x20010),
        (0x20000000, False, 0x20021),
        (0x01000001, True, 0x01000001),
        (0, False, 0),
    ],
)
def test_what_is_granted(desired: int, administrator: bool, granted: int) -> None:
    assert ACCESS.granted(desired, administrator) == granted


@pytest.mark.parametrize("desired", [0x40, 0x00100000, 0x00800000, 0x04000000, 0x08000001])
def test_bits_that_mean_nothing_are_not_granted(desired: int) -> None:
    for maximum in (0, 0x02000000):
        with pytest.raises(Status):
            ACCESS.granted(desired | maximum, True)


def test_others_do_not_have_all() -> None:
    for desired in (0x10000000, 0x40000000, 0x01000000, 1 << 1):
        with pytest.raises(Status):
            ACCESS.granted(desired, False)
