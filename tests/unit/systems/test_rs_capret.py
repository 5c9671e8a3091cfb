"""RS-CapRet: a frozen language model captions and retrieves by three matrices and a token of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from language_models import taught_language_model, tiny_language_model

from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.errors import ColumnError, ModelError
from pairwright.components.models.captioner.caption_and_retrieve import CaptionAndRetrieve, load_caption_and_retrieve
from pairwright.components.models.captioner.tokens import nats_of
from pairwright.components.models.formats import load_model
from pairwright.components.models.protocols import Captioner, DualEncoder, Retriever
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.towers.towers import load_image_tower
from pairwright.components.pretrain.captioners.rs_capret import RsCapret, RsCapretSettings
from pairwright.components.training.batch import Batch
from pairwright.components.training.contract import Trained
from pairwright.components.training.here import fit_here

PAIRS, SEEDS = 256, (0, 1, 2)
COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 170, 60),
    "blue": (40, 60, 220),
    "yellow": (240, 220, 40),
    "black": (15, 15, 15),
    "white": (240, 240, 240),
}
THINGS = ("square", "card", "flag", "wall")  # what a text adds, and no picture tells
SMALL: dict[str, Any] = {
    "image_tower": resolve_model("builtin:tiny-image"),
    "image_features": "x.vector",
    "dim": 16,
    "max_words": 8,
    "visual": 2,
    "steps": 100,
    "batch_size": 64,
    "warmup_steps": 10,
    "lr": 2e-2,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`ours` learnt the texts; `llama` says tokens by other vectors than it reads them by, `gpt2` by the same."""
    root, random = tmp_path_factory.mktemp("models"), np.random.default_rng(9)
    said = [(random.choice(list(COLOURS)), random.choice(THINGS)) for _ in range(500)]
    taught_language_model(root / "ours", [f"a {c} {t}" for c, t in said], [c for c, _ in said])
    return {"ours": root / "ours"} | {kind: tiny_language_model(root / kind, kind) for kind in ("llama", "gpt2")}


@dataclass(frozen=True)
class Planted:
    pictures: list[np.ndarray]
    colour: np.ndarray
    captions: list[str]
    population: ArrayPopulation


@cache
def planted(seed: int) -> Planted:
    random, names = np.random.default_rng(seed), list(COLOURS)
    colour = random.integers(0, len(names), PAIRS)
    noise = random.normal(0, 12, (PAIRS, 32, 32, 3))
    pictures = [np.clip(np.array(COLOURS[names[c]]) + n, 0, 255).astype(np.uint8) for c, n in zip(colour, noise)]
    captions = [f"a {names[c]} {random.choice(THINGS)}" for c in colour]
    features = load_image_tower("builtin:tiny-image").features(pictures).numpy()
    return Planted(pictures, colour, captions, ArrayPopulation({"x.vector": features}, {"alt": captions}))


def task(folder: Path, **changes: Any) -> RsCapret:
    return RsCapret(RsCapretSettings.parse(SMALL | {"decoder": resolve_model(str(folder))} | changes, "test"))


def built(folder: Path, **changes: Any) -> RsCapret:
    made = task(folder, **changes)
    made.population, made.device = planted(0).population, torch.device("cpu")
    torch.manual_seed(3)
    made.model = made.build()
    return made


_trained: dict[tuple[int, bool], CaptionAndRetrieve] = {}


def trained(seed: int, folder: Path, contrast: bool = True) -> CaptionAndRetrieve:
    if (seed, contrast) not in _trained:
        said = {"seed": seed} | ({} if contrast else {"contrast": 0.0, "retrieval_text": 0.0})
        _trained[seed, contrast] = fit_here(task(folder, **said), planted(seed).population).task.model
    return _trained[seed, contrast]


