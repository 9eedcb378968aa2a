"""READ and WRITE by RDMA: whatever the channel information says, nothing is left of it."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from smbengine import requests
from smbengine.rdma import (
    ENCRYPTION,
    SIGNING,
    Session,
    Transform,
    build_transform,
    check_written,
)
from smbengine.server import Engine

from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus
from usmbd.transport.base import RemoteBuffer
from usmbd.transport.smbdirect.posted_work import PINNED


class Fuzzed(NamedTuple):
    """A server with one file that is fuzzed."""

    engine: Engine
    sessions: list[Session]


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    """Run one engine for all examples; nothing of them is left."""
    engine = Engine(tmp_path_factory.mktemp("fuzz"), transport="smbdirect")
    yield Fuzzed(engine, [])
    engine.close()


numbers = st.one_of(
    st.integers(0, 300), st.sampled_from([2**16 - 1, 2**20, 2**31, 2**32 - 1]), st.integers(0, 9999)
)
fields16 = st.one_of(st.integers(0, 200), st.integers(0, 0xFFFF))


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_whatever_the_channel_says(fuzzed: Fuzzed, data: st.DataObject) -> None:
    engine, sessions = fuzzed
    if not sessions or sessions[-1].rdma.lost:
        sessions.append(Session(engine, 0x311, transforms=(ENCRYPTION, SIGNING)))
    session = sessions[-1]
    region = session.register(4096)
    right = region.remote()
    descriptor = st.builds(
        RemoteBuffer,
        offset=st.one_of(st.just(right.offset), st.integers(0, 2**64 - 1)),
        token=st.one_of(st.just(right.token), st.integers(0, 2**32 - 1)),
        length=st.one_of(st.just(4096), numbers),
    )
    good = st.lists(descriptor, max_size=4).map(lambda many: requests.descriptors(*many))
    transform = st.builds(
        build_transform,
        st.builds(
            Transform,
            st.integers(0, 3),
            st.binary(max_size=20),
            st.one_of(st.binary(max_size=16), st.binary(min_size=12, max_size=12)),
        ),
        good,
        st.integers(0, 4),
        st.integers(0, 3),
    )
    info = data.draw(st.one_of(good, transform, st.binary(max_size=100)))
    channel = data.draw(st.integers(0, 5))
    length = data.draw(numbers)
    if data.draw(st.booleans()):
        fields = data.draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "read_channel_info_offset": fields16,
                    "read_channel_info_length": fields16,
                    "minimum_count": numbers,
                    "remaining_bytes": numbers,
                },
            )
        )
        body = requests.read_remote(session.file, length, info, channel, **fields)
        command = Command.READ
    else:
        fields = data.draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "length": numbers,
                    "data_offset": fields16,
                    "write_channel_info_offset": fields16,
                    "write_channel_info_length": fields16,
                },
            )
        )
        body = requests.write_remote(session.file, length, info, channel, **fields)
        command = Command.WRITE
    replies = session.client.taken(session.client.post(command, body))
    assert len(replies) == 1 or session.rdma.lost
    assert all(reply.status is not NtStatus.INTERNAL_ERROR for reply in replies)
    assert_nothing_is_kept(engine, session)
    region.memory.deregister()


def assert_nothing_is_kept(engine: Engine, session: Session) -> None:
    """Assert that all memory is free, but for what small WRITEs keep until a completion."""
    assert engine.network is not None
    pool = engine.network.pool
    if pool.in_use() and not session.rdma.lost:
        assert pool.in_use() < PINNED
        # Reading the client's memory completes, and with it everything before.
        region = session.register(b"more")
        check_written(session.write(4, region.remote()), 4)
        region.memory.deregister()
    assert pool.in_use() == 0
