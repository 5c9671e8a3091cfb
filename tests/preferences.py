"""Worlds with a planted taste: pictures, captions and judgements as arrays, for tests of rewards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pairwright.components.models.reward import RewardModel
from pairwright.components.models.towers.towers import load_text_tower
from pairwright.components.pretrain.reward.judged import Judged
from pairwright.components.pretrain.reward.training import Evidence, Options

MEANING, IMAGE_WIDTH, TEXT_WIDTH, FOLDS = 6, 24, 64, 4
QUICK = Options(alignment_steps=60, steps=150, batch_size=128, lr=5e-3)


@dataclass(frozen=True)
class World:
    """Pictures have a meaning; a caption says a meaning and has a quality, in [0, 1], seen through fixed maps."""

    seed: int = 0

    def maps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        random = np.random.default_rng(99)
        image = random.normal(size=(MEANING, IMAGE_WIDTH))
        text = random.normal(size=(MEANING, TEXT_WIDTH))
        return image, text, random.normal(size=TEXT_WIDTH)

    def image(self, meaning: np.ndarray) -> torch.Tensor:
        return torch.tensor(meaning @ self.maps()[0], dtype=torch.float32)

    def text(self, meaning: np.ndarray, quality: np.ndarray) -> torch.Tensor:
        _, text, good = self.maps()
        return torch.tensor(meaning @ text + 3 * (quality[:, None] - 0.5) * good, dtype=torch.float32)


def judged_of(better: np.ndarray, worse: np.ndarray, pictures: int, **changes: Any) -> Judged:
    """Judgements i: of picture i % pictures; group = picture; folds in turn."""
    n = len(better)
    values: dict[str, Any] = {
        "texts": [str(i) for i in range(int(max(better.max(), worse.max())) + 1)],
        "rows": np.arange(pictures),
        "picture": np.arange(n) % pictures,
        "better": better,
        "worse": worse,
        "tie": np.zeros(n, bool),
        "kind": np.array(["taste"] * n, object),
        "origin": np.array(["human"] * n, object),
        "evaluation": np.zeros(n, bool),
        "group": np.arange(pictures),
        "fold": np.arange(pictures) % FOLDS,
    }
    return Judged(**(values | changes))


def planted(pictures: int = 200, seed: int = 0) -> tuple[Judged, Evidence]:
    """One preference a picture: half are for the true of two good captions, half for the better of two true ones."""
    random, world = np.random.default_rng(seed), World()
    meaning = random.normal(size=(pictures, MEANING))
    swapped = np.arange(pictures) % 2 == 0
    false = np.where(swapped[:, None], meaning[(np.arange(pictures) + 2) % pictures], meaning)
    high = random.uniform(0.7, 1.0, pictures)
    low = np.where(swapped, high, random.uniform(0.0, 0.3, pictures))
    text = torch.cat([world.text(meaning, high), world.text(false, low)])
    evidence = Evidence(world.image(meaning), text, torch.zeros((2 * pictures, 4)))
    return judged_of(np.arange(pictures), pictures + np.arange(pictures), pictures), evidence


def fresh_model(seed: int = 0, **changes: Any) -> RewardModel:
    options: dict[str, Any] = {"folds": FOLDS, "dim": 8, "dropout": 0.1, "seed": seed}
    return RewardModel(load_text_tower("builtin:tiny-text"), IMAGE_WIDTH, TEXT_WIDTH, **(options | changes))
