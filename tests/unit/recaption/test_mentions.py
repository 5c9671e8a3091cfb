"""Numbers of English texts, and what of one text another has lost."""

from __future__ import annotations

import pytest

from pairwright.components.recaption.mentions import lost, numbers_in


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("two dogs and 1,000 sheep", {"2", "1000"}),
        ("3.50 or 3,5 metres", {"3.50", "3.5"}),
        ("room 007", {"7"}),
        ("one of them, someone", set()),
        ("MP3 and R2D2", set()),
        ("a 2nd try, 10km away", {"2", "10"}),
        ("no number", set()),
    ],
)
def test_numbers_are_found_however_they_are_written(text: str, numbers: set[str]) -> None:
    assert numbers_in(text) == numbers


def test_a_phrase_is_lost_with_any_of_its_words_and_not_with_its_number() -> None:
    assert lost(["San Luis Rey", "Rome"], "the rey of san luis") == ["Rome"]
    assert lost(["San Luis Rey"], "san luis") == ["San Luis Rey"]
    assert lost(["box", "cherries", "glass"], "boxes, a cherry and glass") == []
