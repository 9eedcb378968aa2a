"""The presentation contexts of an association: what is bound, in which encoding (C706 12.6.3)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from usmbd.mountd.rpc import pdu
from usmbd.mountd.rpc.pdu import ContextResult, ProviderReason, Syntax

if TYPE_CHECKING:
    from usmbd.mountd.rpc.endpoint import Interface

MAX_CONTEXTS = 32
"""Presentation contexts one association may hold, over its bind and all alter_contexts."""

KEEP_CONNECTION_ON_ORPHAN = 0x02
"""The one bind time feature offered: an orphaned call does not end the association
([MS-RPCE] 2.2.2.14). Security contexts are not multiplexed: an association has one."""


class Contexts:
    """What one association has bound."""

    def __init__(self, interfaces: Sequence["Interface"]) -> None:
        """Begin with none; `interfaces` can be bound."""
        self._interfaces = interfaces
        self._bound: dict[int, tuple[Interface, bool]] = {}

    def get(self, context_id: int) -> tuple["Interface", bool] | None:
        """Return the interface of a context, and whether it speaks NDR64."""
        return self._bound.get(context_id)

    def clear(self) -> None:
        """Forget all: the association has ended."""
        self._bound.clear()

    def decide(self, bind: pdu.Bind) -> list[pdu.Result]:
        """Decide every context of a bind or alter_context; return one result for each.

        A client that offers both is given NDR 2.0, as every server but Windows does: clients
        meet it daily. NDR64 is for those that offer nothing else. PduError where a context that is
        there would be another: calls that are under way would be for what they do not mean.
        """
        plain = {
            element.abstract for element in bind.contexts if pdu.NDR_SYNTAX in element.transfers
        }
        results = [self._negotiate(element, plain) for element in bind.contexts]
        excess = pdu.Result(
            ContextResult.PROVIDER_REJECTION, ProviderReason.LOCAL_LIMIT_EXCEEDED, pdu.NO_SYNTAX
        )
        return results + [excess] * (bind.total_contexts - len(results))

    def _negotiate(self, element: pdu.ContextElement, plain: set[Syntax]) -> pdu.Result:
        """Accept or reject one context; an accepted one becomes usable in requests.

        `plain` holds the interfaces that the same PDU offers in NDR 2.0.
        """
        for transfer in element.transfers:
            raw = transfer.uuid.bytes_le
            if raw[:8] == pdu.BIND_TIME_FEATURES_PREFIX:
                return pdu.Result(
                    ContextResult.NEGOTIATE_ACK,
                    int.from_bytes(raw[8:10], "little") & KEEP_CONNECTION_ON_ORPHAN,
                    pdu.NO_SYNTAX,
                )
        interface = self._find(element.abstract)
        before = self._bound.get(element.context_id)
        if before is not None and interface is not None and before[0] is not interface:
            raise pdu.PduError(f"context {element.context_id} is another interface's")
        if interface is None:
            reason = ProviderReason.ABSTRACT_SYNTAX_NOT_SUPPORTED
        elif len(self._bound) >= MAX_CONTEXTS and element.context_id not in self._bound:
            reason = ProviderReason.LOCAL_LIMIT_EXCEEDED
        elif pdu.NDR_SYNTAX in element.transfers:
            self._bound[element.context_id] = interface, False
            return pdu.Result(ContextResult.ACCEPTANCE, 0, pdu.NDR_SYNTAX)
        elif pdu.NDR64_SYNTAX in element.transfers and element.abstract not in plain:
            self._bound[element.context_id] = interface, True
            return pdu.Result(ContextResult.ACCEPTANCE, 0, pdu.NDR64_SYNTAX)
        else:
            reason = ProviderReason.PROPOSED_TRANSFER_SYNTAXES_NOT_SUPPORTED
        return pdu.Result(ContextResult.PROVIDER_REJECTION, reason, pdu.NO_SYNTAX)

    def _find(self, abstract: Syntax) -> "Interface | None":
        """Return the interface of that identifier whose version serves the one asked for."""
        for interface in self._interfaces:
            own = interface.syntax
            if (own.uuid, own.major) == (abstract.uuid, abstract.major):
                return interface if abstract.minor <= own.minor else None
        return None
