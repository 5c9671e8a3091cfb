"""RS5M's funnel, by the recipe's own rules, and GeoRSCLIP's share of what is trained, by the recipe's own settings.

Its parts have tests of their own: keywords, classes and duplicates in test_domain.py, rotations in
test_rotation_stability.py, adapters in test_lora.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from populations import view_of

from pairwright.components.filter.rules.expression import Rule
from pairwright.components.filter.rules.rules import Selected, apply_rules
from pairwright.components.models.lora import adapted, trained_share
from pairwright.components.models.resolve import resolve_model
from pairwright.components.pretrain.dual_encoder import FitDualEncoder
from pairwright.components.pretrain.settings import DualEncoderSettings
from pairwright.components.recipe import Recipe
from pairwright.flows.recipes import load_recipe

ROWS = 120
FACTS = ("readable", "hit", "looks", "copy", "near")  # each planted by itself, so that a pair may fail several rules


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("rs5m_georsclip")


def funnel(root: Path, recipe: Recipe, planted: dict[str, np.ndarray]) -> Selected:
    columns = {
        "image.readable": pa.array(planted["readable"]),
        "named.hit": pa.array(planted["hit"]),
        "looks.score": pa.array(np.where(planted["looks"], 0.4, 0.01), pa.float32()),
        "exact_duplicates.drop": pa.array(planted["copy"]),
        "near_duplicates.drop": pa.array(planted["near"]),
    }
    rules = [Rule(name, text) for name, text in recipe.filter.keep.items()]
    return apply_rules(view_of(root, columns), rules)


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), share=st.floats(0.05, 0.95))
def test_the_funnel_reconciles_exactly(
    recipe: Recipe, tmp_path_factory: pytest.TempPathFactory, seed: int, share: float
) -> None:
    """As the paper's does: 5,244,251 downloaded less what is invalid, a duplicate or an outlier is 3,007,809."""
    random = np.random.default_rng(seed)
    planted = {name: random.random(ROWS) < share for name in FACTS}
    selected = funnel(tmp_path_factory.mktemp("funnel"), recipe, planted)
    selected.ledger.check()
    fails = {
        "readable": ~planted["readable"],
        "named": ~planted["hit"],
        "looks_like_it": ~planted["looks"],
        "unique_picture": planted["copy"],
        "no_near_duplicate": planted["near"],
    }
    assert list(recipe.filter.keep) == list(fails)
    left, expected = np.ones(ROWS, bool), {}
    for rule, failing in fails.items():  # a pair is counted where it falls first
        expected[rule] = int((left & failing).sum())
        left &= ~failing
    rows = selected.verdicts.to_pylist()
    dropped = {rule: sum(row["rule"] == rule for row in rows if row["status"] != "kept") for rule in fails}
    assert dropped == expected
    assert selected.ledger.kept == int(left.sum()) == ROWS - sum(dropped.values())
    assert {row["key"] for row in rows if row["status"] == "kept"} == {str(n) for n in np.flatnonzero(left)}


@pytest.mark.slow
def test_under_two_percent_is_trained_and_adapters_sit_in_the_text_tower_alone(recipe: Recipe) -> None:
    assert recipe.pretrain is not None
    said: dict[str, Any] = dict(recipe.pretrain.with_)
    for side in ("image_tower", "text_tower"):
        said[side] = resolve_model(said[side]).model_dump(mode="json")
    task = FitDualEncoder(DualEncoderSettings.parse(said, "pretrain"))
    task.device = torch.device("cpu")
    task.prepare()
    assert 0 < trained_share(task.encoder) < 0.02
    names = [name for name, _ in adapted(task.encoder)]
    assert names
    assert all(name.startswith("text_tower") for name in names)
    trained = {name for name, one in task.encoder.named_parameters() if one.requires_grad}
    assert all("lora" in name or "projection" in name or "scale" in name for name in trained)
