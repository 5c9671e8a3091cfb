"""Nearest neighbours: a picture takes the class that those nearest to it in another dataset vote for.

    benchmarks:
      neighbours: {uses: knn, with: {train: data/raw, label: category, k: 20}}

The weighted vote of Wu et al. (2018), as DINO reports it (Caron et al., 2021): of the k training pictures of the
highest cosine each votes for its class with exp(cosine / T), T = 0.07. Nothing is fitted. Pictures of a group that is
judged do not vote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from pairwright.components.component import Benchmark, Measured, Metric
from pairwright.components.errors import InvalidRecipe
from pairwright.components.evaluate.labelled import Labelled, apart, balanced, hits_of, labelled
from pairwright.components.evaluate.statistics.bootstrap import bootstrap_mean
from pairwright.components.registry import benchmark
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.dataset.facts import DataFacts
    from pairwright.components.models.protocols import DualEncoder

QUERIES_AT_ONCE = 1024


class KnnSettings(Settings):
    undigested = frozenset(("train",))  # its bytes are digested, by `datasets`

    train: str = Field(description="the dataset of the neighbours, e.g. data/raw")
    label: str = Field("category", description="the sidecar label that is predicted, of both datasets")
    of: Literal["embedding", "tower"] = Field(
        "embedding",
        description="where they are near: in the shared space, or in the image tower's before its projection",
    )
    k: int = Field(20, ge=1, description="neighbours that vote")
    temperature: float = Field(0.07, gt=0, description="T; the smaller, the more the nearest decide")
    seed: int = Field(0, ge=0, description="of the bootstrap")


@benchmark("knn")
class Knn(Benchmark[KnnSettings]):
    """Metrics: `accuracy` (over pictures), `balanced_accuracy` (mean over classes)."""

    def datasets(self) -> tuple[str, ...]:
        return (self.settings.train,)

    def check_data(self, facts: DataFacts) -> None:
        if lacks := facts.lacks_label(self.settings.label):
            raise InvalidRecipe(f"{lacks}; name one in `label`")

    def measure(self, model: DualEncoder, dataset: Dataset) -> Measured:
        """Items are the split's pictures that have the label, hits as 0 or 1, shared out where classes tie."""
        from pairwright.components.dataset.dataset import open_dataset

        wish = self.settings
        judged = labelled(model, dataset, wish.label, wish.of)
        taught = apart(labelled(model, open_dataset(wish.train), wish.label, wish.of), judged)
        hits = voted(taught, judged, wish.k, wish.temperature)
        items = {"accuracy": hits, "balanced_accuracy": balanced(hits, judged.classes)}
        about = (
            f"the {wish.k} nearest of {len(taught.classes):,} pictures of {wish.train} ({wish.of}, cosine, weights "
            f"exp(cosine / {wish.temperature:g})) vote for their {wish.label}, of {len(set(judged.classes))} classes"
        )
        texts = {
            "accuracy": f"Share of pictures for which {about}; classes that tie share a hit.",
            "balanced_accuracy": f"Mean over classes of the share of their pictures for which {about}.",
        }
        metrics = []
        for name, text in texts.items():
            found = bootstrap_mean(items[name], list(judged.groups), seed=wish.seed)
            metrics.append(Metric(name, found.value, len(hits), found.low, found.high, text))
        return Measured(metrics, items | {"groups": judged.groups})


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
