"""SAIL-VL's stages: by the recipe's own conditions nested, better and smaller; tuned in their order; small tells large.

Its parts have tests of their own: budgets and leaks in test_curriculum.py, y = a + b log n in test_scaling.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from learning import tiny_settings
from populations import view_of

from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.filter.rules.expression import Rule
from pairwright.components.filter.rules.rules import apply_rules
from pairwright.components.filter.selections.curriculum import Curriculum, CurriculumSettings
from pairwright.components.models.formats import load_model
from pairwright.components.models.resolve import resolve_model
from pairwright.components.pretrain.dual_encoder import FitDualEncoder
from pairwright.components.recipe import Recipe
from pairwright.components.training.here import fit_here
from pairwright.flows.recipes import load_recipe

WIDTH, FACTS = 64, 12
COLUMNS = {"told": "told_features.vector"}


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("sail_vl")


def test_each_step_of_the_recipe_starts_from_the_last_and_trains_on_better_and_fewer(
    recipe: Recipe, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    columns = {
        "quality.rank": pa.array(random.random(3000), pa.float32()),
        "told_text.words": pa.array(random.integers(1, 12, 3000), pa.int32()),
        "near_duplicates.drop": pa.array(np.zeros(3000, bool)),
        "image.readable": pa.array(np.ones(3000, bool)),
    }
    view = view_of(tmp_path / "plain", columns)
    wish = CurriculumSettings.parse(recipe.filter.select["stages"].with_, "stages")
    made = Curriculum(wish).select(view)
    view = view_of(tmp_path / "staged", columns | {f"stages.{name}": array for name, array in made.items()})
    steps = list(recipe.train.items())
    conditions = [recipe.filter.keep["in_the_bulk"], *(step.data for _, step in steps[1:])]
    sizes, means, tokens, last = [], [], [], None
    for condition in conditions:
        kept = apply_rules(view, [Rule("stage", condition)]).kept
        rows = np.array([int(key) for key in kept["key"].to_pylist()])
        assert last is None or set(rows.tolist()) < last
        last = set(rows.tolist())
        sizes.append(len(rows))
        means.append(float(view.numpy("quality.rank")[rows].mean()))
        tokens.append(int(made["tokens"].to_numpy(zero_copy_only=False)[rows].sum()))
    assert means == sorted(means)
    assert sizes == sorted(sizes, reverse=True)
    for share, spent in zip(wish.shares, tokens, strict=True):
        assert spent == pytest.approx(share * tokens[0], rel=0.01)
    assert [step.init for _, step in steps] == [None, *(f"step:{name}" for name, _ in steps[:-1])]
    rates = [step.with_["lr"] for _, step in steps]
    assert rates == sorted(rates, reverse=True)


class World:
    """Pairs of views of the same facts; `noise` is the share of captions that are another pair's."""

    def __init__(self, seed: int) -> None:
        self.draw = np.random.default_rng(seed)
        self.maps = [np.random.default_rng(7 + side).normal(size=(FACTS, WIDTH)) for side in range(2)]

    def pairs(self, rows: int, wrong: np.ndarray) -> dict[str, np.ndarray]:
        facts = self.draw.normal(size=(rows, FACTS))
        said = facts.copy()
        said[wrong] = said[self.draw.permutation(np.flatnonzero(wrong))]
        names = ("image_features.vector", *COLUMNS.values())
        views = ((facts, self.maps[0]), (said, self.maps[1]))
        return {
            name: (x @ to + 2 * self.draw.normal(size=(rows, WIDTH))).astype(np.float32)
            for name, (x, to) in zip(names, views, strict=True)
        }

    def noisy(self, rows: int, noise: float) -> dict[str, np.ndarray]:
        return self.pairs(rows, self.draw.random(rows) < noise)


def trained(columns: Mapping[str, np.ndarray], folder: Path, seed: int, **more: Any) -> Path:
    wish: dict[str, Any] = {"objective": {"uses": "clip"}, "captions": {"told": 1.0}, "text_features": COLUMNS}
    settings = tiny_settings(dim=32, batch_size=64, warmup_steps=2, seed=seed, **wish, **more)
    task = FitDualEncoder(settings)
    task.device = torch.device("cpu")
    task.prepare()
    fit_here(task, ArrayPopulation(dict(columns)), "cpu")
    task.encoder.save(folder)
    return folder


def recall(folder: Path, columns: Mapping[str, np.ndarray]) -> float:
    """Share of the captions whose own picture is the nearest."""
    model = load_model(folder, "dual_encoder")
    image = model.project_image(columns["image_features.vector"])
    text = model.project_text(columns["told_features.vector"])
    return float(((text @ image.T).argmax(1).numpy() == np.arange(len(text))).mean())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_subset_ranks_sources_of_planted_quality_as_all_of_them_does(tmp_path: Path, seed: int) -> None:
    """The paper scores a source by training on two million of it: 57.8, 61.9, 61.3."""
    world = World(seed)
    judge, sources = world.noisy(300, 0.0), {noise: world.noisy(3000, noise) for noise in (0.0, 0.4, 0.8)}
    ranking = {}
    for size in (600, 3000):
        found = {
            noise: recall(trained(cut(pairs, size), tmp_path / f"{size}-{noise}", seed, steps=60, lr=3e-3), judge)
            for noise, pairs in sources.items()
        }
        ranking[size] = sorted(found, key=found.__getitem__, reverse=True)
    assert ranking[600] == ranking[3000] == [0.0, 0.4, 0.8]


def cut(columns: Mapping[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    return {name: values[:size] for name, values in columns.items()}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_tuning_on_the_best_beats_as_many_steps_on_the_bulk(tmp_path: Path, seed: int) -> None:
    world = World(seed)
    wrong = np.arange(2000) >= 400  # a fifth of the bulk is right, and quality knows it
    wrong &= world.draw.random(2000) < 0.9
    bulk, judge = world.pairs(2000, wrong), world.noisy(300, 0.0)
    first = trained(bulk, tmp_path / "bulk", seed, steps=60, lr=3e-3)
    start = {"init": resolve_model(str(first)).model_dump(mode="json"), "steps": 40, "lr": 1e-3}
    staged = trained(cut(bulk, 400), tmp_path / "staged", seed, **start)
    flat = trained(bulk, tmp_path / "flat", seed, **start)
    assert recall(staged, judge) > recall(flat, judge)
    assert recall(staged, judge) > recall(first, judge)
