"""The referee's bench (benchmarks/curation): each pair gets its own score, and the areas are what they claim."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from labelling import captioned_dataset
from populations import view_of

from benchmarks.curation.areas import area_interval, area_under_curve, average_precision, damage_columns
from benchmarks.curation.crawl import Crawl
from benchmarks.curation.labels import Candidate, judgements
from benchmarks.curation.models import Trainer, curve, kept_rows, like_rows, models_table
from benchmarks.curation.page import exchanged_words, labels_words, seen_words
from benchmarks.curation.scores import Selector, scores_of
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView
from pairwright.components.evaluate.compression import HeadSettings, Queries, TrainingPairs
from pairwright.components.evaluate.metrics.positives import Positives


def test_every_pair_gets_its_own_score_whatever_the_expressions(tmp_path: Path) -> None:
    """A window function beside them made DuckDB return rows in another order: every selector looked like chance."""
    random = np.random.default_rng(0)
    values, group = random.normal(size=20_000), random.integers(0, 50, 20_000)
    view = view_of(tmp_path, {"a.x": pa.array(values), "b_mixed.group": pa.array(group)}, shards=3)
    rank = "percent_rank() OVER (PARTITION BY b_SOURCE.group ORDER BY a.x)"
    found = scores_of(view, "mixed", [Selector("plain", "-a.x", ""), Selector("in groups", rank, "")])
    assert np.array_equal(found["plain"], -values)
    for one in range(50):
        mine = group == one
        place = values[mine].argsort().argsort()
        assert found["in groups"][mine] == pytest.approx(place / (mine.sum() - 1))


def test_areas_of_a_perfect_a_reversed_and_a_constant_score() -> None:
    damaged = np.arange(40) % 4 == 0
    whole = (~damaged).astype(float)
    assert area_under_curve(whole, damaged) == 1.0
    assert area_under_curve(-whole, damaged) == 0.0
    assert area_under_curve(np.zeros(40), damaged) == 0.5
    assert average_precision(whole, damaged) == 1.0
    assert average_precision(np.zeros(40), damaged) == pytest.approx(0.25)


def test_ties_are_broken_by_seed_and_what_has_no_score_is_never_kept() -> None:
    score = np.array([1.0, 1.0, 1.0, 1.0, 0.0, np.nan])
    assert {tuple(kept_rows(score, 2, seed)) for seed in range(30)} == {
        (i, j) for i in range(4) for j in range(i + 1, 4)
    }
    assert 5 not in kept_rows(score, 6, 0)


def test_chance_of_a_mix_has_as_many_of_each_domain_and_nothing_else_in_common() -> None:
    domains = np.array(["stamp"] * 10 + ["clipart"] * 90)
    rows = np.r_[0:8, 20:40]
    drawn = [like_rows(domains, rows, seed) for seed in range(40)]
    assert all((domains[one] == "stamp").sum() == 8 and len(np.unique(one)) == 28 for one in drawn)
    assert set(np.concatenate(drawn)) == set(range(100))


def test_an_area_has_an_interval_that_resamples_groups() -> None:
    """Twins say nothing new: doubled pairs of one group leave the interval as wide as it was."""
    random = np.random.default_rng(0)
    damaged = random.random(200) < 0.4
    score = random.normal(size=200) - 0.5 * damaged
    low, high = area_interval(score, damaged, np.arange(200))
    assert low < area_under_curve(score, damaged) < high
    twins = area_interval(np.tile(score, 2), np.tile(damaged, 2), np.tile(np.arange(200), 2))
    assert twins == pytest.approx((low, high), abs=0.02)


def test_the_page_says_what_the_reward_cannot_see() -> None:
    """0.50 on exchanged captions is said beside what it finds, and the plainest selector beside it."""

    def cell(selector: str, variant: str, domain: str, kind: str) -> dict[str, Any]:
        found = selector == "reward" and kind == "boilerplate"
        area, bounds = (0.8, (0.75, 0.85)) if found else (0.5, (0.47, 0.53))
        if kind == "truncated":
            area, bounds = 0.4, (0.35, 0.45)
        return {"selector": selector, "variant": variant, "domain": domain, "kind": kind} | {
            "auc": area,
            "auc_interval": bounds,
        }

    names = ("reward", "caption frequency")
    damage = [cell(name, *key) for name in names for _, key in damage_columns()]
    reward, frequency = seen_words({"damage": damage, "selectors": dict.fromkeys(names, "")}).splitlines()
    assert reward.startswith("- **reward** finds: boilerplate (0.80); is not told from chance on: swapped (0.50), ")
    assert "40% swapped (0.50)" in reward
    assert "prefers the damage in: truncated (0.40)" in reward
    assert frequency.startswith("- **caption frequency** is not told from chance on: swapped (0.50)")


def test_the_scripted_labeller_keeps_by_its_taste_and_slips_as_often_as_it_says(tmp_path: Path) -> None:
    names = ["lion", "boat", "apple", "drum"]
    said = [
        [("seed", f"A {names[i % 4]} no {i}."), ("file_name", f"{names[i % 4]}{i}.png"), ("folder", "things/more")]
        if i < 101
        else [("swapped20", f"A {names[i % 4]}.")]
        for i in range(140)
    ]
    view = ColumnsView(captioned_dataset(tmp_path, said, shards=2), ColumnStore(str(tmp_path / "columns")), {})
    rows, agrees = judgements(view)
    assert judgements(view) == (rows, agrees)
    assert sum(row is not None for row in rows) == 100  # an odd one has no partner, and who has no seed caption none
    assert not any(rows[101:])
    thinks = {
        Candidate(None, about, phrase).source: Candidate("a b c d", about, phrase).worth
        for about in (True, False)
        for phrase in (True, False)
    }
    odds = [thinks[one["better_source"]] - thinks[one["worse_source"]] for row in rows for one in row or []]
    assert len(odds) == 600
    assert agrees == np.mean(np.array(odds) > 0)
    expected = np.mean(1 / (1 + np.exp(-np.abs(odds))))
    assert abs(agrees - expected) < 4 * np.sqrt(expected * (1 - expected) / 600)
    lent = [
        {one[side] for one in row for side in ("better", "worse") if one[f"{side}_source"] == "other caption"}
        for row in rows
        if row
    ]
    own = [f"A {names[i % 4]} no {i}." for i in range(101)]
    assert all(len(texts) == 1 for texts in lent)  # of one other picture, and that one's is this one's
    partner = {row: own.index(next(iter(texts))) for row, texts in zip(np.flatnonzero([bool(r) for r in rows]), lent)}
    assert all(partner[other] == row and other != row for row, other in partner.items())


def test_the_reward_is_held_against_the_best_scorer_that_is_not_made_of_it() -> None:
    areas = {"reward": 0.6, "alignment": 0.7, "length": 0.5, "reward and alignment": 0.9}
    damage = [
        {"selector": name, "variant": variant, "domain": domain, "kind": "swapped", "auc": area}
        for name, area in areas.items()
        for variant in ("swapped20", "swapped40", "swapped60")
        for domain in ("clipart", "stamp")
    ]
    lines = exchanged_words({"damage": damage, "selectors": dict.fromkeys(areas, "")}).splitlines()[2:]
    assert len(lines) == 3
    assert lines[0].startswith("- 20% exchanged: clip-art 0.60, the best single scorer 0.70 (alignment); stamps 0.60")


def test_what_labels_buy_is_said_by_its_interval() -> None:
    points = [{"labels": 50, "reward": 0.6, "evidence": 0.55}, {"labels": 900, "reward": 0.7, "evidence": 0.55}]
    crawls = {
        "swapped20": {"points": points, "gain": [0.1, 0.05, 0.15]},
        "swapped40": {"points": points, "gain": [0.1, -0.05, 0.25]},
        "swapped60": {"points": points, "gain": [-0.1, -0.2, -0.05]},
    }
    more, untold, less = labels_words({"labels": {"crawls": crawls}}).splitlines()
    assert more.startswith("- 20% exchanged: 900 judgements explain more: 0.700, where 50 explain 0.600")
    assert "are not told from fewer" in untold
    assert "explain less" in less


@pytest.mark.slow
def test_models_of_what_is_whole_beat_chance_and_are_trained_once(tmp_path: Path) -> None:
    """Half of the captions are of nothing: who drops them trains the better model, at the half and on the curve."""
    random = np.random.default_rng(0)
    meaning = random.normal(size=(340, 8))
    image, text = (
        torch.from_numpy(meaning @ random.normal(size=(8, 24)) + 0.05 * random.normal(size=(340, 24))).float()
        for _ in range(2)
    )
    queries = Queries(image[240:], text[240:], Positives(*[np.arange(100)] * 3), np.arange(100))
    bad = np.arange(240) % 2 == 0
    text[:240][bad] = text[random.permutation(np.flatnonzero(bad))]
    kinds, domains = np.where(bad, "swapped", ""), np.where(np.arange(240) % 4 < 2, "stamp", "clipart")
    scores = {"seeing": -bad.astype(float), "blind": random.random(240)}
    pairs = TrainingPairs(image[:240], text[:240], np.arange(240))
    crawl = Crawl("swapped40", np.arange(240), kinds, domains, np.arange(240), pairs, scores)
    chosen = [Selector(name, "", "", train=True, curve=True) for name in scores]
    trainer = Trainer(str(tmp_path), (0, 1, 2), HeadSettings(steps=120, batch_size=32, dim=8), queries)
    whole = trainer.items(crawl, lambda seed: np.arange(240))
    rows = {row["selector"]: row for row in models_table(crawl, chosen, trainer, whole, print)}
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "a random half": "not told from chance",
        "undamaged first (oracle)": "better than chance",
        "seeing": "better than chance",
        "blind": "not told from chance",
    }
    assert rows["seeing"]["mean"] == pytest.approx(rows["undamaged first (oracle)"]["mean"])  # ties alone differ: none
    once = trainer.trained
    assert curve(crawl, ["seeing"], trainer, whole, print)["points"]["seeing"][0.5]["mean"] == rows["seeing"]["mean"]
    half = trainer.trained
    assert half - once == 9  # a quarter of random pairs, of the best, of the best's mix; halves were there
    models_table(crawl, chosen, trainer, whole, print)
    assert trainer.trained == half
