"""Choosing among captions by their scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import InvalidRecipe
from pairwright.components.recaption.captioners.choose import Choose, ChooseSettings

texts = st.one_of(st.none(), st.sampled_from(["", "a cat", "two cats", "a dog"]))
scores = st.one_of(st.none(), st.floats(-3, 3))
rows = st.lists(st.tuples(texts, texts, scores, scores), min_size=1, max_size=8)


def chosen(said, margin=0.0):
    sidecar = [
        {"captions": [{"source": s, "text": t, "lang": None} for s, t in (("alt", a), ("fused", b)) if t is not None]}
        for a, b, _, _ in said
    ]
    columns = {"one.score": [row[2] for row in said], "two.score": [row[3] for row in said]}
    batch = PairBatch(np.arange(len(said)), [str(i) for i in range(len(said))], sidecar, columns=columns)
    wish = ChooseSettings(sources=("alt", "fused"), scores=("one.score", "two.score"), margin=margin)
    return Choose(wish).caption(batch)


@given(rows, st.floats(0, 1))
def test_nothing_better_by_the_margin_is_passed_over(said, margin):
    for (alt, fused, one, two), caption in zip(said, chosen(said, margin), strict=True):
        there = [text for text in (alt, fused) if text]
        if not there:
            assert caption is None
            continue
        assert caption.text in there
        both = bool(alt and fused) and one is not None and two is not None
        if both:
            assert caption.text == (fused if two - one > margin else alt)
            assert caption.note == ("from:fused" if two - one > margin else None)


def test_a_source_without_a_score_never_wins():
    assert [c.text for c in chosen([("a cat", "a dog", None, -2.0), ("a cat", "a dog", -2.0, None)])] == [
        "a dog",
        "a cat",
    ]
    assert chosen([("a cat", "a dog", None, None)])[0].text == "a cat"


def test_each_source_needs_its_score():
    with pytest.raises(InvalidRecipe, match=r"2 sources have 1 scores|at least 2"):
        ChooseSettings.parse({"sources": ["alt", "fused"], "scores": ["one.score"]}, "mine.yaml")
