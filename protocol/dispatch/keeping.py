"""What a suspended request keeps of its message, and what that counts for (`state/memory`).

Calls on threads, or questions to mountd, end by themselves: what they keep is *under way*, and a
connection with too much of it is read on later. What waits for other clients keeps what its handler
took out of the message, gives the message back, and is refused where too much *waits*.
"""

from usmbd.protocol.commands.rdma_data import invalidated_token
from usmbd.protocol.commands.request import Request
from usmbd.protocol.effects import Wait
from usmbd.protocol.state.connection import CREDIT_SIZE
from usmbd.protocol.wire.header import HEADER_SIZE
from usmbd.protocol.wire.status import NtStatus, SmbError

MOST_CREDITS = 128
"""Credits that one request counts for at most, 8 MiB: clients may charge what they like."""

LEAST_SIZE = 4096
"""Bytes that a suspended request counts for at least: its objects take 1 to 3 KiB."""


def keep_call(request: Request) -> None:
    """Count a request whose call is made elsewhere: its message, or what its credits stand for.

    A READ's credits stand for its reply ([MS-SMB2] 3.3.5.2.5), for which there is memory already.
    """
    credits = min(request.header.credit_charge, MOST_CREDITS) or 1
    _count(request, max(_length(request), credits * CREDIT_SIZE))


def keep_question(request: Request, wait: Wait[object]) -> None:
    """Count a request that is answered soon, by mountd or another worker."""
    if not wait.keeps:
        _drop(request)
    _count(request, max(_length(request), wait.keeps, LEAST_SIZE))


def give_back(request: Request) -> None:
    """Count a request no more that goes on."""
    memory = request.connection.memory
    if request.kept:
        kept, request.kept = request.kept, 0
        memory.keep(-kept)
    if request.waits >= 0:
        waits, request.waits = request.waits, -1
        memory.waited(waits)


def wait(request: Request, wait: Wait[object]) -> None:
    """Count a request that waits for others; SmbError(INSUFFICIENT_RESOURCES) when refused."""
    size = wait.keeps
    chain = request.chain
    if chain is not None and not chain.last:
        size += chain.rest()
    if not request.connection.memory.wait(size):
        raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)
    request.waits = size
    _drop(request)


def _count(request: Request, size: int) -> None:
    """Count bytes as under way."""
    request.kept += size
    request.connection.memory.keep(size)


def _length(request: Request) -> int:
    """Return the bytes of the message, or of the whole compound."""
    chain = request.chain
    return len(request.message) if chain is None else len(chain.message)


def _drop(request: Request) -> None:
    """Give the memory of a message back that the handler is done with; its header stays."""
    if request.connection.rdma is not None and not request.invalidate:
        request.invalidate = invalidated_token(request)
    request.message = memoryview(bytes(request.message[:HEADER_SIZE]))
