"""Krippendorff's alpha against the worked examples he published."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.preference.agreement import alpha, interval, nominal, ordinal


def table(*rows: str) -> list[dict[int, int]]:
    """One row a labeller, one column a unit; `.` where there is no answer."""
    answers = [row.split() for row in rows]
    return [
        {who: int(row[unit]) for who, row in enumerate(answers) if row[unit] != "."} for unit in range(len(answers[0]))
    ]


# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", examples A and C.
BINARY = table("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0")
FOUR_LABELLERS = table(
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)
# The example with most answers missing (Krippendorff, Content Analysis; also Wikipedia's).
MISSING = table(
    ". . . . . 3 4 1 2 1 1 3 3 . 3",
    "1 . 2 1 3 3 4 3 . . . . . . .",
    ". . 2 1 3 4 4 . 2 1 1 3 3 . 4",
)


@pytest.mark.parametrize(
    ("units", "metric", "published"),
    [
        (BINARY, nominal, 0.095),
        (FOUR_LABELLERS, nominal, 0.743),
        (FOUR_LABELLERS, ordinal, 0.815),
        (FOUR_LABELLERS, interval, 0.849),
        (MISSING, nominal, 0.691),
        (MISSING, interval, 0.811),
    ],
)
def test_alpha_equals_the_published_value(units, metric, published):
    assert alpha(units, metric) == pytest.approx(published, abs=6e-4)


def test_binary_data_give_the_same_alpha_under_every_metric():
    """Krippendorff: with two values, nominal, ordinal and interval coincide."""
    assert alpha(BINARY, ordinal) == pytest.approx(alpha(BINARY, nominal))
    assert alpha(BINARY, interval) == pytest.approx(alpha(BINARY, nominal))


def test_an_ordinal_metric_forgives_a_near_miss_more_than_a_far_one():
    near = table("1 2 3 4 1 2 3 4", "1 2 3 4 2 2 3 4")
    far = table("1 2 3 4 1 2 3 4", "1 2 3 4 4 2 3 4")
    assert alpha(near, ordinal) > alpha(far, ordinal)


answers = st.lists(st.dictionaries(st.integers(0, 3), st.integers(0, 4), max_size=4), max_size=12)


@pytest.mark.slow
@settings(deadline=None)
@given(answers)
def test_alpha_is_at_most_one_and_one_exactly_without_disagreement(units):
    for metric in (nominal, ordinal, interval):
        found = alpha(units, metric)
        paired = [set(unit.values()) for unit in units if len(unit) > 1]
        if math.isnan(found):
            assert len(set().union(*paired)) <= 1 if paired else True
        else:
            assert found <= 1 + 1e-12
            assert (found == pytest.approx(1)) == all(len(values) == 1 for values in paired)


@settings(deadline=None)
@given(answers, st.randoms())
def test_alpha_does_not_depend_on_who_is_who_or_on_the_order(units, draw):
    names = [10, 11, 12, 13]
    draw.shuffle(names)
    other = [{names[who]: value for who, value in unit.items()} for unit in units]
    draw.shuffle(other)
    for metric in (nominal, ordinal):
        assert alpha(other, metric) == pytest.approx(alpha(units, metric), nan_ok=True)


def test_answers_at_random_have_an_alpha_near_zero():
    draw = random.Random(0)
    units = [{"a": draw.randint(1, 3), "b": draw.randint(1, 3)} for _ in range(5000)]
    assert abs(alpha(units, ordinal)) < 0.05
    assert abs(alpha(units, nominal)) < 0.05
