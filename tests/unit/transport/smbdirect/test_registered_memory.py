"""The registered pool and slots: what is free, where the device finds it, and being full."""

from collections.abc import Iterator
from itertools import pairwise

import pytest

from usmbd.transport.smbdirect.fabric.device import Fabric, FabricDevice
from usmbd.transport.smbdirect.provider import RegistrationError, Segment
from usmbd.transport.smbdirect.registered_memory import LARGEST, Pool, Slots
from usmbd.transport.smbdirect.transfers import BOUNCE

KIB = 1 << 10
MIB = 1 << 20


@pytest.fixture
def device() -> Iterator[FabricDevice]:
    """Give a device on which nothing may be left."""
    fabric = Fabric()
    yield fabric.device()
    assert fabric.leaks() == []


def content(device: FabricDevice, segment: Segment) -> bytes:
    """Return what the device sees at a segment."""
    seen = device.local[segment.local_key].slice(segment.address, segment.length)
    assert seen is not None
    return bytes(seen)


def test_views_have_the_size_asked_for_and_the_device_sees_their_bytes(
    device: FabricDevice,
) -> None:
    pool = Pool(device, initial=1)
    for size in (1, 4 * KIB, 4 * KIB + 1, MIB, LARGEST):
        view = pool.take(size)
        assert (len(view), view.format, view.readonly) == (size, "B", False)
        view[:3] = view[-3:] = b"abc"[: len(view[:3])]
        assert content(device, pool.segment(view)) == bytes(view)
        part = view[size // 3 : size // 2 + 1]
        assert content(device, pool.segment(part)) == bytes(part)
        del view, part
    pool.close()


def test_slices_in_use_never_overlap(device: FabricDevice) -> None:
    pool = Pool(device, initial=1, limit=2 * LARGEST)
    views = [pool.take(size) for size in (4 * KIB, 8 * KIB, 64 * KIB, MIB, 5 * KIB) * 5]
    stretches = sorted(pool.segment(view) for view in views)
    for one, other in pairwise(stretches):
        assert one.address + one.length <= other.address
    pool.close()


def test_memory_is_free_when_no_view_is_left_not_before(device: FabricDevice) -> None:
    pool = Pool(device, initial=LARGEST, limit=LARGEST)
    view = pool.take(LARGEST)
    part = memoryview(view)[100:200].toreadonly()
    del view
    with pytest.raises(RegistrationError, match="limit"):
        pool.take(4 * KIB)
    del part
    assert pool.take(LARGEST)
    pool.close()


def test_what_was_cut_small_is_joined_again(device: FabricDevice) -> None:
    pool = Pool(device, initial=LARGEST, limit=LARGEST)
    small = [pool.take(4 * KIB) for _ in range(300)]
    middle = pool.take(MIB)
    assert pool.in_use() == 300 * 4 * KIB + MIB
    with pytest.raises(RegistrationError):
        pool.take(LARGEST)
    kept = small.pop()
    small.clear()
    with pytest.raises(RegistrationError):
        pool.take(LARGEST)
    del kept, middle
    assert pool.in_use() == 0
    assert pool.take(LARGEST)
    pool.close()


def test_pool_grows_in_steps_up_to_its_limit(device: FabricDevice) -> None:
    pool = Pool(device, initial=1, limit=3 * LARGEST)
    held = []
    for count in (1, 2, 3):
        held.append(pool.take(LARGEST))
        assert pool.registered == device.registered_bytes - BOUNCE == count * LARGEST
    with pytest.raises(RegistrationError, match="limit of 25165824 bytes"):
        pool.take(1)
    held.pop()
    assert pool.take(1)
    pool.close()


def test_refused_growth_is_remembered_and_told() -> None:
    fabric = Fabric()
    device = fabric.device(registration_limit=LARGEST + BOUNCE)
    pool = Pool(device, initial=1)
    held = pool.take(LARGEST)
    with pytest.raises(RegistrationError, match="pass the limit of 9437184"):
        pool.take(1)
    assert (pool.limit, "pass the limit" in pool.refusal) == (LARGEST, True)
    del held
    assert pool.take(1)
    pool.close()
    assert fabric.leaks() == []


def test_first_registration_and_the_reserve_must_succeed() -> None:
    fabric = Fabric()
    for limit in (LARGEST, 2 * LARGEST):
        device = fabric.device(registration_limit=limit)
        with pytest.raises(RegistrationError, match="pass the limit"):
            Pool(device, initial=2 * LARGEST)
        assert fabric.leaks() == []


def test_the_reserve_is_lent_when_all_else_is_in_use_to_one_at_a_time(
    device: FabricDevice,
) -> None:
    pool = Pool(device, initial=1, limit=LARGEST)
    free = pool.borrow(5000)
    assert pool.in_use() == 8192  # of the pool itself, as long as it has some
    del free
    held = pool.take(LARGEST)
    lent = pool.borrow(BOUNCE)
    assert pool.owns(lent)
    assert pool.segment(lent).length == BOUNCE
    assert pool.in_use() == LARGEST + BOUNCE
    with pytest.raises(RegistrationError):
        pool.borrow(1)
    del lent
    assert pool.borrow(1)
    with pytest.raises(RegistrationError):
        pool.borrow(BOUNCE + 1)
    del held
    assert pool.in_use() == 0
    pool.close()


def test_segments_are_of_the_pool_alone(device: FabricDevice) -> None:
    pool = Pool(device, initial=1)
    view = pool.take(100)
    assert pool.owns(view[3:5])
    for other in (memoryview(bytearray(5)), view.toreadonly(), view[:0], view[::2]):
        with pytest.raises(ValueError, match="not a view"):
            pool.segment(other)
    assert not pool.owns(memoryview(bytearray(5)))
    for size in (-1, LARGEST + 1):
        with pytest.raises(ValueError, match="at most"):
            pool.take(size)
    assert len(pool.take(0)) == 0
    pool.close()


def test_views_outlive_the_pool(device: FabricDevice) -> None:
    pool = Pool(device, initial=1)
    view = pool.take(10)
    view[:] = b"0123456789"
    pool.close()
    assert bytes(view) == b"0123456789"
    with pytest.raises(ValueError, match="not a view"):
        pool.segment(view)


def test_slots_are_apart_and_are_taken_and_given(device: FabricDevice) -> None:
    slots = Slots(device, 3, 100)
    assert (len(slots), slots.free, device.registered_bytes) == (3, 3, 3 * 128)
    taken = [slots.take() for _ in range(4)]
    assert taken == [0, 1, 2, None]
    slots.views[1][:4] = b"slot"
    assert content(device, slots.part(1, 4)) == b"slot"
    assert slots.segments[1].length == len(slots.views[1]) == 100
    assert slots.segments[2].address - slots.segments[1].address == 128
    slots.give(1)
    assert (slots.free, slots.take()) == (1, 1)
    slots.close()
