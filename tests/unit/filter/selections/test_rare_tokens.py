"""Rare tokens against a plain count of every word and pair of words, and what a vocabulary's edge does."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from populations import view_of

from pairwright.components.filter.selections.rare_tokens import RareTokens, RareTokensSettings

CAPTIONS = st.lists(
    st.one_of(st.none(), st.lists(st.sampled_from("abcde"), max_size=6).map(" ".join)), min_size=1, max_size=20
)


def select(root: Path, captions: list[str | None], **options: Any) -> dict[str, list[Any]]:
    said = {str(i): text for i, text in enumerate(captions) if text is not None}
    view = view_of(root, {"a.x": pa.array(range(len(captions)))}, shards=min(2, len(captions)), captions=said)
    found = RareTokens(RareTokensSettings(**options)).select(view)
    assert {name: array.type for name, array in found.items()} == dict(RareTokens.columns)
    return {name: array.to_pylist() for name, array in found.items()}


def counted(captions: list[str | None], vocabulary: int) -> list[tuple[int | None, str | None]]:
    """(rare tokens, the rarest) of each caption, by the definition."""
    tokens = [None if text is None else (w := text.split()) + [" ".join(p) for p in pairwise(w)] for text in captions]
    counts = Counter(token for one in tokens for token in one or ())
    ordered = sorted(counts.values(), reverse=True)
    last = ordered[vocabulary - 1] if len(ordered) >= vocabulary else 0
    return [
        (None, None)
        if one is None
        else (
            sum(counts[token] < last for token in one),
            min(one, key=lambda token: (counts[token], token)) if one else None,
        )
        for one in tokens
    ]


@given(CAPTIONS, st.integers(1, 30))
@settings(max_examples=15, deadline=None)
def test_it_is_the_plain_count(captions: list[str | None], vocabulary: int) -> None:
    with TemporaryDirectory() as root:
        found = select(Path(root), captions, vocabulary=vocabulary)
    assert list(zip(found["rare"], found["rarest"], strict=True)) == counted(captions, vocabulary)
    assert found["unigrams"] == [None if text is None else len(text.split()) for text in captions]


def test_a_tie_at_the_vocabularys_edge_is_inside_and_a_pair_of_known_words_may_be_rare(tmp_path: Path) -> None:
    captions = ["red bus", "red bus", "red car", "blue bus", "Red, BUS!", "mggqpuweqdpd red"]
    found = select(tmp_path, captions, vocabulary=3)  # red 5, bus 4, "red bus" 3
    assert found["rare"] == [0, 0, 2, 2, 0, 2]
    assert found["rarest"] == ["red bus", "red bus", "car", "blue", "red bus", "mggqpuweqdpd"]
    assert found["rarest_count"] == [3, 3, 1, 1, 3, 1]
    known = select(tmp_path / "ties", ["red bus", "red bus", "blue bus", "blue bus"], vocabulary=4)
    assert known["rare"] == [0] * 4  # bus 4; red, blue and both pairs 2: the fourth place is a tie of four


def test_unigrams_alone_and_scripts_with_marks(tmp_path: Path) -> None:
    captions = ["हिन्दी मानचित्र", "हिन्दी बस", None, "  ", "बस मानचित्र"]
    found = select(tmp_path, captions, vocabulary=3, orders=(1,))
    assert found["unigrams"] == [2, 2, None, 0, 2]  # a vowel sign is part of its word
    assert found["rare"] == [0, 0, None, 0, 0]
    assert found["rarest"][3] is None
