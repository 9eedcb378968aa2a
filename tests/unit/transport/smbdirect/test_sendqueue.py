"""Messages of many parts are cut into fragments without being joined first."""

from hypothesis import given
from hypothesis import strategies as st

from usmbd.transport.smbdirect.sendqueue import SendQueue

MESSAGES = st.lists(
    st.lists(st.binary(max_size=40), max_size=6).filter(any), min_size=1, max_size=5
)


@given(MESSAGES, st.integers(1, 50))
def test_any_parts_into_any_room(messages: list[list[bytes]], room: int) -> None:
    queue = SendQueue()
    for number, parts in enumerate(messages):
        queue.append([memoryview(part) for part in parts], sum(map(len, parts)), number + 1)
    slot = memoryview(bytearray(room + 10))
    for number, parts in enumerate(messages):
        whole = b"".join(parts)
        got = b""
        while len(got) < len(whole):
            before = queue.queued_bytes
            length, remaining, invalidate = queue.fill(slot, 5, 5 + room)
            got += slot[5 : 5 + length]
            assert queue.queued_bytes == before - length
            assert remaining == queue.remaining == len(whole) - len(got)
            assert length == room or not remaining
            assert invalidate == (0 if remaining else number + 1)
        assert got == whole
    assert queue.queued_bytes == 0
