"""Memory that data of READs goes to, where the peer gets its key (iWARP)."""

from dataclasses import replace

import pytest
from smbdirect.network import Network

from usmbd.transport.smbdirect.fabric.device import LIMITS
from usmbd.transport.smbdirect.provider import Access
from usmbd.transport.smbdirect.registered_memory import LARGEST

from .conftest import Link, pattern


@pytest.fixture
def network() -> Network:
    """Return a network whose server has an iWARP device."""
    return Network(device=replace(LIMITS, exposes_read_sinks=True))


def exposed(network: Network) -> list[int]:
    """Return the sizes of the server's regions that a peer can write or read."""
    remote = Access.REMOTE_WRITE | Access.REMOTE_READ
    regions = network.server_device.local.values()
    return [len(region.view) for region in regions if region.access & remote]


def test_what_a_peer_may_write_is_used_by_its_own_reads_alone(network: Network) -> None:
    reader, other = Link(network).start(), Link(network).start()
    assert exposed(network) == []
    secret = other.memory(pattern(5000, 1))
    region = reader.client.register(pattern(3 << 20))
    view = reader.transport.buffer(3 << 20)
    assert network.pool.owns(view)
    reader.transport.read_remote(view, [region.remote()], reader.done.append)
    network.pump()
    assert reader.done == [None]
    assert view == pattern(3 << 20)
    assert secret == pattern(5000, 1)
    (sink,) = [m for m in network.server_device.local.values() if m.access & Access.REMOTE_WRITE]
    # What has come is the server's own: the peer may write over its sink now, and changes nothing.
    sink.view[:] = bytes(len(sink.view))
    assert view == pattern(3 << 20)
    assert len(sink.view) == LARGEST
    del view, secret, sink
    reader.client.close()
    network.pump()
    assert exposed(network) == []
    network.close()


def test_no_peer_can_reach_memory_of_other_devices(network: Network) -> None:
    network.close()
    network = Network()
    link = Link(network).start()
    region = link.client.register(pattern(5000))
    view = link.transport.buffer(5000)
    link.transport.read_remote(view, [region.remote()], link.done.append)
    network.pump()
    assert link.done == [None]
    assert exposed(network) == []
    del view
    network.close()
