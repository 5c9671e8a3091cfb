"""DreamLIP: CLIP where it is CLIP, its patch weights, whose patches meet whose sentences, what grounding teaches."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learning import features_view, tiny_config, tiny_settings
from shapes import shapes_dataset
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pairwright.components.dataset.examples.example import Text
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.errors import InvalidRecipe, ModelError
from pairwright.components.models.dual_encoders.contrastive import softmax_loss
from pairwright.components.models.dual_encoders.features import ImageFeatures, ImageFeaturesSettings
from pairwright.components.models.dual_encoders.patch_features import PatchFeatures, PatchFeaturesSettings
from pairwright.components.models.dual_encoders.transformers_encoder import load_transformers_encoder
from pairwright.components.models.towers.efficientnet import pretrained
from pairwright.components.models.towers.tiny import TinyImage, TinyText
from pairwright.components.models.towers.tower import ImageTower
from pairwright.components.pretrain.dual_encoder import FitDualEncoder
from pairwright.components.pretrain.objectives.dreamlip import (
    DreamLip,
    DreamLipSettings,
    drawn,
    parts_of,
    patch_weights,
)
from pairwright.components.training.batch import Batch
from pairwright.components.training.gradients import joint_gradients
from pairwright.components.training.precision import Precision
from pairwright.components.training.run import train
from pairwright.components.training.trainer import Trainer

FLOAT32 = Precision("float32", torch.device("cpu"))
COUNT, PATCHES = 6, 9
SOURCES = ("alt", "long", "short")
FEATURES = {source: f"{source}.vector" for source in SOURCES}


def unit(*shape: int, seed: int = 0) -> Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(drawn, dim=-1)


# -- the weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.6, None])
def test_weights_sum_to_1_and_none_is_below_0(threshold: float | None) -> None:
    w = patch_weights(unit(COUNT, 3, 8), unit(COUNT, PATCHES, 8, seed=1), threshold)
    assert w.shape == (COUNT, 3, PATCHES)
    assert torch.allclose(w.sum(2), torch.ones(COUNT, 3, dtype=torch.float64))
    assert (w >= 0).all()


@pytest.mark.parametrize("threshold", [0.1, None])
def test_a_text_that_is_one_patch_pools_that_one(threshold: float | None) -> None:
    patches = torch.linalg.qr(torch.randn(COUNT, 16, 16, dtype=torch.float64))[0][:, :PATCHES]
    patches = F.normalize(patches + 0.02 * unit(COUNT, PATCHES, 16, seed=3), dim=-1)
    w = patch_weights(patches[:, [4]], patches, threshold)
    assert (w[:, 0, 4] >= 0.9).all()


def test_the_weights_are_the_formula() -> None:
    s = torch.tensor([0.5, 0.1, 0.14, -0.3, 0.3], dtype=torch.float64)
    patches = torch.stack([s, (1 - s**2).sqrt()], 1)[None]  # cosine s with (1, 0)
    text = torch.tensor([[[1.0, 0.0]]], dtype=torch.float64)
    scaled = ((s + 0.3) / 0.8).numpy()  # 1, .5, .55, 0, .75
    for threshold, kept in ((0.52, [0, 2, 4]), (0.1, [0, 1, 2, 4]), (None, [0, 1, 2, 4])):
        wanted = np.where(np.isin(np.arange(5), kept), scaled, 0)
        assert patch_weights(text, patches, threshold)[0, 0].numpy() == pytest.approx(wanted / wanted.sum())
    same = patch_weights(text, text.expand(1, 4, 2), 0.1)
    assert same.flatten().tolist() == pytest.approx([0.25] * 4)  # all as near: no division by 0


# -- the loss -------------------------------------------------------------------------------------


def objective(**said: Any) -> DreamLip:
    made = DreamLip(DreamLipSettings(sources=SOURCES, **said))
    made.own = torch.nn.ParameterDict({"log_scale": torch.nn.Parameter(torch.tensor(math.log(10.0)))})
    return made


def loss_of(image: Tensor, texts: Tensor, patches: Tensor, own: slice = slice(None), **said: Any) -> float:
    made = objective(**said)
    batch = Batch({"subcaptions": texts, "patches": patches}, torch.arange(len(image)), list("abcdef"), own=own)
    made.towers = type("Towers", (), {"embed_texts": staticmethod(lambda value: value)})
    outputs = {"image": image, "scale": 14.0, **made.encode(batch)}
    return float(made.losses(outputs, batch)["loss"].detach())


IMAGE, TEXTS, PARTS = unit(COUNT, 8), unit(COUNT, 3, 8, seed=1), unit(COUNT, PATCHES, 8, seed=2)


def test_the_loss_is_the_formula() -> None:
    contrast = sum(float(softmax_loss(IMAGE, TEXTS[:, k], 14.0).mean()) for k in range(3)) / 3
    pooled = []
    for i in range(COUNT):
        for k in range(3):
            s = (PARTS[i] @ TEXTS[i, k]).numpy()
            w = (s - s.min()) / (s.max() - s.min())
            w[w < 0.1] = 0
            v = (w / w.sum()) @ PARTS[i].numpy()
            pooled.append(v / np.linalg.norm(v))
    logits = torch.tensor(10.0 * np.stack(pooled) @ TEXTS.flatten(0, 1).numpy().T)
    own = torch.arange(3 * COUNT)
    grouping = float(F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    assert loss_of(IMAGE, TEXTS, PARTS, weight=0.7) == pytest.approx(contrast + 0.7 * grouping, abs=1e-5)


def test_sub_captions_and_pairs_may_come_in_any_order() -> None:
    wanted = loss_of(IMAGE, TEXTS, PARTS)
    assert loss_of(IMAGE, TEXTS[:, [2, 0, 1]], PARTS) == pytest.approx(wanted, abs=1e-9)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert loss_of(IMAGE[order], TEXTS[order], PARTS[order]) == pytest.approx(wanted, abs=1e-9)


def test_patches_that_meet_other_pictures_sentences_are_another_loss_and_depend_on_the_order() -> None:
    """What the released reshape does: texts stacked K-major, seen as B x K."""

    def released(order: Tensor) -> float:
        stacked = TEXTS[order].transpose(0, 1).reshape(COUNT, 3, 8)
        return loss_of(IMAGE[order], stacked, PARTS[order])

    straight, turned = released(torch.arange(COUNT)), released(torch.tensor([3, 0, 5, 1, 4, 2]))
    assert abs(straight - turned) > 1e-3
    assert abs(straight - loss_of(IMAGE, TEXTS, PARTS)) > 1e-3


def test_own_rows_of_ranks_have_the_mean_of_the_joint_batch() -> None:
    halves = [loss_of(IMAGE, TEXTS, PARTS, own) for own in (slice(0, 3), slice(3, 6))]
    assert sum(halves) / 2 == pytest.approx(loss_of(IMAGE, TEXTS, PARTS), abs=1e-6)


# -- in the dual encoder --------------------------------------------------------------------------


def dreamlip(**said: Any) -> dict[str, Any]:
    return {"uses": "dreamlip", "with": {"sources": list(SOURCES), "subcaptions": 3, **said}}


def population(rows: int = COUNT, seed: int = 0) -> ArrayPopulation:
    draw = np.random.default_rng(seed)
    vectors = {name: draw.normal(size=(rows, 64)) for name in (*FEATURES.values(), "image_features.vector")}
    vectors["patches.vector"] = draw.normal(size=(rows, 4 * 64))
    return ArrayPopulation({name: value.astype(np.float32) for name, value in vectors.items()})


def built(said: Any, **changes: Any) -> tuple[FitDualEncoder, Any, Batch]:
    task = FitDualEncoder(tiny_settings(objective=said, text_features=FEATURES, **changes))
    task.device = torch.device("cpu")
    task.prepare()
    task.model = task.build()
    examples = population().read(np.arange(COUNT), 0, 0)
    return task, task.model, Batch(task.collate(examples), torch.arange(COUNT), examples.keys)


def test_one_sub_caption_and_no_grouping_are_clip_bit_for_bit(tmp_path: Path) -> None:
    one = {"sources": ["alt"], "subcaptions": 1, "weight": 0, "parts": "whole"}
    found = []
    for said in ("clip", dreamlip(**one)):
        task, _, batch = built(said)
        found.append(task.losses(task.encode(batch), batch)["loss"])
        assert "patches.vector" not in task.column_names()
    assert torch.equal(*found)
    view = features_view(shapes_dataset(tmp_path, 16, 1), tmp_path)
    written = []
    for name, said in {"clip": "clip", "dreamlip": dreamlip(**one)}.items():
        changes = {"trainable": "all", "steps": 2, "batch_size": 8, "objective": said}
        train(tiny_config(view, tmp_path, name, **changes), 0, 1, lambda m: None)
        written.append((tmp_path / name / "model.safetensors").read_bytes())
    assert written[0] == written[1]


def test_the_gradient_cache_has_the_big_batchs_gradient_and_the_grouping_a_temperature_of_its_own() -> None:
    task, model, batch = built(dreamlip(), patch_features="patches.vector")
    assert "patches.vector" in task.column_names()
    found = []
    for micro in (0, 2):
        joint_gradients(task, model, batch, batch, micro, FLOAT32)
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        model.zero_grad(set_to_none=True)
    whole, cached = found
    assert {"encoder.log_scale", "dreamlip.log_scale"} <= whole.keys() == cached.keys()
    for name, value in whole.items():
        assert (cached[name] - value).norm() <= 1e-4 * value.norm() + 1e-7, name


def test_a_locked_tower_without_a_column_of_patches_is_one_line() -> None:
    task = FitDualEncoder(tiny_settings(objective=dreamlip(), text_features=FEATURES))
    with pytest.raises(InvalidRecipe, match="add patch_features"):
        task.column_names()


@pytest.mark.slow
def test_it_trains_from_pictures_alike_from_features_and_learns(tmp_path: Path) -> None:
    view = features_view(shapes_dataset(tmp_path, 32, 1), tmp_path)
    said = dreamlip(sources=["alt", "keywords"], subcaptions=2, parts="phrases")
    losses: list[dict[str, float]] = []
    changes = {"trainable": "all", "steps": 25, "batch_size": 16, "micro_batch": 8, "lr": 3e-3, "objective": said}
    train(tiny_config(view, tmp_path, **changes), 0, 1, losses.append)
    for part in ("contrast", "grouping"):
        assert np.mean([m[part] for m in losses[-4:]]) < 0.9 * losses[0][part]


# -- parts and draws ------------------------------------------------------------------------------


def test_captions_are_taken_apart_and_each_part_is_there_once() -> None:
    said = ["A dog. It runs! A dog.", "grey, furry", " ", ""]
    assert parts_of(said, "sentences") == ["A dog.", "It runs!", "grey, furry"]
    assert parts_of(said, "phrases") == ["A dog", "It runs", "A dog.", "grey", "furry"]
    assert parts_of(said, "whole") == ["A dog. It runs! A dog.", "grey, furry"]
    assert parts_of(["!?"], "sentences") == ["!?"]


def test_draws_are_of_the_key_and_the_epoch_without_repeats_until_they_must() -> None:
    texts = {"alt": [[Text(f"{row}.{at}", "alt") for at in range(1 + row)] for row in range(COUNT)]}
    examples = ArrayPopulation({}, texts, keys=list("abcdef"))
    choices = [np.arange(1 + row) for row in range(COUNT)]
    epochs = [drawn(examples.read(np.arange(COUNT), epoch, 0), choices, 3) for epoch in range(20)]
    assert np.array_equal(epochs[4], drawn(examples.read(np.arange(COUNT), 4, 0), choices, 3))
    alone = drawn(examples.read(np.array([5]), 4, 0), choices[5:], 3)
    assert np.array_equal(epochs[4][5:], alone)  # whoever else is in the batch
    for epoch in epochs:
        assert epoch[0].tolist() == [0, 0, 0]
        assert sorted(epoch[2]) == [0, 1, 2]
        assert len(set(epoch[5].tolist())) == 3
    assert {number for epoch in epochs for number in epoch[5].tolist()} == set(range(6))


# -- towers that show patches ---------------------------------------------------------------------


def pictures(side: int, count: int = 3) -> Tensor:
    return torch.randint(0, 256, (count, side, side, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.mark.parametrize(("tower", "count"), [(TinyImage, 16), (pretrained, 49)])
def test_a_towers_patches_are_what_its_feature_is_the_mean_of(tower: Callable[[], ImageTower], count: int) -> None:
    made = tower()
    with torch.no_grad():
        whole, patches = made.with_patches(images := pictures(made.side))
        assert patches.shape == (3, count, made.width)
        assert torch.equal(whole, made(images))
        assert torch.allclose(patches.mean(1), whole, atol=1e-4)
        rolled = images.roll(made.side // 2, 2)
        assert not torch.allclose(made.with_patches(rolled)[1][:, 0], patches[:, 0], atol=1e-3)
    assert not hasattr(TinyText(), "with_patches")


def test_a_clips_patches_share_its_space_and_a_siglip_says_it_has_none(tmp_path: Path) -> None:
    from transformers import CLIPConfig, SiglipConfig

    tiny = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {"image_size": 32, "patch_size": 8, **tiny}
    for name, cls in (("clip", CLIPConfig), ("siglip", SiglipConfig)):
        cls(text_config={"vocab_size": 300, **tiny}, vision_config=vision, projection_dim=24).save_pretrained(
            tmp_path / name
        )
    model = load_transformers_encoder(tmp_path / "clip")
    whole, patches = model.embed_with_patches(pictures(32))
    assert torch.allclose(whole, model.embed_pixels(pictures(32)), atol=1e-6)
    assert patches.shape == (3, 16, 24)
    assert torch.allclose(patches.norm(dim=-1), torch.ones(3, 16))
    with pytest.raises(ModelError, match="name a CLIP"):
        load_transformers_encoder(tmp_path / "siglip").embed_with_patches(pictures(32))


class Squares:
    def squares(self, side: int) -> np.ndarray:
        return pictures(side).numpy()


def test_patch_columns_average_to_the_towers_features_and_a_finer_grid_is_refused() -> None:
    said = {"tower": "builtin:tiny-image"}
    parts, whole = (
        PatchFeatures(PatchFeaturesSettings.parse({**said, "grid": 2}, "x")),
        ImageFeatures(ImageFeaturesSettings.parse(said, "x")),
    )
    for one in (parts, whole):
        one.setup("cpu")
    columns: np.ndarray = parts.score(Squares())["vector"]  # type: ignore[arg-type]
    assert columns.shape == (3, parts.schema()["vector"].list_size) == (3, 4 * 64)
    features = whole.score(Squares())["vector"]  # type: ignore[arg-type]
    assert columns.reshape(3, 4, 64).astype(np.float32).mean(1) == pytest.approx(features, abs=4e-3)
    finer = PatchFeatures(PatchFeaturesSettings.parse({**said, "grid": 5}, "x"))
    finer.setup("cpu")
    with pytest.raises(ModelError, match="16 patches of a picture, not 5 x 5"):
        finer.score(Squares())  # type: ignore[arg-type]


# -- planted: what grounding teaches --------------------------------------------------------------

CONCEPTS, SHOWN = 40, 3


def planted(rows: int, seed: int) -> tuple[ArrayPopulation, np.ndarray]:
    """Pictures of three things in four places, each thing named by a text; and which things each shows."""
    fixed = np.random.default_rng(99)
    looks, words = fixed.normal(size=(CONCEPTS, 64)), fixed.normal(size=(CONCEPTS, 64))
    draw = np.random.default_rng(seed)
    things = np.stack([draw.choice(CONCEPTS, SHOWN, replace=False) for _ in range(rows)])
    places = np.concatenate([looks[things], draw.normal(size=(rows, 1, 64))], 1) + 0.5 * draw.normal(size=(rows, 4, 64))
    columns = {"image_features.vector": places.mean(1), "patches.vector": places.reshape(rows, -1)}
    columns |= {f"{source}.vector": words[things[:, k]] for k, source in enumerate(SOURCES)}
    return ArrayPopulation({name: value.astype(np.float32) for name, value in columns.items()}), things


def finds(said: Any, seed: int) -> float:
    """How often a thing's text is nearer to a new picture that shows it than to one that does not, of all such twos."""
    train_on, _ = planted(160, seed)
    settings = tiny_settings(
        objective=said, text_features=FEATURES, captions=dict.fromkeys(SOURCES, 1.0), patch_features="patches.vector",
        steps=80, batch_size=32, lr=5e-3, seed=seed, dim=32,
    )  # fmt: skip
    task = FitDualEncoder(settings)
    task.device = torch.device("cpu")
    task.prepare()
    Trainer(task, train_on).train()
    new, things = planted(200, 1000 + seed)
    found = new.read(np.arange(200), 0, 0)
    words = np.random.default_rng(99).normal(size=(2, CONCEPTS, 64))[1].astype(np.float32)
    image = task.encoder.encode_image_features(found.column("image_features.vector"))
    scores = (task.encoder.encode_text_features(words) @ image.T).numpy()
    shown = (things[None] == np.arange(CONCEPTS)[:, None, None]).any(2)
    return float(np.mean([(scores[c, shown[c]][:, None] > scores[c, ~shown[c]][None]).mean() for c in range(CONCEPTS)]))


@pytest.mark.slow
def test_sub_captions_find_new_pictures_better_than_a_caption_a_step_and_grounded_ones_better_still() -> None:
    found = {name: [finds(said, seed) for seed in range(3)] for name, said in {
        "clip": "clip",
        "parts": dreamlip(weight=0),
        "grounded": dreamlip(),
    }.items()}  # fmt: skip
    assert min(np.subtract(found["parts"], found["clip"])) > 0.02, found
    assert min(np.subtract(found["grounded"], found["parts"])) > 0.005, found
