"""A rank inside the group: every group is cut alike, whatever scale its scores have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from populations import view_of

from pairwright.components.errors import InvalidRecipe
from pairwright.components.filter.selections.group_quantile import GroupQuantile, GroupQuantileSettings, group_ranks


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-4, 4), st.booleans()), min_size=1, max_size=60))
def test_ranks_are_those_of_the_definition(rows: Any) -> None:
    label = np.array([row[0] for row in rows])
    score = np.array([float(row[1]) for row in rows])
    ranked = np.array([row[2] for row in rows])
    rank, count = group_ranks(score, label, ranked)
    for i in np.flatnonzero(ranked):
        mates = score[ranked & (label == label[i])]
        below, equal, size = (mates < score[i]).sum(), (mates == score[i]).sum(), len(mates)
        expected = 0.5 if size == 1 else (below + (equal - 1) / 2) / (size - 1)
        assert count[i] == size
        assert rank[i] == pytest.approx(expected)


def population(root: Path, score: np.ndarray, lang: list[str], **options: Any) -> Any:
    columns = {"align.score": pa.array(score, pa.float32()), "language.lang": pa.array(lang, pa.string())}
    return view_of(root, columns, shards=3, **options)


def select(view: Any, **options: Any) -> dict[str, list[Any]]:
    made = GroupQuantile(GroupQuantileSettings(score="align.score", **options)).select(view)
    return {name: array.to_pylist() for name, array in made.items()}


def test_one_rule_keeps_the_same_share_of_every_group_where_one_threshold_does_not(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lang = ["en"] * 400 + ["de"] * 200 + ["sw"] * 100
    level = np.repeat([0.3, 0.2, 0.05], [400, 200, 100])
    score = level + 0.02 * random.normal(size=700)
    found = select(population(tmp_path, score, lang), by=["language.lang"])
    kept = np.array(found["rank"]) >= 0.7
    share = {name: kept[[other == name for other in lang]].mean() for name in set(lang)}
    assert all(abs(value - 0.3) < 0.02 for value in share.values())
    plain = score >= np.quantile(score, 0.7)
    assert plain[600:].mean() == 0
    assert found["count"][0] == 400
    assert found["group"][650] == "sw"


def test_a_monotone_change_of_a_groups_scores_changes_no_rank(tmp_path: Path) -> None:
    score = np.random.default_rng(1).normal(size=90)
    lang = ["a", "b", "c"] * 30
    before = select(population(tmp_path / "a", score, lang), by=["language.lang"])["rank"]
    warped = np.where(np.array(lang) == "b", np.exp(score) * 9 - 40, score)
    assert select(population(tmp_path / "b", warped, lang), by=["language.lang"])["rank"] == before


def test_labels_and_caption_languages_make_groups_and_small_ones_are_pooled(tmp_path: Path) -> None:
    labels = {str(i): [("category", "cat" if i % 2 else "dog")] for i in range(60)}
    labels["0"] = [("category", "emu")]
    view = population(tmp_path, np.arange(61.0), ["en"] * 61, labels=labels)
    found = select(view, by=["pair.label.category", "language.lang"], min_group=5)
    assert found["group"][1] == "cat / en"
    assert found["group"][2] == "dog / en"
    assert found["group"][0] == found["group"][60] == "(other)"  # alone of its kind, and without a label
    assert (found["rank"][0], found["rank"][60], found["count"][0]) == (0.0, 1.0, 2)


def test_a_pair_without_a_score_or_outside_the_rules_is_null(tmp_path: Path) -> None:
    view = population(tmp_path, np.array([0.1, np.nan, 0.3, 0.9]), ["en", "en", "en", "de"])
    found = select(view, by=["language.lang"], min_group=1, among={"english": "language.lang = 'en'"})
    assert found["rank"] == [0.0, None, 1.0, None]


@pytest.mark.parametrize("fact", ["pair.licenc", "pair.label.", "pair.lang", "score"])
def test_a_fact_that_is_none_is_refused(fact: str) -> None:
    with pytest.raises(InvalidRecipe, match="is no fact of a pair"):
        GroupQuantileSettings.parse({"score": "a.b", "by": [fact]}, "recipe")