def found_colours(model: CaptionAndRetrieve, seed: int) -> float:
    """Share of texts whose best picture is of their colour."""
    texts = [f"a {name} {thing}" for name in COLOURS for thing in THINGS]
    best, _ = model.search(model.index(planted(seed).pictures), 1, texts=texts)
    wanted = np.repeat(np.arange(len(COLOURS)), len(THINGS))
    return float((planted(seed).colour[best[:, 0]] == wanted).mean())


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_one_model_captions_and_retrieves_and_without_contrast_it_retrieves_by_chance(
    seed: int, models: dict[str, Path]
) -> None:
    model, names = trained(seed, models["ours"]), [list(COLOURS)[c] for c in planted(seed).colour]
    said = model.caption(planted(seed).pictures)
    assert np.mean([name in text.split() for name, text in zip(names, said, strict=True)]) > 0.9
    assert found_colours(model, seed) > 0.9
    if seed == 0:
        assert found_colours(trained(seed, models["ours"], contrast=False), seed) < 0.6


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_after_a_step_with_weight_decay_every_row_but_rets_is_the_same_to_the_bit(
    kind: str, models: dict[str, Path]
) -> None:
    begun = built(models[kind], weight_decay=0.5)
    before = {name: value.clone() for name, value in begun.model.state_dict().items()}
    ended = task(models[kind], weight_decay=0.5, steps=1, warmup_steps=0)
    ended.population = planted(0).population
    ended_model = _one_step(ended, before)
    changed = {name for name, value in ended_model.state_dict().items() if not torch.equal(value, before[name])}
    own = {"ret", "log_scale", "text_head.weight", "text_head.bias", "image_head.weight", "image_head.bias"}
    own |= {"captioner.prefix.maps.image.0.weight", "captioner.prefix.maps.image.0.bias"}
    assert changed == own | ({"ret_said"} if kind == "llama" else set())
    assert (begun.model.ret_said is None) == (kind == "gpt2")


def _one_step(made: RsCapret, start: dict[str, torch.Tensor]) -> CaptionAndRetrieve:
    """The trainer's one step from these weights."""
    build = made.build

    def from_start() -> CaptionAndRetrieve:
        model = build()
        model.load_state_dict(start)
        return model

    made.build = from_start  # type: ignore[method-assign]
    return fit_here(made, planted(0).population).task.model  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_rets_input_reaches_captioning_by_the_tied_softmax_alone(kind: str, models: dict[str, Path]) -> None:
    made = built(models[kind])
    model, batch = made.model, made.collate(made.population.read(np.arange(16), 0, 0))
    given = (batch["image"], batch["tokens"], (batch["before_image"], batch["before_tokens"]), batch["after"])
    x, there = model._pair(batch["image"], batch["tokens"][:, :-1])
    with torch.no_grad():
        nats, logits = model.caption_nats(*given)[0], model.states(x, there)[1]
        model.ret.add_(torch.linspace(-1, 1, len(model.ret)))
        moved, after = model.caption_nats(*given)[0], model.states(x, there)[1]
    assert torch.equal(after[..., :-1], logits[..., :-1])
    assert torch.equal(moved, nats) == (kind == "llama")
    assert torch.equal(after[..., -1], logits[..., -1]) == (kind == "llama")
    assert logits.shape[-1] == model.decoder.vocabulary + 1


def test_ret_is_to_be_said_behind_a_text_and_nowhere_in_a_caption(models: dict[str, Path]) -> None:
    made = built(models["llama"])
    model, batch = made.model, made.collate(made.population.read(np.arange(16), 0, 0))
    assert int(batch["tokens"].max()) < model.decoder.vocabulary
    plain = model.captioner.nats(
        model.captioner.logits({"image": batch["image"]}, batch["tokens"][:, :-1]), batch["tokens"]
    )
    caption = model.caption_nats(batch["image"], batch["tokens"])[0][:, 0]
    assert bool((caption > plain.sum(1)).all())  # one more wrong answer, at every token
    text = model.gathered(batch["tokens"])[1].sum()
    (towards,) = torch.autograd.grad(text, model.ret_said)
    with torch.no_grad():
        model.ret_said.sub_(0.1 * towards / towards.norm())
        assert model.gathered(batch["tokens"])[1].sum() < text - 0.01
        assert bool((model.caption_nats(batch["image"], batch["tokens"])[0][:, 0] > plain.sum(1)).all())


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_an_interleaved_caption_sees_what_stands_before_it_and_nothing_else(kind: str, models: dict[str, Path]) -> None:
    model = built(models[kind]).model
    tokens = model.captioner.tokens.encode(["a red card", "a blue wall on a bus"], 8)
    noise = torch.Generator().manual_seed(0)
    image, before = torch.randn(2, 64, generator=noise), torch.randn(2, 64, generator=noise)
    other = model.captioner.tokens.encode(["the old tree by a bus", "dog"], 8)
    both = torch.tensor([True, True])

    def nats(**changes: Any) -> torch.Tensor:
        said = {"image": image, "tokens": tokens, "before": (before, other), "after": both} | changes
        return model.caption_nats(**said)[0].sum(1).detach()

    alone = model.caption_nats(image, tokens)[0].sum(1).detach()
    assert torch.allclose(nats(after=~both), alone, atol=1e-4)
    assert not torch.allclose(nats(), alone, atol=0.1)
    end = model.captioner.tokens.end
    behind = torch.where(torch.arange(other.shape[1]) > (other == end).long().argmax(1)[:, None], 7, other)
    assert torch.allclose(nats(before=(before, behind)), nats(), atol=1e-4)  # what is behind the end is not there
    for row in range(2):  # the same by hand, without any padding: [image'] start caption' end [image] start caption
        first = other[row, : int((other[row] == end).long().argmax()) + 1][None]
        own = tokens[row, : int((tokens[row] == end).long().argmax()) + 1][None]
        x = torch.cat([model._pair(before[row, None], first)[0], model._pair(image[row, None], own[:, :-1])[0]], 1)
        logits = model.states(x, torch.ones(x.shape[:2], dtype=torch.bool))[1]
        by_hand = nats_of(logits[:, 2 : first.shape[1] + 1], first, end).sum()  # a picture is two tokens
        by_hand = (by_hand + nats_of(logits[:, -(own.shape[1] - 1) :], own, end).sum()).detach()
        assert float(nats()[row]) == pytest.approx(float(by_hand), abs=1e-3)

    def first_of(image: torch.Tensor) -> torch.Tensor:
        return model.caption_nats(image, tokens, (before, other), both)[0][:, 1]

    assert torch.allclose(first_of(image), first_of(image + 1), atol=1e-4)  # it does not look ahead
    assert torch.allclose(first_of(image), model.caption_nats(before, other)[0][:, 0], atol=1e-4)


