"""An answer becomes every judgement it implies, and one that does not fit is refused."""

from __future__ import annotations

from itertools import combinations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.dataset.judgements import JUDGEMENT
from pairwright.components.preference.answers import Answer, BadAnswer, checked_answer, implied_judgements, places
from pairwright.components.preference.candidates import Candidate
from pairwright.components.preference.criteria import read_criteria

CRITERIA = read_criteria(None)
FOUR = tuple(Candidate(f"s{n}", f"caption {n}") for n in range(4))


@st.composite
def weak_orders(draw):
    """(ordering shown, what the page sends): every caption on a place, or rejected."""
    count = draw(st.integers(2, 6))
    ordering = draw(st.permutations(range(count)))
    rejected = sorted(draw(st.sets(st.integers(0, count - 1))))
    ranked = draw(st.permutations([n for n in range(count) if n not in rejected]))
    tiers: list[list[int]] = []
    for position in ranked:
        if tiers and draw(st.booleans()):
            tiers[-1].append(position)
        else:
            tiers.append([position])
    marked = draw(st.sets(st.integers(0, count - 1)))
    return ordering, {"rankings": {"preference": tiers}, "rejected": rejected, "flags": {"object": sorted(marked)}}


@settings(deadline=None)
@given(weak_orders())
def test_judgements_are_the_order_the_labeller_saw_and_nothing_else(case):
    ordering, said = case
    captions = tuple(Candidate(f"s{n}", f"caption {n}") for n in range(len(ordering)))
    answer = checked_answer(said, ordering, CRITERIA)
    assert Answer.from_dict(answer.as_dict()) == answer
    found = implied_judgements(captions, answer, "ann")
    pa.array(found, JUDGEMENT)  # has the schema's fields
    shown = [captions[number].text for number in ordering]
    rank = {shown[p]: i for i, tier in enumerate(said["rankings"]["preference"]) for p in tier}
    rank |= {shown[p]: len(ordering) for p in said["rejected"]}
    judged = {frozenset((one["better"], one["worse"])): one for one in found if one["kind"] == "preference"}
    assert len(judged) == sum(one["kind"] == "preference" for one in found)
    for a, b in combinations(shown, 2):
        one = judged.get(frozenset((a, b)))
        if rank[a] == rank[b] == len(ordering):
            assert one is None  # two rejected captions are not compared
        elif rank[a] == rank[b]:
            assert one["tie"]
        else:
            assert not one["tie"]
            assert one["better"] == min(a, b, key=rank.__getitem__)
    marked = {shown[p] for p in said["flags"]["object"]}
    flagged = {(one["better"], one["worse"]) for one in found if one["kind"] == "object"}
    assert flagged == {(a, b) for a in set(shown) - marked for b in marked}
    assert {(one["by"], one["origin"]) for one in found} <= {("ann", "human")}


@settings(deadline=None)
@given(weak_orders())
def test_places_are_mean_ranks(case):
    ordering, said = case
    found = places(checked_answer(said, ordering, CRITERIA), "preference", len(ordering))
    assert sum(found) == pytest.approx(len(ordering) * (len(ordering) + 1) / 2)
    assert places(checked_answer(said, ordering, CRITERIA), "fluency", len(ordering)) is None


def test_a_rejected_picture_judges_no_caption():
    answer = checked_answer({"picture": "rejected"}, [0, 1, 2, 3], CRITERIA)
    assert implied_judgements(FOUR, answer, "ann") == []


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"rankings": {"preference": [[0], [1], [2]]}}, "every caption must stand"),
        ({"rankings": {"preference": [[0], [1], [2], [2, 3]]}}, "every caption must stand"),
        ({"rankings": {"preference": [[0], [1], [2], [4]]}}, "there is no caption 4"),
        ({"rankings": {"preference": [[0], [1], [2], [True]]}}, "there is no caption True"),
        ({"rankings": {"preference": [[0], [], [1, 2, 3]]}}, "every caption must stand"),
        ({"rankings": {"preference": [[0], [1, 2]]}, "rejected": [3, 3]}, "named twice"),
        ({"rankings": {"fluency": [[0, 1, 2, 3]]}}, "must hold preference"),
        ({"rankings": {"preference": "0123"}}, "list of places"),
        ({}, "must hold preference"),
        ({"picture": "ugly"}, 'send "rejected"'),
        ({"rankings": {"preference": [[0, 1, 2, 3]]}, "flags": {"style": [1]}}, "flags must be among"),
        ({"rankings": {"preference": [[0, 1, 2, 3]]}, "seconds": "long"}, "seconds is no number"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused_with_the_reason(said, why):
    with pytest.raises(BadAnswer, match=why):
        checked_answer(said, [3, 1, 0, 2], CRITERIA)
