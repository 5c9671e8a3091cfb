"""The page of systems: words no stronger than the interval, and nothing on it that was not found as declared."""

from __future__ import annotations

import importlib
import re
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.systems import claim as claims
from benchmarks.systems.claim import Claim, Sides, found_of
from benchmarks.systems.page import PAGE, claim_names, code_digest, is_of, page, read_found, remarks
from pairwright.flows.recipes import recipe_names

NOTHING = Claim("x", "says", "here", "data", "baseline", "metric", lambda place, seed: Sides(np.ones(1), np.ones(1)))


def sides(shift: float, seeds: int = 5, items: int = 80, spread: float = 0.3) -> list[Sides]:
    random = np.random.default_rng(3)
    drawn = random.normal(size=(seeds, 2, items)) * spread
    return [Sides(shift + ours, baseline, np.arange(items) // 2) for ours, baseline in drawn]


@pytest.mark.parametrize(
    ("shift", "higher", "says", "margin", "word"),
    [
        (0.5, True, "better", 0.0, "better"),
        (-0.5, True, "better", 0.0, "worse"),
        (0.5, False, "better", 0.0, "worse"),
        (-0.5, False, "better", 0.0, "better"),
        (0.0, True, "better", 0.0, "like its baseline"),
        (0.5, True, "better", 0.6, "like its baseline"),
        (0.0, True, "not worse", 0.2, "not worse"),
        (0.0, True, "not worse", 0.001, "not shown"),
        (-0.5, True, "not worse", 0.2, "worse"),
    ],
)
def test_a_verdict_is_the_intervals(shift: float, higher: bool, says: str, margin: float, word: str) -> None:
    claim = replace(NOTHING, higher_is_better=higher, says=says, margin=margin)
    assert found_of(claim, sides(shift))["verdict"] == word


def test_of_no_difference_a_verdict_is_said_in_one_of_twenty_at_most() -> None:
    random, wrong = np.random.default_rng(0), 0
    for _ in range(300):
        groups = random.normal(size=40)[np.arange(80) // 2]  # what a group is, it is for every seed
        seeds = random.normal(size=(5, 1)) * 0.3
        drawn = groups + seeds + random.normal(size=(5, 80))
        both = [Sides(row, np.zeros(80), np.arange(80) // 2) for row in drawn]
        wrong += found_of(NOTHING, both)["verdict"] != "like its baseline"
    assert wrong <= 25  # of 300 at a true 5%: 15, and a standard deviation of 4


def test_one_value_a_seed_has_the_seeds_for_its_sample() -> None:
    values = [Sides(np.array([0.9 + 0.01 * seed]), np.array([0.8])) for seed in range(5)]
    found = found_of(NOTHING, values)
    assert found["verdict"] == "better"
    assert (found["items"], found["groups"], found["seeds"]) == (1, 1, 5)
    half = 2.776 * np.std([0.01 * seed for seed in range(5)], ddof=1) / np.sqrt(5)  # t of four degrees of freedom
    assert found["low"] == pytest.approx(0.12 - half, abs=1e-3)


def test_what_is_not_finite_is_no_figure() -> None:
    with pytest.raises(ValueError, match="finite"):
        found_of(NOTHING, [Sides(np.array([np.nan, 1.0]), np.zeros(2)) for _ in range(3)])


@pytest.mark.parametrize("name", claim_names())
def test_a_claim_is_of_a_recipe_and_has_seeds_enough_for_a_verdict(name: str) -> None:
    claim = importlib.import_module(f"benchmarks.systems.{name}").CLAIM
    assert claim.system == name
    assert name in recipe_names()
    assert len(set(claim.seeds)) >= 3
    assert claim.margin > 0 or claim.says == "better"
    found = read_found(name)
    assert found is None or is_of(claim, found), f"{name} was declared anew: run python -m benchmarks.systems {name}"


def test_a_claim_declared_anew_is_not_shown_with_the_old_figures() -> None:
    claim = replace(NOTHING, system="dbl")
    found = {"declared": claim.declared(), "code": code_digest("dbl")}
    assert is_of(claim, found)
    assert not is_of(replace(claim, margin=0.1), found)
    assert not is_of(claim, found | {"code": "of another file"})
    assert not is_of(claim, None)


def test_the_page_is_what_the_script_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m benchmarks.systems --page writes it"
    assert claims.CONFIDENCE == 0.95


def test_a_remark_is_of_what_was_found_and_its_figures_are_the_files() -> None:
    for name, remark in remarks().items():
        found = read_found(name)
        assert found is not None, name
        figures = [found["ours"], found["baseline"], *found["also"].values()]
        for told in re.findall(r"\d+\.\d+", remark):
            digits = len(told.partition(".")[2])
            assert any(f"{figure:.{digits}f}" == told for figure in figures), (name, told)
