"""Keys that take long to derive: on a thread, the cheapest first, so many at a time."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from usmbd.mountd import derivations
from usmbd.mountd.derivations import Derivations


def run(work: Callable[[Derivations, list[object]], threading.Event], count: int) -> list[object]:
    """Have `work` begin some, which wait for its event; return what they came to, in order."""

    async def main() -> list[object]:
        loop = asyncio.get_running_loop()
        all_found = asyncio.Event()

        class Found(list[object]):
            def append(self, each: object) -> None:
                super().append(each)
                if len(self) == count:
                    all_found.set()

        found = Found()
        go = work(Derivations(loop), found)
        go.set()
        await asyncio.wait_for(all_found.wait(), 30)
        return list(found)

    return asyncio.run(main())


def test_the_cheapest_first() -> None:
    def work(made: Derivations, found: list[object]) -> threading.Event:
        go = threading.Event()
        for cost in (50, 1000, 7, 300):
            made.begin(cost, lambda cost=cost: go.wait() and cost, found.append)
        assert not found
        return go

    assert run(work, 4) == [50, 7, 300, 1000]


def test_the_most_costly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derivations, "MAX_WAITING", 2)

    def work(made: Derivations, found: list[object]) -> threading.Event:
        go = threading.Event()
        for cost in (50, 1000, 7, 300, 2000):
            made.begin(cost, lambda cost=cost: go.wait() and cost, found.append)
        assert found == [None, None]  # 1000, then 2000
        return go

    assert run(work, 5) == [None, None, 50, 7, 300]


def test_what_cannot_be_derived() -> None:
    def work(made: Derivations, found: list[object]) -> threading.Event:
        made.begin(1, lambda: int("x"), found.append)
        return threading.Event()

    assert run(work, 1) == [None]
