"""CLIP Reward: both rewards by hand, both published weightings, and what the grammar term is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from paid import NAMES, captions_of, retriever, settings, start, tuned, world

from pairwright.components.caption_metrics.repetition import repetition
from pairwright.components.component import Reward
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder
from pairwright.components.models.grammar import load_grammar
from pairwright.components.models.resolve import resolve_model
from pairwright.components.pretrain.caption_rewards.clip_s import ClipS, ClipSSettings
from pairwright.components.pretrain.caption_rewards.grammar import Grammar, GrammarSettings
from pairwright.components.pretrain.captioners.grammar_head import GrammarHead, GrammarHeadSettings
from pairwright.components.pretrain.self_critical.settings import WEIGHTINGS, SelfCriticalSettings
from pairwright.components.pretrain.self_critical.task import SelfCritical
from pairwright.components.registry import reward
from pairwright.components.settings import Settings
from pairwright.components.training.batch import Batch
from pairwright.components.training.here import fit_here

SEEDS = (0, 1, 2)
STUTTER = 0.2  # of the captions that the start learns from
QUICK: dict[str, Any] = {"steps": 36, "lr": 4e-3, "batch_size": 36, "samples": 4}


class Written(Settings):
    each: tuple[float, ...] = ()


@reward("test_written")
class AsWritten(Reward[Written]):
    """Of every picture the same rewards, as they are written down."""

    def encode(self, batch: Any, captions: Any) -> dict[str, torch.Tensor]:
        return {"each": torch.tensor([self.settings.each] * len(captions))}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A retriever that likes best what is said twice over, and a head that knows captions said once."""
    root = tmp_path_factory.mktemp("paid")
    retriever(root / "retriever", times=2)
    small = {"steps": 80, "lr": 3e-3, "hidden": 128, "batch_size": 32, "warmup_steps": 5}
    wish = GrammarHeadSettings.parse({"tower": resolve_model("builtin:tiny-text")} | small, "test")
    fit_here(GrammarHead(wish), ArrayPopulation({}, {"alt": [NAMES[one] for one in world(1000).what]})).save(
        root / "grammar"
    )
    return root


def clip_s(place: Path) -> dict[str, Any]:
    return {"uses": "clip_s", "with": {"model": place / "retriever", "features": "x.vector", "prefix": ""}}


def grammar(place: Path) -> dict[str, Any]:
    return {"uses": "grammar", "with": {"model": place / "grammar"}}


def test_clip_s_is_two_and_a_half_cosines_after_its_prefix_and_never_below_0(place: Path) -> None:
    wish = {"model": resolve_model(str(place / "retriever")), "features": "x.vector"}
    made = ClipS(ClipSSettings.parse(wish, "test"))
    made.population, made.device = world(0).population(), torch.device("cpu")
    made.modules()
    features, captions = torch.from_numpy(world(0).features[:8]), [["red dog", "key", "red dog"]] * 8
    found = made.encode({"features": features}, captions)["each"]
    model = load_dual_encoder(resolve_model(str(place / "retriever")))
    text = model.encode_text([f"A photo depicts {text}" for text in captions[0]])
    cosines = model.encode_image_features(features) @ text.T
    assert torch.allclose(found, 2.5 * cosines.clamp(min=0), atol=1e-5)
    assert bool((cosines < 0).any())
    assert bool((cosines > 0).any())


def test_the_grammar_reward_is_its_heads_probability(place: Path) -> None:
    made = Grammar(GrammarSettings.parse({"model": resolve_model(str(place / "grammar"))}, "test"))
    made.population, made.device = world(0).population(), torch.device("cpu")
    made.modules()
    captions = [["red dog", "dog dog dog"], ["old key", "red dog"]]
    found = made.encode({}, captions)["each"]
    head = load_grammar(place / "grammar")
    assert torch.allclose(found, torch.stack([head.probability(row) for row in captions]), atol=1e-6)
    assert found[0, 0] == found[1, 1] > found[0, 1]


@pytest.mark.parametrize(("weighting", "better"), [("paper", 1), ("code", 0)])
def test_the_two_published_weightings_rank_two_captions_oppositely(
    place: Path, weighting: Literal["paper", "code"], better: int
) -> None:
    """CLIP-S + 2 grammar, or 2 CLIP-S + grammar: of (2.0, 0.1) and (1.5, 0.5) either prefers another."""
    table = {"clip_s": (2.0, 1.5, 0.0), "grammar": (0.1, 0.5, 0.0)}  # two samples, and a greedy one paid nothing
    rewards = [{"uses": "test_written", "called": name, "with": {"each": each}} for name, each in table.items()]
    wish = settings(start(place, 0, STUTTER), rewards, weighting=weighting, samples=2)
    task = SelfCritical(wish)
    task.population, task.device = world(0).population(), "cpu"
    task.model = task.build()
    examples = task.population.read(np.arange(4), 0, 0)
    batch = Batch(task.collate(examples), torch.arange(4), examples.keys)
    outputs = task.encode(batch)
    paid = task.losses(outputs, batch)["paid"]
    weights = WEIGHTINGS[weighting]
    by_hand = [sum(weights[name] * table[name][at] for name in table) for at in (0, 1)]
    assert torch.allclose(paid, torch.tensor([by_hand] * 4))
    assert int(paid[0].argmax()) == better


def test_the_defaults_are_the_authors() -> None:
    wish = {"init": {"reference": "x", "path": "x", "weights": "x"}, "rewards": ["clip_s"]}
    found = SelfCriticalSettings.parse(wish, "test")
    assert (found.lr, found.samples, found.baseline) == (5e-6, 5, "greedy")
    assert ClipSSettings.model_fields["prefix"].default == "A photo depicts"


def repeats(captions: list[str]) -> float:
    """Mean share of a caption's words, one by one and in pairs, that it said before."""
    said = [text.split() for text in captions]
    return float(np.mean([repetition(said, n) for n in (1, 2)]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_without_the_grammar_term_repetition_rises_and_with_it_it_does_not(place: Path, seed: int) -> None:
    first, shown = start(place, seed, STUTTER), world(seed + 500).features
    said = {"start": captions_of(first, shown)}
    paid = {}
    for name, rewards, changes in (
        ("alone", [clip_s(place)], {}),
        ("both", [clip_s(place), grammar(place)], {"weighting": "paper"}),
    ):
        trainer = tuned(first, rewards, seed, **QUICK | changes)
        said[name] = captions_of(trainer.task.captioner, shown)
        paid[name] = clip_s_of(place, said[name], shown)
    found = {name: repeats(texts) for name, texts in said.items()}
    assert found["alone"] > found["start"] + 0.02, found
    assert found["both"] < found["start"] + 0.01, found
    start_paid = clip_s_of(place, said["start"], shown)
    assert paid["alone"] > start_paid, "it was paid for it"
    assert paid["both"] > start_paid, "and there is better to be said that is no repetition"


def clip_s_of(place: Path, captions: list[str], features: np.ndarray) -> float:
    """Mean cosine with the picture, by the retriever."""
    model = load_dual_encoder(resolve_model(str(place / "retriever")))
    return float((model.encode_image_features(features) * model.encode_text(captions)).sum(1).mean())
