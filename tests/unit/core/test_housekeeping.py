"""What is prepared ahead is handed over once, and never touched again."""

from __future__ import annotations

from pathlib import Path

from chronicle.core.housekeeping import Housekeeper

SIZE = 1 << 20


def test_a_blank_that_was_taken_is_not_reused_for_the_next(tmp_path: Path) -> None:
    """The next one may be asked for while the first is still being made a segment."""
    keeper = Housekeeper(tmp_path, "q.q")
    keeper.prepare(SIZE)
    keeper.finish()
    taken = keeper.take_blank(SIZE)
    assert taken is not None
    first, mapping = taken
    assert mapping.length == SIZE == first.stat().st_size
    first.write_bytes(b"header".ljust(SIZE, b"x"))
    keeper.prepare(SIZE)
    keeper.finish()
    second = keeper.take_blank(SIZE)
    assert second is not None
    assert second[0] != first
    assert first.read_bytes()[:7] == b"headerx"
    keeper.close()


def test_one_blank_is_kept_and_the_unused_are_removed(tmp_path: Path) -> None:
    keeper = Housekeeper(tmp_path, "q.q")
    for size in (SIZE, SIZE, 2 * SIZE):
        keeper.prepare(size)
        keeper.finish()
    assert keeper.take_blank(SIZE) is None
    assert len(list(tmp_path.iterdir())) == 1
    keeper.close()
    assert not list(tmp_path.iterdir())
