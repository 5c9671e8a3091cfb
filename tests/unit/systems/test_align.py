"""ALIGN: each rule is hit by one fixture through the recipe's own SQL, the loss is the paper's, and both together help.

That picture and text together find the recoloured shape: tests/unit/evaluate/benchmarks/test_composed_query.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from learning import features_view, tiny_config
from populations import view_of
from scans import png, scan
from shapes import caption_text, encoded, shapes_dataset
from torch.nn import functional as F  # noqa: N812

from pairwright.components.dataset.shards.columns import ColumnsView, StepColumns
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.evaluate.benchmarks.retrieval import Retrieval, RetrievalSettings
from pairwright.components.filter.rules.rules import Rule, apply_rules
from pairwright.components.filter.selections.image_frequency import ImageFrequency, ImageFrequencySettings
from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder
from pairwright.components.pretrain.objectives.align import Align, AlignSettings
from pairwright.components.pretrain.objectives.clip import Clip, ClipSettings
from pairwright.components.recipe import Recipe
from pairwright.components.registry import component_class
from pairwright.components.training.batch import Batch
from pairwright.components.training.run import train
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


@pytest.mark.slow
def test_the_two_counts_are_of_the_corpus_not_of_a_pair(recipe: Recipe, tmp_path: Path) -> None:
    """The same row is kept where it stands alone, and dropped where it is repeated."""
    many = {"mine": (noise(1), TEMPLATE)} | {f"other{i}": (noise(2 + i), TEMPLATE) for i in range(10)}
    one_picture = {"mine": (noise(1), TEMPLATE)} | {f"other{i}": (noise(1), f"{TEMPLATE} {i}") for i in range(3)}
    every = {"rare_tokens": {"vocabulary": 10_000}}
    assert run(tmp_path / "alone", recipe, {"mine": many["mine"]}, **every)["mine"] is None
    ten = dict(list(many.items())[:10])
    assert run(tmp_path / "ten", recipe, ten, **every)["mine"] is None
    assert run(tmp_path / "eleven", recipe, many, **every)["mine"] == "pictures_of_the_text"
    assert run(tmp_path / "texts", recipe, one_picture, **every)["mine"] == "texts_of_the_picture"


# -- the loss -------------------------------------------------------------------------------------


def vectors(seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def loss_of(objective: Any, scale: float = 14.0) -> torch.Tensor:
    batch = Batch({}, torch.arange(6), list("abcdef"))
    named: dict[str, torch.Tensor] = objective.losses({"image": vectors(1), "text": vectors(2), "scale": scale}, batch)
    return named["loss"]


def test_it_is_the_sum_of_both_directions_and_twice_clip_without_smoothing() -> None:
    plain = loss_of(Align(AlignSettings(smoothing=0.0)))
    assert torch.equal(plain, 2 * loss_of(Clip(ClipSettings())))
    logits, own = 14.0 * vectors(1) @ vectors(2).T, torch.arange(6)
    both = sum(F.cross_entropy(one, own, label_smoothing=0.1) for one in (logits, logits.T))
    assert float(loss_of(Align(AlignSettings()))) == pytest.approx(float(both), abs=1e-5)
    assert float(both) != pytest.approx(float(plain))


def test_the_temperature_starts_at_1_and_is_learnt(tmp_path: Path) -> None:
    view = features_view(shapes_dataset(tmp_path, 48, 1), tmp_path)
    scales: list[float] = []
    config = tiny_config(view, tmp_path, objective="align", steps=30, lr=1e-2)
    train(config, 0, 1, lambda m: scales.append(m["logit_scale"]))
    assert scales[0] == pytest.approx(1.0, abs=1e-3)
    assert scales[-1] > 1.1


# -- on planted data ------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_the_rules_leave_teaches_more_than_everything(recipe: Recipe, tmp_path: Path) -> None:
    """Of 144 shapes a third says the truth; others bear a template or gibberish. Three seeds, equal steps."""
    with ShardWriter(f"{tmp_path}/crawl", "crawl") as writer:
        draw = np.random.default_rng(0)
        for number in range(144):
            gibberish = "the " + "".join(draw.choice(list("bcdfghjkqwxz"), 9)) + " picture"
            text = (caption_text(number), TEMPLATE, gibberish)[number // 48]
            writer.add(f"{number}", [("image", "image", "jpg", encoded(number))], [caption(text)])
    view = features_view(writer.dataset, tmp_path)
    texts = {str(n): (noise(n), t["captions"][0]["text"]) for n, t in enumerate(rows_of(view))}
    verdicts = run(tmp_path / "rules", recipe, texts, rare_tokens={"vocabulary": 49})
    kept = [number for number in range(144) if verdicts[str(number)] is None]
    assert kept == list(range(48))
    rows = {"shard": [view.dataset.shards[0].digest] * len(kept), "row": pa.array(kept, pa.int32())}
    pq.write_table(pa.table(rows), tmp_path / "kept.parquet")
    asked = shapes_dataset(tmp_path, 48, 1, name="asked", start=5000)
    for seed in range(3):
        found = {}
        for name, pairs in (("kept", tmp_path / "kept.parquet"), ("all", None)):
            said = {"objective": "align", "steps": 50, "lr": 1e-2, "seed": seed, "checkpoint_every": 1000}
            train(tiny_config(view, tmp_path, f"{name}{seed}", pairs, **said), 0, 1, lambda m: None)
            model = load_dual_encoder(tmp_path / f"{name}{seed}")
            measured = Retrieval(RetrievalSettings()).evaluate(model, asked)
            found[name] = next(metric.value for metric in measured if metric.name == "t2i_r5")
        assert found["kept"] > found["all"] + 0.1, found


def rows_of(view: ColumnsView) -> list[dict[str, Any]]:
    return [row for _, table in view.dataset.iter_sidecars() for row in table.to_pylist()]
