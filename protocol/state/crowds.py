"""What is counted of crowded files: their opens, or their locks, by who has them.

See `one_file`, which says when a file is crowded, and who is refused.
"""

from usmbd.protocol.state.fair_share import FairShare, Place
from usmbd.protocol.state.open import Open


class PlaceInFile(Place):
    """A place among the worker's, with one among those of a crowded file."""

    __slots__ = ("of_file", "of_worker")

    def __init__(self, of_worker: Place, of_file: Place) -> None:
        """Keep both; what the first has is counted in the second."""
        self.of_worker = of_worker
        self.of_file = of_file
        self.count = of_worker.count

    def take(self, count: int = 1) -> None:
        """Take more of both; SmbError(INSUFFICIENT_RESOURCES)."""
        self.of_file.take(count)
        try:
            self.of_worker.take(count)
        except BaseException:
            self.of_file.give_back(count)
            raise
        self.count += count

    def count_in(self, count: int) -> None:
        """Have so many that are there already."""
        self.of_file.count_in(count)
        self.of_worker.count_in(count)
        self.count += count

    def give_back(self, count: int | None = None) -> None:
        """Let others have some, or all for good."""
        self.count -= self.count if count is None else count
        self.of_worker.give_back(count)
        self.of_file.give_back(count)


class Crowd:
    """What this worker's clients have of one file."""

    def __init__(self, most: int) -> None:
        """Divide this worker's part of what is left."""
        self.share = FairShare(lambda: self.share.used + self._left)
        self._most = most
        self._left = 0

    def now(self, there: int, workers: int) -> None:
        """Know how many all workers' clients have: who takes the next has a part of it, too."""
        self._left = (self._most - there) // max(workers, 1) + 1

    def check(self, user: str, network: str) -> None:
        """SmbError(INSUFFICIENT_RESOURCES) if one more leaves too little to the others."""
        self.share.take(user, network).give_back()

    def enter_open(self, open_: Open) -> None:
        """Count an open until it ends."""
        if open_.place is not None:
            open_.place = self._beside(open_, open_.place, 1)

    def enter_locks(self, open_: Open) -> None:
        """Count the locks of an open, which may get more."""
        if open_.lock_place is not None:
            open_.lock_place = self._beside(open_, open_.lock_place, open_.lock_count)

    def _beside(self, open_: Open, place: Place, count: int) -> Place:
        """Return a place with so many of the file beside one of the worker's."""
        if isinstance(place, PlaceInFile):
            place = place.of_worker  # of the same file, which was crowded before
        of_file = self.share.place(open_.session.proven_user, open_.connection.network)
        if count:
            of_file.count_in(count)
        return PlaceInFile(place, of_file)


class Crowds:
    """The crowded files of a worker: by their opens, and by their locks."""

    def __init__(self) -> None:
        """Begin without any."""
        self.opens: dict[bytes, Crowd] = {}
        self.locks: dict[bytes, Crowd] = {}
