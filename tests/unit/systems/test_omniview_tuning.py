"""Omniview-Tuning: centres and lists by brute force, its loss, its epochs, and views that come nearer at no price."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learning import tiny_settings
from PIL import Image, ImageDraw
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pairwright.components.component import FitInputs
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.errors import ModelError
from pairwright.components.models.formats import load_model
from pairwright.components.models.lora import locked_hash
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.towers.towers import load_text_tower
from pairwright.components.pretrain.dual_encoder import FitDualEncoder
from pairwright.components.pretrain.objectives.omniview import centre_weights, outlying, view_consistency
from pairwright.components.training.batch import Batch
from pairwright.components.training.here import fit_here
from pairwright.components.training.trainer import Trainer

OBJECTS, VIEWS = 40, 6


def unit(*shape: int, seed: int = 0) -> np.ndarray:
    return np.asarray(F.normalize(torch.from_numpy(np.random.default_rng(seed).normal(size=shape)), dim=-1))


def brute_force(views: np.ndarray, objects: np.ndarray, outliers: int, neighbours: int) -> tuple[dict[int, Any], Any]:
    """Centres by object and the list, by the definition, one number at a time."""
    centres, listed = {}, set()
    for thing in set(objects.tolist()):
        mine = [i for i in range(len(views)) if objects[i] == thing]
        if len(mine) < 2:
            continue
        weight = {}
        for i in mine:
            near = sorted((float(np.dot(views[i], views[j])) for j in mine if j != i), reverse=True)[:neighbours]
            weight[i] = 1 / max(sum(near) / len(near), 0.05)
        centre = sum(weight[i] * views[i] for i in mine) / sum(weight.values())
        like = {i: float(np.dot(views[i], centre) / np.linalg.norm(centre)) for i in mine}
        centres[thing] = centre
        listed |= set(sorted(mine, key=lambda i: (like[i], i))[:outliers])
    return centres, listed


@pytest.mark.parametrize("seed", range(5))
def test_centres_and_lists_are_those_of_brute_force(seed: int) -> None:
    draw = np.random.default_rng(seed)
    objects = draw.integers(0, 12, 70)
    objects[0] = 99  # a thing of one view has no list
    views = unit(70, 8, seed=seed) + 1.5 * unit(100, 8, seed=9)[objects]
    views /= np.linalg.norm(views, axis=1, keepdims=True)
    found = outlying(views, objects, 2, 5)
    centres, listed = brute_force(views, objects, 2, 5)
    assert set(np.flatnonzero(found.listed)) == listed
    assert found.centres.keys() == centres.keys()
    assert all(np.allclose(found.centres[thing], centres[thing], atol=1e-6) for thing in centres)
    assert not found.listed[0]


def test_outlying_views_weigh_more_and_a_centre_is_not_made_a_unit() -> None:
    near = np.array([[1, 0.05], [1, -0.05], [1, 0.0], [1, 0.02], [1, -0.02], [0.2, 1.0]])
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    weights = centre_weights(near, 2)
    assert weights.argmax() == 5
    assert weights[5] > 2 * weights[0]
    found = outlying(near, np.zeros(6, int), 1, 2)
    assert found.listed.tolist() == [False] * 5 + [True]
    assert np.linalg.norm(found.centres[0]) < 0.99
    assert centre_weights(np.array([[1.0, 0], [-1.0, 0]]), 5).tolist() == [20, 20]  # not -1, as 1 / cos would be


def test_at_identity_the_loss_is_its_margin_and_its_gradient_is_that_of_1_minus_cos() -> None:
    """The released hinge never closes."""
    centre = torch.from_numpy(unit(6, 8))
    assert torch.allclose(view_consistency(centre, centre, 0.3), torch.full((6,), 0.3, dtype=torch.float64))
    assert torch.allclose(view_consistency(centre, 0.2 * centre, 0.0), torch.zeros(6, dtype=torch.float64), atol=1e-12)
    views = torch.from_numpy(unit(6, 8, seed=1)).requires_grad_(True)
    (hinge,) = torch.autograd.grad(view_consistency(views, centre, 0.3).sum(), views)
    (plain,) = torch.autograd.grad((1 - F.cosine_similarity(views, centre)).sum(), views)
    assert torch.equal(hinge, plain)


# -- in training ----------------------------------------------------------------------------------------


def planted(seed: int, views: int) -> tuple[ArrayPopulation, np.ndarray]:
    """Pictures of 40 things, much of which is about how they are turned; captions know the thing alone."""
    same, draw = np.random.default_rng(7), np.random.default_rng(seed)
    thing = np.repeat(np.arange(OBJECTS), views)
    what = same.normal(size=(OBJECTS, 16))[thing]
    turned = 2.5 * draw.normal(size=(len(thing), 8))
    seen = np.concatenate([what + 0.3 * draw.normal(size=what.shape), turned], 1)
    columns = {
        "image_features.vector": seen @ same.normal(size=(24, 64)) + 0.5 * draw.normal(size=(len(thing), 64)),
        "text_features.vector": what @ same.normal(size=(16, 64)) + 0.3 * draw.normal(size=(len(thing), 64)),
    }
    labels = {"thing": [f"thing {one}" for one in thing]}
    return ArrayPopulation({n: v.astype(np.float32) for n, v in columns.items()}, labels=labels), thing


def omniview(weight: float = 1.0, **said: Any) -> list[Any]:
    settings = {"objects": "pair.label.thing", "outliers": 3} | said
    return ["clip", {"uses": "omniview", "weight": weight, "with": settings}]


def task_of(**wish: Any) -> FitDualEncoder:
    values: dict[str, Any] = {"dim": 32, "batch_size": 60, "warmup_steps": 5, "epochs": 20, "objective": omniview()}
    task = FitDualEncoder(tiny_settings(**values | wish))
    task.device = torch.device("cpu")
    task.prepare()
    return task


def test_the_list_is_made_anew_once_an_epoch_from_what_was_met_in_it() -> None:
    task = task_of(epochs=4)
    trainer = Trainer(task, planted(0, VIEWS)[0])
    one = task.objectives["omniview"]
    lists: list[Tensor] = []

    def report(metrics: dict[str, Any]) -> None:
        lists.append(one.listed.clone())  # after step 4 an epoch has ended
        assert (metrics["omniview.loss"] > 0.3) == (metrics["step"] > 4)  # the first epoch has no list
        if metrics["step"] % 4 == 0:
            centres, listed = brute_force(one.views.numpy().astype(float), one.object_of, 3, 5)
            assert set(one.listed.nonzero().flatten().tolist()) == listed
            assert all(np.allclose(one.centres[thing], centre, atol=1e-5) for thing, centre in centres.items())

    trainer.train(report)
    assert not lists[2].any()
    assert int(lists[3].sum()) == OBJECTS * 3
    for epoch in range(1, 4):
        assert all(torch.equal(lists[4 * epoch - 1], lists[4 * epoch + step]) for step in range(3))
    assert not torch.equal(lists[3], lists[15])


def test_its_gradient_reaches_listed_pictures_alone_and_no_text() -> None:
    task = task_of()
    task.population = planted(0, VIEWS)[0]
    task.model = task.build()
    one = task.objectives["omniview"]
    one.listed[[1, 3]] = True
    one.centres[:] = torch.from_numpy(unit(OBJECTS, 32).astype(np.float32))
    examples = task.population.read(np.arange(8), 0, 0)
    batch = Batch(task.collate(examples), torch.arange(8), examples.keys)
    outputs = task.encode(batch)
    for value in outputs.values():
        value.retain_grad()
    named = task.losses(outputs, batch)
    wanted = view_consistency(outputs["image"][[1, 3]], one.centres[one.object_of[[1, 3]]], 0.3).mean()
    assert named["omniview.loss"].item() == pytest.approx(wanted.item(), abs=1e-6)
    named["omniview.loss"].backward()
    assert outputs["image"].grad is not None
    assert outputs["image"].grad.any(1).nonzero().flatten().tolist() == [1, 3]
    assert outputs["text"].grad is None


def test_a_weight_of_0_is_itc_alone_to_the_bit() -> None:
    found = []
    for objective in ("clip", omniview(0.0)):
        task = task_of(objective=objective, epochs=2)
        fit_here(task, planted(0, VIEWS)[0])
        found.append(task.encoder.state_dict())
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def judged(encoder: Any, seed: int) -> tuple[float, float, float]:
    """On ten new views of each thing: zero-shot accuracy, variance within things, distance between their centres."""
    held, thing = planted(seed + 100, 10)
    examples = held.read(np.arange(held.size), 0, 0)
    image = encoder.encode_image_features(torch.from_numpy(examples.column("image_features.vector"))).numpy()
    text = encoder.encode_text_features(torch.from_numpy(examples.column("text_features.vector"))).numpy()
    names, centres = (np.stack([side[thing == k].mean(0) for k in range(OBJECTS)]) for side in (text, image))
    within = float(((image - centres[thing]) ** 2).sum(1).mean())
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2)[np.triu_indices(OBJECTS, 1)]
    return float(((image @ names.T).argmax(1) == thing).mean()), within, float(apart.mean())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_views_of_a_thing_come_nearer_things_do_not_and_nothing_is_forgotten(seed: int) -> None:
    found = []
    for weight in (0.0, 1.0):
        task = task_of(objective=omniview(weight), seed=seed)
        fit_here(task, planted(seed, VIEWS)[0])
        found.append(judged(task.encoder, seed))
    (accuracy, within, apart), (tuned, tuned_within, tuned_apart) = found
    assert tuned_within < 0.85 * within
    assert tuned_apart >= apart
    assert tuned >= accuracy - 0.01


class Killed(Exception):
    pass


@pytest.mark.parametrize("kills", [(3,), (7, 8, 9), (13, 17)])
def test_killed_anywhere_it_ends_with_the_same_weights_and_lists(tmp_path: Path, kills: tuple[int, ...]) -> None:
    def trainer(root: Path | None) -> Trainer:
        return Trainer(task_of(epochs=5, checkpoint_every=3), planted(0, VIEWS)[0], checkpoints=root, run="a run")

    def killed(after: int) -> Any:
        def report(metrics: dict[str, Any]) -> None:
            if metrics["step"] == after:
                raise Killed

        return report

    whole = trainer(None)
    whole.train()
    for after in kills:
        with pytest.raises(Killed):
            trainer(tmp_path).train(killed(after))
    last = trainer(tmp_path)
    last.train()
    for part in ("model", "task"):
        one, other = (getattr(of, part).state_dict() for of in (whole, last))
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert last.task.state_dict()["omniview.listed"].sum() == OBJECTS * 3


# -- LoRA on the image tower, from pictures ------------------------------------------------------------


def turned_things(root: Path, things: int = 6, views: int = 4) -> Dataset:
    """Polygons drawn anew from `views` sides: affine maps of one outline each."""
    draw = np.random.default_rng(0)
    with ShardWriter(f"{root}/turned", "turned", licence="CC0-1.0") as writer:
        for thing in range(things):
            outline, colour = draw.uniform(-0.8, 0.8, (5, 2)), tuple(int(c) for c in draw.integers(30, 220, 3))
            for view in range(views):
                angle, flat = draw.uniform(-0.8, 0.8), draw.uniform(0.5, 1.0)
                turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * [1.0, flat]
                image = Image.new("RGB", (48, 48), "white")
                ImageDraw.Draw(image).polygon([tuple(24 + 20 * p) for p in outline @ turn.T], fill=colour)
                stream = io.BytesIO()
                image.save(stream, "PNG")
                writer.add(
                    f"{thing}-{view}",
                    [("image", "image", "png", stream.getvalue())],
                    [caption(f"thing number {thing}")],
                    [("thing", str(thing))],
                )
    return writer.dataset


def test_lora_adapts_the_image_tower_and_leaves_its_base_and_the_text_side_as_they_were(tmp_path: Path) -> None:
    view = ColumnsView(turned_things(tmp_path), ColumnStore(str(tmp_path / "columns")), {})
    few: dict[str, Any] = {"batch_size": 12, "dim": 16, "warmup_steps": 1}
    FitDualEncoder(tiny_settings(**few, trainable="all", steps=6)).fit(FitInputs(view), tmp_path / "start")
    init = resolve_model(str(tmp_path / "start")).model_dump(mode="json")
    lora = {"trainable": "lora", "lora": {"rank": 4, "alpha": 8, "towers": ["image"], "projections": False}}
    wish = tiny_settings(**few, **lora, init=init, steps=6, freeze=["log_scale"], objective=omniview(outliers=2))
    task = FitDualEncoder(wish)
    task.fit(FitInputs(view), tmp_path / "tuned")
    start, tuned = (load_file(tmp_path / name / "model.safetensors") for name in ("start", "tuned"))
    assert start.keys() == tuned.keys()
    moved = {name for name in start if not torch.equal(start[name], tuned[name])}
    assert moved == {f"image_tower.blocks.{block}.qkv.weight" for block in (0, 1)}
    saved = json.loads((tmp_path / "tuned" / "adapter.json").read_text())
    assert saved["base"] == locked_hash(load_model(tmp_path / "start", "dual_encoder"))
    parts = [f"image_tower.blocks.{block}.qkv.lora_{part}" for block in (0, 1) for part in "ab"]
    assert saved["trained"] == sorted(parts)
    assert saved["trained_share"] < 0.05


def test_a_stage_that_starts_from_trained_towers_leaves_the_shared_ones_alone(tmp_path: Path) -> None:
    """And heads on cached features, which are of the tower before it was trained, are refused."""
    view = ColumnsView(turned_things(tmp_path), ColumnStore(str(tmp_path / "columns")), {})
    few: dict[str, Any] = {"batch_size": 12, "dim": 16, "warmup_steps": 1, "steps": 2}
    FitDualEncoder(tiny_settings(**few, trainable="all")).fit(FitInputs(view), tmp_path / "start")
    init = resolve_model(str(tmp_path / "start")).model_dump(mode="json")
    before = load_text_tower("builtin:tiny-text").features(["a thing"])
    lora = {"trainable": "lora", "lora": {"towers": ["image"]}}
    FitDualEncoder(tiny_settings(**few, **lora, init=init)).fit(FitInputs(view), tmp_path / "tuned")
    assert torch.equal(load_text_tower("builtin:tiny-text").features(["a thing"]), before)
    start, tuned = (load_model(tmp_path / name, "dual_encoder") for name in ("start", "tuned"))
    assert torch.equal(start.text_features(["a thing"]), tuned.text_features(["a thing"]))
    assert not torch.equal(start.text_features(["a thing"]), before)
    heads = FitDualEncoder(tiny_settings(**few, init=init))
    heads.device = torch.device("cpu")
    with pytest.raises(ModelError, match="cached features are of another"):
        heads.prepare()
