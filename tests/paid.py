"""A small world for reward-tuned captioners: pictures of an adjective and a noun, mostly captioned by the noun alone.

Its retriever is a dual encoder of ours that knows every full caption, so that a caption with both words finds its
picture and one with the noun alone does not.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.models.captioner.folder import TaughtOn, load_captioner, save_captioner
from pairwright.components.models.dual_encoders.dual_encoder import TwoTower
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.towers.tiny import WIDTH
from pairwright.components.models.towers.towers import load_image_tower, load_text_tower
from pairwright.components.pretrain.captioners.captioner import CaptionerSettings, CaptionerTask
from pairwright.components.pretrain.self_critical.settings import SelfCriticalSettings
from pairwright.components.pretrain.self_critical.task import SelfCritical
from pairwright.components.training.heads import fit_heads
from pairwright.components.training.here import fit_here
from pairwright.components.training.trainer import Trainer

ADJECTIVES = ("red", "blue", "tall", "tiny", "old", "new")
NOUNS = ("dog", "cat", "bus", "tree", "cup", "key")
NAMES = [f"{adjective} {noun}" for adjective, noun in itertools.product(ADJECTIVES, NOUNS)]
PAIRS = 360
MLE: dict[str, Any] = {
    "features": "x.vector",
    "width": 32,
    "heads": 2,
    "layers": 1,
    "prefix": 2,
    "max_words": 5,
    "least": 1,
    "steps": 150,
    "batch_size": 64,
    "warmup_steps": 10,
    "lr": 5e-3,
}
TUNED: dict[str, Any] = {
    "features": "x.vector",
    "lr": 2e-3,
    "batch_size": 48,
    "steps": 40,
    "warmup_steps": 4,
    "stop": {},
    "samples": 5,
    "looks": 2,
    "shown": 3,
}


@dataclass(frozen=True)
class World:
    """Pictures (n, 64), what each shows, and the captions that people gave them."""

    features: np.ndarray
    what: np.ndarray
    captions: list[str]

    def population(self) -> ArrayPopulation:
        names = [NAMES[one] for one in self.what]
        texts = {"alt": self.captions, "question": [f"what kind of {name.split()[1]}" for name in names]}
        return ArrayPopulation({"x.vector": self.features}, texts | {"answer": [name.split()[0] for name in names]})


@cache
def world(seed: int, stutter: float = 0.0) -> World:
    """`stutter` is the share of captions that are said twice over, as some on the web are."""
    random = np.random.default_rng(seed)
    what = np.tile(np.arange(len(NAMES)), PAIRS // len(NAMES))
    axes = np.random.default_rng(99).normal(size=(len(ADJECTIVES) + len(NOUNS), WIDTH))  # the same in every world
    shown = axes[what // len(NOUNS)] + axes[len(ADJECTIVES) + what % len(NOUNS)]
    features = (shown + 0.3 * random.normal(size=shown.shape)).astype(np.float32)
    captions = [NAMES[one] if random.random() < 0.3 else NAMES[one].split()[1] for one in what]
    twice = np.random.default_rng(seed + 7).random(PAIRS) < stutter
    return World(
        features, what, [f"{text} {text}" if again else text for text, again in zip(captions, twice, strict=True)]
    )


def retriever(folder: Path, times: int = 1) -> Path:
    """A dual encoder's folder: heads on tiny towers, which know what a full caption says of a picture.

    Args:
        times: captions it is taught are said so often in a row; of 2, it likes best what repeats itself.
    """
    if not (folder / "config.json").exists():
        image, text = (load_image_tower(resolve_model("builtin:tiny-image")), load_text_tower("builtin:tiny-text"))
        model, taught = TwoTower(image, text, 32), world(1000)
        said = text.features([" ".join([name] * times) for name in NAMES])[torch.from_numpy(taught.what)]
        heads = fit_heads(taught.features, said, dim=32, steps=120, batch_size=PAIRS, lr=1e-2, groups=taught.what)
        model.image_projection.load_state_dict(heads.image_projection.state_dict())
        model.text_projection.load_state_dict(heads.text_projection.state_dict())
        with torch.no_grad():
            model.log_scale.copy_(heads.log_scale)
        model.save(folder)
    return folder


def start(folder: Path, seed: int, stutter: float = 0.0) -> Path:
    """A captioner's folder, learnt by maximum likelihood."""
    at = folder / (f"start-{seed}" + "-stutter" * bool(stutter))
    if not (at / "config.json").exists():
        task = CaptionerTask(CaptionerSettings.parse(MLE | {"seed": seed}, "test"))
        fit_here(task, world(seed, stutter).population())
        save_captioner(task.model, at, "# card", TaughtOn("builtin:none-of-these", "0" * 64))
    return at


def settings(captioner: Path, rewards: Any, **changes: Any) -> SelfCriticalSettings:
    """Rewards whose `model` is a folder's path are given it resolved."""
    said = [
        one | {"with": {k: resolve_model(str(v)) if k == "model" else v for k, v in one.get("with", {}).items()}}
        for one in rewards
    ]
    wish = TUNED | {"init": resolve_model(str(captioner)), "rewards": said} | changes
    return SelfCriticalSettings.parse(wish, "test")


def tuned(captioner: Path, rewards: Any, seed: int = 0, **changes: Any) -> Trainer:
    """A captioner tuned in this process, on the world of this seed; its task is the trainer's."""
    task = SelfCritical(settings(captioner, rewards, seed=seed, **changes))
    return fit_here(task, world(seed).population())


def captions_of(model: Any, features: np.ndarray) -> list[str]:
    """Greedy ones, nothing barred but what is never said."""
    from pairwright.components.models.decoding.settings import Decoding

    if isinstance(model, Path):
        model = load_captioner(model)
    return [texts[0] for texts in model.generate({"image": torch.from_numpy(features)}, Decoding(twice_running=True))]
