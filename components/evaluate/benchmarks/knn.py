"""Nearest neighbours: a picture takes the class that those nearest to it in another dataset vote for.

    benchmarks:
      neighbours: {uses: knn, with: {train: data/raw, label: category, k: 20}}

The weighted vote of Wu et al. (2018), as DINO reports it (Caron et al., 2021): of the k training pictures of the
highest cosine each votes for its class with exp(cosine / T), T = 0.07. Nothing is fitted. Pictures of a group that is
judged do not vote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pairwright.components.component import Measured
from pairwright.components.evaluate.labelled import Labelled, hits_of
from pairwright.components.evaluate.taught_by_labels import LabelSettings, TaughtByLabels
from pairwright.components.registry import benchmark

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.models.protocols import DualEncoder

QUERIES_AT_ONCE = 1024


class KnnSettings(LabelSettings):
    k: int = Field(20, ge=1, description="neighbours that vote")
    temperature: float = Field(0.07, gt=0, description="T; the smaller, the more the nearest decide")


@benchmark("knn")
class Knn(TaughtByLabels[KnnSettings]):
    """Metrics: `accuracy` (over pictures), `balanced_accuracy` (mean over classes)."""

    def measure(self, model: DualEncoder, dataset: Dataset) -> Measured:
        wish = self.settings
        taught, judged = self.both(model, dataset)
        about = (
            f"the {wish.k} nearest of {len(taught.classes):,} pictures of {wish.train} ({wish.of}, cosine, weights "
            f"exp(cosine / {wish.temperature:g})) vote for their {wish.label}, of {len(set(judged.classes))} classes"
        )
        texts = {
            "accuracy": f"Share of pictures for which {about}; classes that tie share a hit.",
            "balanced_accuracy": f"Mean over classes of the share of their pictures for which {about}.",
        }
        return self.told(voted(taught, judged, wish.k, wish.temperature), judged, texts)


def voted(taught: Labelled, judged: Labelled, k: int, temperature: float) -> np.ndarray:
    """Each judged picture's hit (n,). All that tie with the k-th neighbour share its vote: order decides nothing."""
    classes, y = np.unique(taught.classes, return_inverse=True)
    told = np.zeros((len(y), len(classes)))
    told[np.arange(len(y)), y.reshape(-1)] = 1
    near, ask = _unit(taught.vectors), _unit(judged.vectors)
    k = min(k, len(y))
    hits = []
    for at in range(0, len(ask), QUERIES_AT_ONCE):
        cosine = np.round(ask[at : at + QUERIES_AT_ONCE] @ near.T, 12)  # equal vectors tie, however they are summed
        last = np.partition(cosine, -k, axis=1)[:, -k, None]
        sure, tied = cosine > last, cosine == last
        share = sure + tied * (k - sure.sum(axis=1, keepdims=True)) / tied.sum(axis=1, keepdims=True)
        votes = np.round((share * np.exp((cosine - 1) / temperature)) @ told, 12)
        hits.append(hits_of(votes, np.searchsorted(classes, judged.classes[at : at + QUERIES_AT_ONCE])))
    return np.concatenate(hits)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
