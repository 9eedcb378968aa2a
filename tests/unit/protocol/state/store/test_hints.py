"""The table that says "no locks here" is right after it was counted anew."""

from collections import Counter
from pathlib import Path
from zlib import crc32

from usmbd.protocol.state.store.hints import HINT_MASK, Hints, Late


def test_every_slot_is_right_when_all_were_counted_anew(tmp_path: Path) -> None:
    Hints.create(tmp_path / "hints")
    hints = Hints(tmp_path / "hints", Late())
    many = [b"%d" % number for number in range(1000)]
    for keys in (many, many[:500] * 2, [b"other"], []):
        hints.recount(keys)
        slots = Counter(crc32(key) & HINT_MASK for key in keys)
        assert list(hints.counts) == [slots[slot] for slot in range(HINT_MASK + 1)]
    hints.close()
