"""Work of which few pieces are under way: its order, its number, what is needless by then."""

from usmbd.protocol.state.few import Few


class Works:
    """Work by numbers, some of it needless."""

    def __init__(self, *needless: int) -> None:
        """Have two places."""
        self.few = Few(2)
        self.begun: list[int] = []
        self._needless = needless

    def add(self, number: int, owner: str = "one") -> None:
        """Give work to be begun."""
        self.few.begin(owner, lambda: self._start(number))

    def _start(self, number: int) -> bool:
        if number in self._needless:
            return False
        self.begun.append(number)
        return True


def test_it_begins_in_its_order_as_places_become_free() -> None:
    works = Works(1, 3, 4)
    for number in range(7):
        works.add(number)
    assert works.begun == [0, 2]
    works.few.end()
    assert works.begun == [0, 2, 5]
    for _ in range(3):
        works.few.end()
    assert works.begun == [0, 2, 5, 6]
    for number in (7, 8, 9):
        works.add(number)
    assert works.begun == [0, 2, 5, 6, 7, 8]


def test_owners_take_turns() -> None:
    works = Works()
    for number in range(6):
        works.add(number, "many")
    works.add(100, "few")
    works.add(101, "few")
    for _ in range(6):
        works.few.end()
    assert works.begun == [0, 1, 2, 100, 3, 101, 4, 5]
