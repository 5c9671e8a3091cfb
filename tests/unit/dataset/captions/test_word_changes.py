"""Word changes: what is marked is all that changed, and the new caption stands there to the letter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairwright.components.dataset.captions.word_changes import marks_worth_seeing, word_changes

WORDS = st.lists(st.sampled_from(["a", "A", "cat", "dog,", "black", "café", "“red”", "猫と", "it's", "."]), max_size=12)
TEXTS = WORDS.map(" ".join)


@given(TEXTS, TEXTS)
def test_what_is_left_and_added_is_the_new_caption(before: str, after: str) -> None:
    changes = word_changes(before, after)
    assert "".join(text for kind, text in changes if kind != "del") == after
    left = "".join(text for kind, text in changes if kind != "ins")
    assert "".join(left.casefold().split()) == "".join(before.casefold().split())


@given(TEXTS)
def test_a_caption_against_itself_is_unchanged(text: str) -> None:
    assert all(kind == "same" for kind, _ in word_changes(text, text))


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ("a cat", "a black cat", [("same", "a "), ("ins", "black "), ("same", "cat")]),
        ("A cat.", "a cat", [("same", "a cat"), ("del", ".")]),
        ("a dog", "a cat", [("same", "a "), ("del", "dog "), ("ins", "cat")]),
        ("a cat asleep", "a cat", [("same", "a cat"), ("del", " asleep")]),
        ("", "a cat", [("ins", "a cat")]),
        ("赤い車", "赤い古い車", [("same", "赤い"), ("ins", "古い"), ("same", "車")]),
        ("a cat", "", [("del", "a cat")]),
    ],
)
def test_marks_are_words(before: str, after: str, changes: list[tuple[str, str]]) -> None:
    assert word_changes(before, after) == changes


def test_another_caption_is_not_marked_word_for_word() -> None:
    assert marks_worth_seeing("part of the flat icon collection", "the trash") == []
    assert marks_worth_seeing("part of the flat icon collection", "an icon") == []
    assert marks_worth_seeing("a flat icon of trash", "a blue icon of trash, with text") != []
    assert marks_worth_seeing(None, "a flat icon") == marks_worth_seeing("", "a flat icon") == []
