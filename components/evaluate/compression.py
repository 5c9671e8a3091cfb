"""Compression: how small a kept share still trains a model that is not worse than the whole.

    evaluate:
      compression: {order: best.rank, best: low, shares: [0.5, 0.25, 0.1, 0.05], seeds: [0, 1, 2], margin: 0.03}

Compress & Align's claim (130M pairs to 15.5M at no loss) as a curve anybody can draw: projection
heads on locked towers are trained on the best share of the pairs, on a random subset of the same size
and on all of them, at equal optimizer steps and equal seeds. Here is what is trained and measured;
what the points show is said by components/evaluate/compression_curve.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pairwright.components.evaluate.benchmarks.retrieval import KS
from pairwright.components.evaluate.metrics.positives import Positives
from pairwright.components.evaluate.metrics.ranks import retrieval_ranks

DEFINITION = (
    f"Mean over queries of the six hits R@{', R@'.join(map(str, KS))}, picture to caption and caption to picture, "
    "the dev split being the gallery."
)


@dataclass(frozen=True)
class TrainingPairs:
    """What heads are fitted on.

    Attributes:
        image, text: (n, width) features of the locked towers, row for row.
        captions: (n,) integer ids; pairs with the same caption are positives of each other.
    """

    image: Tensor
    text: Tensor
    captions: np.ndarray

    def __len__(self) -> int:
        return len(self.captions)


@dataclass(frozen=True)
class Queries:
    """An evaluation split: features (n, width) and (m, width), which captions are right answers, groups (n,)."""

    image: Tensor
    text: Tensor
    positives: Positives
    groups: np.ndarray


@dataclass(frozen=True)
class HeadSettings:
    """How every point is trained; the same for all."""

    steps: int = 300
    batch_size: int = 256
    lr: float = 1e-3
    dim: int = 256


def best_rows(order: np.ndarray, count: int) -> np.ndarray:
    """Row numbers, ascending, of the `count` highest values; NaN never counts, equal values by row number.

    Nested: the rows of a smaller count are among those of a larger.
    """
    ranked = np.argsort(-order, kind="stable")[: int(np.isfinite(order).sum())]
    return np.sort(ranked[:count])


def random_rows(rows: int, count: int, seed: int) -> np.ndarray:
    """`count` of `rows` row numbers, ascending, drawn without replacement; nested for one seed."""
    return np.sort(np.random.default_rng(seed).permutation(rows)[:count])


def train_and_query(
    pairs: TrainingPairs, rows: np.ndarray, splits: Sequence[Queries], settings: HeadSettings, seed: int
) -> np.ndarray:
    """Heads fitted on `rows`; each query's mean over the six hits: (queries of all splits,) in [0, 1]."""
    from pairwright.components.training.heads import fit_heads

    index = torch.as_tensor(rows)
    heads = fit_heads(
        pairs.image[index],
        pairs.text[index],
        dim=settings.dim,
        steps=settings.steps,
        batch_size=settings.batch_size,
        lr=settings.lr,
        seed=seed,
        groups=pairs.captions[rows],
    )
    return np.concatenate(
        [_hits(heads.image(s.image).numpy(), heads.text(s.text).numpy(), s.positives) for s in splits]
    )


def _hits(image: np.ndarray, text: np.ndarray, positives: Positives) -> np.ndarray:
    """(n,) of each picture: the mean of its three hits and of its captions' three."""
    i2t, t2i = (np.mean([ranks <= k for k in KS], axis=0) for ranks in retrieval_ranks(image, text, positives))
    of_captions = np.bincount(positives.picture, t2i) / np.bincount(positives.picture)
    hits: np.ndarray = (i2t + of_captions) / 2
    return hits.astype(np.float32)
