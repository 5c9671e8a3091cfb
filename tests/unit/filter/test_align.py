"""ALIGN's rules: each is hit by one fixture, through the real steps and the recipe's own SQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
from populations import view_of
from scans import png, scan

from pairwright.components.dataset.shards.columns import ColumnsView, StepColumns
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.filter.rules.rules import Rule, apply_rules
from pairwright.components.filter.selections.image_frequency import ImageFrequency, ImageFrequencySettings
from pairwright.components.recipe import Recipe
from pairwright.components.registry import component_class
from pairwright.flows.recipes import load_recipe

ORDINARY = "a small bird on a green branch"
TEMPLATE = "part of the flat icon collection"


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("align")


def noise(seed: int, height: int = 120, width: int = 120) -> np.ndarray:
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def fixtures(texts_a_picture: int, pictures_a_text: int) -> dict[str, tuple[np.ndarray, str]]:
    """Key -> (picture, alt-text): ordinary pairs, and one key (or group of keys) a rule."""
    pairs = {f"ordinary{i}": (noise(i), ORDINARY) for i in range(pictures_a_text)}
    pairs["small"] = noise(100, 40, 40), "a green bird on a branch"
    pairs["long"] = noise(101, 60, 200), "a small green bird on a branch"
    pairs |= {
        f"spacer{i}": (noise(102), " ".join(["a small bird on a green branch"] + ["a green branch"] * i))
        for i in range(1, texts_a_picture + 2)
    }
    pairs |= {f"template{i}": (noise(200 + i), TEMPLATE) for i in range(pictures_a_text + 1)}
    pairs["rare"] = noise(300), "a small bird on a mggqpuweqdpd branch"
    pairs["short"] = noise(301), "bird"
    pairs["wordy"] = noise(302), " ".join([ORDINARY] * 4)
    return pairs


def run(root: Path, recipe: Recipe, pairs: dict[str, tuple[np.ndarray, str]], **scaled: Any) -> dict[str, str | None]:
    """Which rule each key fails first; None for a kept one."""
    with ShardWriter(f"{root}/data", "planted") as writer:
        for key, (image, text) in pairs.items():
            writer.add(key, [("image", "image", "png", png(image))], [caption(text)])
    scorers = [(step.uses, step.with_) for step in recipe.filter.score.values() if step.uses in WANTED]
    view = scan(root, writer.dataset, *scorers)
    steps = dict(view.steps)
    for name, step in recipe.filter.select.items():
        if step.uses not in ("caption_frequency", "image_frequency", "rare_tokens"):
            continue
        cls = component_class("selection", step.uses)
        component: Any = cls(cls.settings_model().parse({**step.with_, **scaled.get(step.uses, {})}, name))
        place = StepColumns(step.uses, "d")
        made = component.select(view)
        for shard in writer.dataset.shards:
            view.store.write(place, shard.digest, made, shard.rows)
        steps[name] = place
    whole = ColumnsView(writer.dataset, view.store, steps)
    rules = [Rule(name, expression) for name, expression in recipe.filter.keep.items()]
    verdicts = apply_rules(whole, rules).verdicts
    return dict(zip(verdicts["key"].to_pylist(), verdicts["rule"].to_pylist(), strict=True))


WANTED = ("image", "caption_text", "exact_hash")


def test_each_rule_is_hit_by_its_fixture_and_by_no_other(recipe: Recipe, tmp_path: Path) -> None:
    pairs = fixtures(texts_a_picture=3, pictures_a_text=10)
    found = run(tmp_path, recipe, pairs, rare_tokens={"vocabulary": 16})
    groups: dict[str, set[str | None]] = {}
    for key, rule in found.items():
        groups.setdefault(key.rstrip("0123456789"), set()).add(rule)
    assert groups == {
        "ordinary": {None},
        "small": {"shorter_side"},
        "long": {"aspect"},
        "spacer": {"texts_of_the_picture"},
        "template": {"pictures_of_the_text"},
        "rare": {"known_tokens"},
        "short": {"not_too_short"},
        "wordy": {"not_too_long"},
    }
    assert {rule for rules in groups.values() for rule in rules if rule} == set(recipe.filter.keep)


def test_a_pictures_texts_are_counted_by_what_they_say(tmp_path: Path) -> None:
    captions = {"0": "A cat", "1": "a  CAT!", "2": "a dog", "3": "", "5": "a cat"}
    picture = pa.array([b"x", b"x", b"x", b"x", b"x", b"y", None], pa.binary())
    view = view_of(tmp_path, {"exact_hash.pixels": picture}, shards=3, captions=captions)
    found = ImageFrequency(ImageFrequencySettings()).select(view)
    assert found["texts"].to_pylist() == [2, 2, 2, 2, 2, 1, None]
    assert found["pairs"].to_pylist() == [5, 5, 5, 5, 5, 1, None]
    groups = view_of(tmp_path / "n", {"near.group": pa.array([0, 0, 2, 0], pa.int64())}, captions={"0": "a", "2": "b"})
    found = ImageFrequency(ImageFrequencySettings(image="near.group")).select(groups)
    assert found["texts"].to_pylist() == [1, 1, 1, 1]
    assert found["pairs"].to_pylist() == [3, 3, 1, 3]
