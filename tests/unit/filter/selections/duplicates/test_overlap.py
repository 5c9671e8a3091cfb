"""Reading ahead and writing behind keep the order, bound what is held, and lose no error."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.filter.selections.duplicates.overlap import ahead, behind


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(), max_size=30), st.integers(1, 6))
def test_reading_ahead_is_a_map_in_order(items: list[int], depth: int) -> None:
    assert list(ahead(lambda item: item * 2, items, depth)) == [item * 2 for item in items]


def test_no_more_than_the_depth_is_read_ahead() -> None:
    begun: list[int] = []
    for position, item in enumerate(ahead(lambda item: begun.append(item) or item, range(50), depth=3)):
        assert item == position
        time.sleep(0.002)
        assert len(begun) <= position + 1 + 3
    assert sorted(begun) == list(range(50))


def test_what_goes_wrong_while_reading_is_raised_in_its_turn() -> None:
    seen: list[int] = []
    with pytest.raises(ZeroDivisionError):
        seen.extend(ahead(lambda item: 1 // item, [2, 1, 0, 3], depth=2))
    assert seen == [0, 1]


def test_writing_behind_keeps_the_order_and_ends_before_the_block_does() -> None:
    written: list[int] = []
    with behind(lambda item: (time.sleep(0.001), written.append(item))) as write:
        for item in range(20):
            write(item)
            assert len(written) >= item - 1  # one is under way, none waits behind it
    assert written == list(range(20))


@pytest.mark.parametrize("bad", [0, 4])
def test_what_goes_wrong_while_writing_is_raised(bad: int) -> None:
    def write_one(item: int) -> None:
        if item == bad:
            raise OSError("the disk is full")

    def write_all() -> None:
        with behind(write_one) as write:
            for item in range(5):
                write(item)

    with pytest.raises(OSError, match="disk is full"):
        write_all()


def test_both_sides_work_at_once() -> None:
    """The writer is inside its first write when the caller comes with its second item."""
    inside, may_end = threading.Event(), threading.Event()

    def slow(item: int) -> None:
        inside.set()
        assert may_end.wait(5)

    with behind(slow) as write:
        write(1)
        assert inside.wait(5)
        may_end.set()
