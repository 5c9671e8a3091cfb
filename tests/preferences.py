"""Worlds with a planted taste: pictures, captions and judgements as arrays, for tests of rewards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from pairwright.components.models.reward import Judge, RewardModel
from pairwright.components.models.towers.towers import load_text_tower
from pairwright.components.pretrain.reward.evidence import Crawl, Evidence, HeadsOptions
from pairwright.components.pretrain.reward.judged import Judged
from pairwright.components.pretrain.reward.training import Options

MEANING, IMAGE_WIDTH, TEXT_WIDTH, FOLDS = 6, 24, 64, 4
QUICK = Options(heads=HeadsOptions(steps=60))
HASTY = Options(heads=HeadsOptions(steps=10))  # for tests of what is fitted on, not of how well


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
    options: dict[str, Any] = {"folds": FOLDS, "dim": 8, "seed": seed}
    return RewardModel(load_text_tower("builtin:tiny-text"), IMAGE_WIDTH, TEXT_WIDTH, **(options | changes))


def judges_of(model: RewardModel) -> list[Judge]:
    return [cast(Judge, judge) for judge in model.judges]


CRAWL_PAIRS = 400


def planted_crawl(
    exchanged: float = 0.4, seed: int = 0, judged: int = 100, noise: float = 0.0, taste: bool = True
) -> tuple[Crawl, np.ndarray, Judged, Evidence]:
    """A crawl some of whose captions are exchanged, which of them (n,), and judgements of its first pictures.

    Judged are two true captions of a picture, of which the one of more quality is preferred (or, with `taste`
    false, either); a share `noise` of judgements is a coin's.
    """
    random, world = np.random.default_rng(seed), World()
    meaning, quality = random.normal(size=(CRAWL_PAIRS, MEANING)), random.uniform(0, 1, CRAWL_PAIRS)
    rows = np.arange(CRAWL_PAIRS)
    bad = random.permutation(CRAWL_PAIRS)[: round(exchanged * CRAWL_PAIRS)]
    donor = rows.copy()
    donor[bad] = np.roll(bad, 1)
    fold = rows % FOLDS
    crawl = Crawl(world.image(meaning), world.text(meaning[donor], quality), torch.zeros((CRAWL_PAIRS, 4)), rows, fold)
    mine = meaning[:judged]
    high, low = random.uniform(0.6, 1, judged), random.uniform(0, 0.4, judged)
    text = torch.cat([world.text(mine, high), world.text(mine, low)])
    flipped = random.random(judged) < (noise / 2 if taste else 0.5)
    first, second = np.arange(judged), judged + np.arange(judged)
    said = judged_of(np.where(flipped, second, first), np.where(flipped, first, second), judged)
    return crawl, np.isin(rows, bad), said, Evidence(crawl.image[:judged], text, torch.zeros((2 * judged, 4)))


def crawl_scores(model: RewardModel, crawl: Crawl) -> tuple[np.ndarray, np.ndarray]:
    """(n,) reward and evidence of the crawl's own pairs, by what did not see them."""
    by, nowhere = model.evidence_by(crawl.image, crawl.text), torch.zeros(len(crawl), dtype=torch.int64)
    fold = torch.from_numpy(crawl.fold)
    each = model.rewards(crawl.image, crawl.text, crawl.statistics)
    seen = torch.stack([model.evidence(by, k, nowhere) for k in range(model.folds)], dim=1)
    return tuple(one.gather(1, fold[:, None]).squeeze(1).detach().numpy() for one in (each, seen))  # type: ignore[return-value]
