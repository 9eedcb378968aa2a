"""Messages are cut into fragments for any room."""

from hypothesis import given
from hypothesis import strategies as st

from usmbd.transport.smbdirect.sendqueue import SendQueue

MESSAGES = st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=5)


@given(MESSAGES, st.integers(1, 50))
def test_any_message_into_any_room(messages: list[bytes], room: int) -> None:
    queue = SendQueue()
    for number, message in enumerate(messages):
        queue.append(memoryview(message), number + 1)
    slot = memoryview(bytearray(room + 10))
    for number, whole in enumerate(messages):
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
