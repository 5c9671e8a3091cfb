"""What of one text another has lost."""

from __future__ import annotations

from pairwright.components.recaption.mentions import lost


def test_a_phrase_is_lost_with_any_of_its_words_and_not_with_its_number() -> None:
    assert lost(["San Luis Rey", "Rome"], "the rey of san luis") == ["Rome"]
    assert lost(["San Luis Rey"], "san luis") == ["San Luis Rey"]
    assert lost(["box", "cherries", "glass"], "boxes, a cherry and glass") == []
