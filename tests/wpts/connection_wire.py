"""A whole connection as the server: raw bytes over the in-memory fabric's queue pairs."""

from collections.abc import Callable

from smbdirect.client import RawClient
from smbdirect.network import Network

from usmbd.transport.smbdirect.connection import SmbDirectTransport, State


class _Answers:
    """The server's upper layer."""

    def __init__(self, transport: SmbDirectTransport, answer: Callable[[bytes], bytes]) -> None:
        """Answer every message of `transport`."""
        self.message_limit = 1 << 24
        self._transport = transport
        self._answer = answer

    def message_received(self, message: memoryview) -> None:
        """Answer."""
        self._transport.send([self._answer(bytes(message))])

    def connection_lost(self, reason: str) -> None:
        """Have nothing to give up."""


class ConnectionWire:
    """One connection, as the client's side of the network sees it (`conftest.Wire`)."""

    def __init__(self, network: Network, answer: Callable[[bytes], bytes]) -> None:
        """Be accepted."""
        self._network = network
        self._client = RawClient(network.client_device)
        self._transport = network.connect(self._client)
        self._transport.start(_Answers(self._transport, answer))

    @property
    def closed(self) -> bool:
        """Whether the server has ended the connection."""
        return self._transport.state is not State.OPEN

    def send(self, message: bytes) -> None:
        """Let one message arrive at the server."""
        assert not self.closed
        assert self._client.post(message)
        self._network.settle()

    def receive(self) -> bytes:
        """Return the oldest message that arrived and was not taken yet."""
        if not self._client.messages:
            raise TimeoutError
        return self._client.messages.popleft()

    def advance(self, seconds: float) -> None:
        """Let time pass for the server."""
        self._network.advance(seconds)

    def disconnect(self) -> None:
        """End the connection from the client's side."""
        self._client.close()
        self._network.settle()
