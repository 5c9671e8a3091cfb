"""ShareGPT4V: few strong captions teach most of what they say; an exchange moves k rows and no other byte; a tower is
tuned between what is frozen and what its layer bypasses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from populations import view_of

from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import InvalidRecipe, ModelError
from pairwright.components.filter.selections.exchange_captions import ExchangeCaptions, ExchangeCaptionsSettings
from pairwright.components.models.captioner.tower_captioner import load_tower_captioner
from pairwright.components.models.captioner.vision_tower import load_vision_tower
from pairwright.components.models.decoding.settings import Decoding
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.words import words_of
from pairwright.components.pretrain.captioners.captioner import CaptionerSettings, CaptionerTask
from pairwright.components.pretrain.captioners.tower_captioner import TowerCaptionerSettings, TowerCaptionerTask
from pairwright.components.recaption.captioners.exchanged import Exchanged, ExchangedSettings
from pairwright.components.recaption.captioners.tower_captioner import TowerCaptions, TowerCaptionsSettings
from pairwright.components.training.contract import Trained
from pairwright.components.training.here import fit_here
from pairwright.components.training.parameters import freeze

SEEDS = (0, 1, 2)


# -- a student of a hundred captions ---------------------------------------------------------------------

NOUNS, STRONG = ("dog", "cat", "bus", "oak"), 100


def pictures(seed: int, count: int) -> tuple[np.ndarray, list[list[str]]]:
    """Features of pictures with two things, and what a strong captioner, which misses one in twenty, says of them."""
    world, draw = np.random.default_rng(4), np.random.default_rng(seed)
    of, both = world.normal(size=(2, 4, 24)), draw.integers(0, 4, (count, 2))
    features = of[0][both[:, 0]] + of[1][both[:, 1]] + 0.1 * draw.normal(size=(count, 24))
    return features.astype(np.float32), [[NOUNS[a], NOUNS[b]] for a, b in both]


def strong(things: list[list[str]], seed: int) -> list[str]:
    draw = np.random.default_rng([seed, 9])
    return [" beside ".join(f"a {one}" for one in some if draw.random() > 0.05) or "a picture" for some in things]


def recall(texts: list[str], things: list[list[str]]) -> float:
    found = [len(set(some) & set(words_of(text))) / len(set(some)) for text, some in zip(texts, things, strict=True)]
    return float(np.mean(found))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_student_of_a_hundred_captions_names_nearly_as_many_things_of_unseen_pictures(seed: int) -> None:
    features, things = pictures(seed, STRONG)
    small = {"width": 32, "heads": 2, "layers": 1, "prefix": 2, "least": 1, "max_words": 8, "features": "x.vector"}
    small |= {"source": "strong", "steps": 120, "batch_size": 50, "lr": 8e-3, "warmup_steps": 5, "seed": seed}
    task = CaptionerTask(CaptionerSettings.parse(small, "test"))
    fit_here(task, ArrayPopulation({"x.vector": features}, {"strong": strong(things, seed)}))
    unseen, truth = pictures(50 + seed, 300)
    said = [texts[0] for texts in task.model.generate({"image": torch.from_numpy(unseen)})]
    teacher = recall(strong(truth, 50 + seed), truth)
    assert recall(said, truth) > 0.9 * teacher
    assert len({*said}) > 8, "of each picture its own"


# -- the exchange ------------------------------------------------------------------------------------------


def mix(root: Path, **said: Any) -> dict[str, Any]:
    """A mix of 60 captions, 40 questions and 20 readings, and 50 pairs outside it."""
    tasks = ["caption"] * 60 + ["question"] * 40 + ["ocr"] * 20 + ["strong"] * 50
    tasks = np.random.default_rng(0).permutation(tasks).tolist()
    keys = [f"k{n}" for n in range(len(tasks))]
    labels = {key: [("task", task)] for key, task in zip(keys, tasks, strict=True)}
    columns = {"x.width": pa.array(range(len(keys)), pa.int64())}
    view = view_of(root, columns, shards=3, keys=keys, labels=labels)
    wish = {"task": "pair.label.task", "other": "strong", "count": 13} | said
    found = ExchangeCaptions(ExchangeCaptionsSettings.parse(wish, "test")).select(view)
    return {"task": np.array(tasks), "key": np.array(keys)} | {
        name: np.array(v.to_pylist()) for name, v in found.items()
    }


def test_exactly_k_caption_rows_give_way_to_k_other_pairs_and_every_other_task_stays(tmp_path: Path) -> None:
    found = mix(tmp_path)
    task, keep, moved = found["task"], found["keep"], found["moved"]
    assert keep.sum() == 120, "as many rows as before"
    assert (moved == "out").sum() == (moved == "in").sum() == 13
    assert set(task[moved == "out"]) == {"caption"}
    assert set(task[moved == "in"]) == {"strong"}
    others = np.isin(task, ["question", "ocr"])
    assert keep[others].all()
    assert all(one is None for one in moved[others])
    assert not set(found["key"][moved == "in"]) & set(found["key"][moved == "out"]), "other pairs, not the same ones"
    assert (keep == (((task != "strong") & (moved != "out")) | (moved == "in"))).all()


def test_it_is_a_function_of_seed_and_key_a_smaller_exchange_is_part_of_a_larger_and_none_is_none(
    tmp_path: Path,
) -> None:
    found, fewer, none = mix(tmp_path / "a"), mix(tmp_path / "b", count=5), mix(tmp_path / "c", count=0)
    assert (fewer["moved"][fewer["moved"] != None] == found["moved"][fewer["moved"] != None]).all()  # noqa: E711
    assert (none["keep"] == (none["task"] != "strong")).all()
    assert (mix(tmp_path / "d", seed=1)["moved"] != found["moved"]).any()
    few = mix(tmp_path / "e", among={"narrow": "x.width < 120"})
    assert (np.flatnonzero(few["moved"] == "in") < 120).all()
    for wrong, told in (({"count": 61}, "60 caption rows"), ({"count": 51}, "50 other pairs")):
        with pytest.raises(InvalidRecipe, match=told):
            mix(tmp_path / told[:2], **wrong)


def test_rows_of_other_tasks_say_what_they_said_byte_for_byte(tmp_path: Path) -> None:
    found = mix(tmp_path)
    own = [f"  {task} of {key},\tas it  was \n" for task, key in zip(found["task"], found["key"], strict=True)]
    rows = [{"captions": [{"source": "alt", "text": text, "lang": "en"}]} for text in own]
    keys, moved = found["key"].tolist(), list(found["moved"])
    strong_texts = [f"strong {key}" for key in keys]
    batch = PairBatch(np.arange(len(keys)), keys, rows, extra_captions={"expanded": list(strong_texts)})
    batch.columns = {"exchange.moved": moved}
    step = Exchanged(ExchangedSettings.parse({"strong": "expanded", "moved": "exchange.moved"}, "test"))
    said = [one.text for one in step.caption(batch) if one]
    changed = {key for key, text, before in zip(keys, said, own, strict=True) if text.encode() != before.encode()}
    assert changed == set(found["key"][found["moved"] == "in"])
    assert all(said[keys.index(key)] == f"strong {key}" for key in changed)


# -- a tower tuned between ------------------------------------------------------------------------------------

BLOCKS, FROZEN = 6, ("tower.*layers\\.[0-2]\\.",)


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP's tower of six blocks with random weights."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_hidden_layers": BLOCKS}
    folder = tmp_path_factory.mktemp("vit")
    CLIPVisionModel(CLIPVisionConfig(image_size=32, patch_size=16, **sizes)).save_pretrained(folder)
    return folder


def population() -> ArrayPopulation:
    draw = np.random.default_rng(0)
    colours = {"red": (220, 30, 30), "blue": (30, 30, 220)}
    said = [list(colours)[n] for n in draw.integers(0, 2, 48)]
    images = [
        np.full((40, 36, 3), colours[one], np.uint8) + draw.integers(0, 20, (40, 36, 3), np.uint8) for one in said
    ]
    return ArrayPopulation({}, {"strong": [f"a {one} wall" for one in said]}, media={"image": images})


def task_on(vit: Path, **said: Any) -> TowerCaptionerTask:
    small = {"width": 16, "heads": 2, "layers": 1, "least": 1, "max_words": 4, "source": "strong", "batch_size": 16}
    small |= {"tower": resolve_model(str(vit)), "steps": 30, "lr": 5e-3, "warmup_steps": 2}
    task = TowerCaptionerTask(TowerCaptionerSettings.parse(small | said, "test"))
    task.population, task.device = population(), torch.device("cpu")
    task.prepare()
    return task


def gradients(vit: Path, layer: int, frozen: tuple[str, ...], everything: bool = False) -> list[float]:
    """The sum of a step's absolute gradients in each block."""
    from pairwright.components.training.batch import Batch

    task = task_on(vit, layer=layer)
    task.model = task.build()
    if everything:
        task.model.requires_grad_(True)
    freeze(task.model, frozen)
    examples = task.population.read(np.arange(16), 0, 0)
    batch = Batch(task.collate(examples), torch.arange(16), examples.keys)
    task.losses(task.encode(batch), batch)["loss"].backward()
    found = [0.0] * BLOCKS
    for name, parameter in task.model.tower.named_parameters():
        if ".layers." in name and parameter.grad is not None:
            found[int(name.split(".layers.")[1].split(".")[0])] += float(parameter.grad.abs().sum())
    return found


