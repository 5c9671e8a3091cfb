"""Image retrieval: a picture asks for the others of its class, by mean average precision.

    benchmarks: {classes: {uses: image_retrieval, with: {label: subgroup}}}

    AP of a query = 1/R sum over its R right answers of (right answers up to it) / (all answers up to it)

as landmark and product retrieval are reported (Philbin et al., 2007). Every other picture that has the label is in the
gallery; a wrong answer that scores the same as a right one is ahead of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pairwright.components.component import Benchmark, Measured, Metric
from pairwright.components.errors import DatasetError, InvalidRecipe
from pairwright.components.evaluate.statistics.bootstrap import bootstrap_mean
from pairwright.components.registry import benchmark
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.dataset.facts import DataFacts
    from pairwright.components.models.protocols import DualEncoder

AT_ONCE = 512  # queries


class ImageRetrievalSettings(Settings):
    label: str = Field("category", description="the sidecar label whose pictures are right answers of each other")
    seed: int = Field(0, ge=0, description="of the bootstrap")


@benchmark("image_retrieval")
class ImageRetrieval(Benchmark[ImageRetrievalSettings]):
    """`map`, interval by group. Items are the queries: pictures of whose class there is another."""

    def check_data(self, facts: DataFacts) -> None:
        if lacks := facts.lacks_label(self.settings.label):
            raise InvalidRecipe(f"{lacks}; name one in `label`")

    def measure(self, model: DualEncoder, dataset: Dataset) -> Measured:
        from pairwright.components.evaluate.split import pictures_of

        label, split = self.settings.label, pictures_of(model, dataset)
        labelled = [i for i, labels in enumerate(split.labels) if label in labels]
        values = np.unique([split.labels[i][label] for i in labelled], return_inverse=True)[1]
        asks = np.bincount(values, minlength=1)[values] > 1 if len(values) else np.zeros(0, bool)
        if not asks.any():
            raise DatasetError(f'{dataset.name} has no two pictures of one "{label}"; name another label')
        vectors = model.encode_image_features(split.image[labelled]).double().cpu().numpy()
        found = average_precision(vectors, values)[asks]
        groups = [split.groups[i] for i, asked in zip(labelled, asks, strict=True) if asked]
        middle = bootstrap_mean(found, groups, seed=self.settings.seed)
        told = (
            f"Mean average precision over pictures as queries; right answers are the others of the same {label}, the "
            "gallery every other picture that has one; ties count against."
        )
        metric = Metric("map", middle.value, len(found), middle.low, middle.high, told)
        return Measured([metric], {"map": found.astype(np.float32), "groups": np.asarray(groups)})


def average_precision(vectors: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(n, d), classes (n,) -> AP of each as a query among all others (n,); 0 where no other is of its class."""
    found = np.zeros(len(vectors))
    for start in range(0, len(vectors), AT_ONCE):
        for query, scores in enumerate(vectors[start : start + AT_ONCE] @ vectors.T, start):
            others = np.arange(len(vectors)) != query
            same = (values == values[query]) & others
            right, wrong = np.sort(scores[same])[::-1], np.sort(scores[others & ~same])
            if len(right):
                among = np.arange(1, len(right) + 1)
                ahead = len(wrong) - np.searchsorted(wrong, right, side="left")
                found[query] = (among / (among + ahead)).mean()
    return found