def test_in_a_concatenated_pair_the_second_caption_scores_higher_with_its_own_picture(models: dict[str, Path]) -> None:
    model, data = trained(0, models["ours"]), planted(0)
    features = torch.from_numpy(np.asarray(data.population.read(np.arange(PAIRS), 0, 0).column("x.vector")))
    tokens = model.captioner.tokens.encode(data.captions, 8)
    differ = torch.from_numpy(data.colour != np.roll(data.colour, 1))
    before, other = features.roll(1, 0), tokens.roll(1, 0)
    with torch.no_grad():
        both = torch.ones(PAIRS, dtype=torch.bool)
        own, swapped = (
            model.caption_nats(image, tokens, (before, other), both)[0][:, 0] for image in (features, before)
        )
    assert float((own < swapped)[differ].float().mean()) > 0.9


def test_each_weight_of_zero_leaves_its_term_out(models: dict[str, Path]) -> None:
    for off, silent in (("contrast", {"text_head", "image_head", "log_scale"}), ("captioning", {"captioner"})):
        made = built(models["llama"], **{off: 0.0})
        batch = made.collate(made.population.read(np.arange(16), 0, 0))
        rows = Batch(batch, torch.arange(16), [str(at) for at in range(16)])
        named = made.losses(made.encode(rows), rows)
        assert off not in named
        named["loss"].backward()
        reached = {n.partition(".")[0] for n, p in made.model.named_parameters() if p.grad is not None and p.grad.any()}
        assert not reached & silent
        assert reached


def test_one_folder_speaks_both_protocols_and_answers_as_before(models: dict[str, Path], tmp_path: Path) -> None:
    model, pictures = trained(0, models["ours"]), planted(0).pictures[:20]
    made = built(models["ours"])
    made.model = model
    made.save(tmp_path, Trained(PAIRS, 0, 0, 1, [{"loss": 1.0}], 0.05))
    again = load_model(tmp_path, ("captioner", "dual_encoder", "retriever"))
    assert all(isinstance(again, one) for one in (Captioner, DualEncoder, Retriever))
    assert again.caption(pictures) == model.caption(pictures)
    texts = ["a red card", "a blue wall"]
    assert torch.equal(again.encode_text(texts), model.encode_text(texts))
    assert torch.equal(again.index(pictures), model.index(pictures))
    assert torch.allclose(again.encode_text(texts)[:1], again.encode_text(texts[:1]), atol=1e-5)
    with pytest.raises(ModelError, match="pictures alone"):
        again.caption(pictures, ["what is it?"] * 20)
    assert not list(tmp_path.rglob("*.bin"))
    assert json.loads((tmp_path / "config.json").read_text())["dim"] == 16
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="damaged"):
        load_caption_and_retrieve(tmp_path)


def test_what_does_not_fit_is_refused_before_training(models: dict[str, Path]) -> None:
    with pytest.raises(ColumnError, match="lower max_words"):
        built(models["ours"], max_words=30)
    made = task(models["ours"])
    made.population, made.device = ArrayPopulation({"x.vector": np.zeros((8, 5), np.float32)}), torch.device("cpu")
    with pytest.raises(ColumnError, match="name the column"):
        made.build()
