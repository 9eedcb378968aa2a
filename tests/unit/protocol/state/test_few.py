"""Work of which few pieces are under way: its order, its number, what is needless by then."""

from usmbd.protocol.state.few import Few


def test_it_begins_in_its_order_as_places_become_free() -> None:
    few = Few(2)
    begun: list[int] = []
    needless = {1, 3, 4}

    def start(number: int) -> bool:
        if number in needless:
            return False
        begun.append(number)
        return True

    for number in range(7):
        few.begin(lambda number=number: start(number))
    assert begun == [0, 2]
    few.end()
    assert begun == [0, 2, 5]
    few.end()
    few.end()
    few.end()
    assert begun == [0, 2, 5, 6]
    few.begin(lambda: start(7))
    few.begin(lambda: start(8))
    few.begin(lambda: start(9))
    assert begun == [0, 2, 5, 6, 7, 8]