@pytest.mark.parametrize("everything", [False, True])
def test_no_gradient_in_the_frozen_blocks_nor_in_the_last_which_layer_2_from_the_end_bypasses(
    vit: Path, everything: bool
) -> None:
    found = gradients(vit, -2, FROZEN, everything)
    assert found[:3] == [0.0] * 3
    assert found[-1] == 0.0, "though it may be trained, nothing asks it"
    assert min(found[3:5]) > 0
    assert min(gradients(vit, -1, ())) > 0, "the last block's own states reach all of them"


def test_what_no_gradient_reaches_is_not_trained_and_no_weight_of_it_moves(vit: Path) -> None:
    task = task_on(vit, freeze=FROZEN, weight_decay=0.5)
    before = {name: value.clone() for name, value in task.tower.state_dict().items()}
    trainer = fit_here(task, task.population)
    after = task.model.tower.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    blocks = {int(name.split(".layers.")[1].split(".")[0]) for name in moved if ".layers." in name}
    assert blocks == {3, 4}
    assert not any("post_layernorm" in name for name in moved)
    assert trainer is not None


@pytest.mark.slow
def test_it_learns_from_pictures_and_its_folder_says_the_same(vit: Path, tmp_path: Path) -> None:
    task = task_on(vit, freeze=FROZEN, steps=90)
    fit_here(task, task.population)
    found = task.save(tmp_path, Trained(48, 0, 0, 1, [], 0.5))
    assert found["nats_per_word"] < 0.2
    examples = population().read(np.arange(48), 0, 0)
    model, images = load_tower_captioner(tmp_path), examples.media("image")
    said = [texts[0] for texts in model.generate({"image": model.shown(images)}, Decoding())]
    assert said == [
        f"{text}" for text in population()._texts and [one[0].text for one in population()._texts["strong"]]
    ]
    step = TowerCaptions(TowerCaptionsSettings.parse({"model": resolve_model(str(tmp_path)), "size": 32}, "test"))
    step.setup("cpu")
    batch = PairBatch(np.arange(48), [str(n) for n in range(48)], [{} for _ in range(48)], images=list(images))
    assert [one.text for one in step.caption(batch) if one] == said
    (tmp_path / "tower.json").write_text(json.dumps({"layer": -9}))
    with pytest.raises(ModelError, match="none of a tower of 6 blocks"):
        load_tower_captioner(tmp_path)


def test_a_layer_counts_from_what_goes_into_the_first_block_and_another_architecture_is_refused(
    vit: Path, tmp_path: Path
) -> None:
    towers = {layer: load_vision_tower(vit, layer) for layer in (-1, -2, 0, BLOCKS)}
    pixels = torch.from_numpy(towers[0].squashed(population().read(np.arange(2), 0, 0).media("image")))
    seen = {layer: tower(pixels) for layer, tower in towers.items()}
    assert seen[-2].shape == (2, 4, 32)
    assert torch.equal(seen[-1], seen[BLOCKS])
    assert torch.allclose(
        towers[-1].net.encoder.layers[-1](_with_class(towers[-2], pixels), None)[:, 1:], seen[-1], atol=1e-5
    )
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(ModelError, match="a vision tower is one of"):
        load_vision_tower(tmp_path)


def _with_class(tower: Any, pixels: torch.Tensor) -> torch.Tensor:
    """The states of the tower's layer, class token included."""
    values = ((pixels.float() / 255 - tower.mean) / tower.deviation).permute(0, 3, 1, 2)
    return tower.net(pixel_values=values, output_hidden_states=True).hidden_states[tower.reached]
