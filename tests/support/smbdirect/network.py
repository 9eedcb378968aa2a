"""A fabric with one server on it: connections from a client to `SmbDirectTransport`, in steps."""

from collections.abc import Callable

from smbdirect.client import RawClient
from smbdirect.step_loop import StepLoop
from usmbd.transport.smbdirect.attributes import State
from usmbd.transport.smbdirect.connection import LINGER_SECONDS, SmbDirectTransport
from usmbd.transport.smbdirect.connection import State as Connection
from usmbd.transport.smbdirect.depths import open_queue_pair
from usmbd.transport.smbdirect.fabric.device import LIMITS, Fabric
from usmbd.transport.smbdirect.fabric.queue_pair import FabricQueuePair
from usmbd.transport.smbdirect.limits import Limits
from usmbd.transport.smbdirect.provider import DeviceLimits
from usmbd.transport.smbdirect.registered_memory import LARGEST, Pool
from usmbd.transport.turns import Turns

READS = 4
ROUNDS = 10_000


class Network:
    """One server's device with its pool, the clients' device, and the loop of the server."""

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        device: DeviceLimits = LIMITS,
        pool_limit: int = 2 * LARGEST,
        loop: StepLoop | None = None,
    ) -> None:
        """Begin without connections; `device` is what the server's device can do."""
        self.limits = limits or Limits()
        self.fabric = Fabric()
        self.server_device = self.fabric.device("server", device)
        self.client_device = self.fabric.device("client")
        self.pool = Pool(self.server_device, initial=LARGEST, limit=pool_limit)
        self.loop = loop or StepLoop()
        self.turns: Turns | None = None
        """What divides the loop's time; None: nobody else waits."""
        self.transports: list[SmbDirectTransport] = []
        self.clients: list[RawClient] = []
        self.disconnects: dict[SmbDirectTransport, int] = {}
        """How often each transport has asked to be disconnected."""

    def connect(self, client: RawClient, *, reads: int = READS) -> SmbDirectTransport:
        """Accept a client as the connection manager does; the transport is not started."""
        theirs = client.queue_pair
        ours = open_queue_pair(self.server_device, self.limits)
        assert isinstance(ours, FabricQueuePair)

        def disconnect() -> None:
            self.disconnects[transport] += 1
            if not client.closed:
                client.server_disconnected()

        transport = SmbDirectTransport(
            self.server_device,
            self.pool,
            ours,
            self.limits,
            self.loop,
            peer="192.0.2.2",
            local="192.0.2.1",
            disconnect=disconnect,
            reads=reads,
            turns=self.turns,
        )
        self.disconnects[transport] = 0
        client.disconnect = transport.disconnected
        attributes = self.fabric.attributes
        theirs.modify(*attributes(State.INIT))
        client.post_receives()
        states = (State.INIT, State.RTR, State.RTS)
        transport.prepare(*(attributes(s, theirs.number, reads=reads) for s in states))
        for state in states[1:]:
            # It answers as many as it has said.
            theirs.modify(*attributes(state, ours.number, reads=max(reads, READS)))
        self.transports.append(transport)
        self.clients.append(client)
        return transport

    def pump(self) -> int:
        """Let the loop and all clients work until nothing moves; return how much did."""
        total = 0
        while moved := self.loop.pump() + sum(client.pump() for client in self.clients):
            total += moved
            assert total < ROUNDS * 100, "they never come to rest"
        return total

    def settle(self) -> int:
        """Do so, and let connections end whose last messages are waited for."""
        moved = self.pump()
        if not moved and any(t.state is Connection.CLOSING for t in self.transports):
            self.advance(LINGER_SECONDS)
            return 1
        return moved

    def until(self, condition: Callable[[], object]) -> None:
        """Work until a condition holds."""
        for _ in range(ROUNDS):
            if condition():
                return
            if not self.loop.turn() + sum(client.pump() for client in self.clients):
                break
        assert condition(), "it does not come"

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.loop.advance(seconds, self.pump)

    def close(self) -> None:
        """End all of it; everything must have been given back, and everyone told once."""
        for transport in self.transports:
            transport.close("the test is over")
        self.fabric.resume()
        self.advance(10.0)
        for client in self.clients:
            client.close()
        self.pump()
        for transport in self.transports:
            assert transport.state is Connection.FINISHED
            assert self.disconnects[transport] == 1
        assert not self.loop.readers
        assert not self.loop.timers
        assert self.pool.in_use() == 0
        self.pool.close()
        assert self.fabric.leaks() == []
