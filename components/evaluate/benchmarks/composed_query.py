"""Queries by image and text together: "this, but blue", the sum of both vectors.

    benchmarks:
      recolour: {uses: composed_query, with: {change: colour, same: [category], template: "{} thing"}}

ALIGN (Jia et al., 2021, section 5.3): in a shared space of unit vectors image + text is a query, and finds
what is like the picture but as the text says. Here a picture asks for another value of one label, the
rest as they are; the same is asked by the picture alone and by the text alone. ALIGN shows examples and
gives no figure. Mechanism verified by test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pairwright.components.component import Benchmark, Measured, Metric
from pairwright.components.errors import DatasetError, InvalidRecipe
from pairwright.components.finite import require_finite
from pairwright.components.registry import benchmark
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.dataset.facts import DataFacts
    from pairwright.components.models.protocols import DualEncoder

QUERIES = {"both": "the picture and the text, summed", "image": "the picture alone", "text": "the text alone"}


class ComposedQuerySettings(Settings):
    change: str = Field(description="label that the text changes, e.g. colour")
    same: tuple[str, ...] = Field(min_length=1, description="labels that stay")
    template: str = Field("{}", description="what the text says of the new value, {} where the value goes")
    weight: float = Field(1.0, ge=0, description="of the text vector in the sum; 0 equals the picture alone")
    source: str = Field("alt", description="caption a pair must have to be in the gallery")
    seed: int = Field(0, ge=0, description="of the bootstrap")


@benchmark("composed_query")
class ComposedQuery(Benchmark[ComposedQuerySettings]):
    """R@1 of each way to ask, intervals by group: `both_r1`, `image_r1`, `text_r1`."""

    def check_data(self, facts: DataFacts) -> None:
        for label in (self.settings.change, *self.settings.same):
            if lacks := facts.lacks_label(label):
                raise InvalidRecipe(f"{lacks}; name labels it has in `change` and `same`")

    def measure(self, model: DualEncoder, dataset: Dataset) -> Measured:
        """Items are queries, hits as 0 or 1; their groups are those of the pictures that asked."""
        from pairwright.components.evaluate.statistics.bootstrap import bootstrap_mean

        items = self._hits(model, dataset)
        metrics = []
        for name, way in QUERIES.items():
            hits = items[f"{name}_r1"]
            found = bootstrap_mean(hits, list(items["groups"]), seed=self.settings.seed)
            told = (
                f"Share of queries whose first picture has the {self.settings.change} asked for and the same "
                f"{', '.join(self.settings.same)}. The query is {way}; the gallery every other picture."
            )
            metrics.append(Metric(f"{name}_r1", found.value, len(hits), found.low, found.high, told))
        return Measured(metrics, items)

    def _hits(self, model: DualEncoder, dataset: Dataset) -> dict[str, np.ndarray]:
        """Each query's hit, 0 or 1, by metric name, and the `groups` of the pictures that asked.

        Raises:
            DatasetError: no picture could ask for anything that is there.
        """
        from pairwright.components.evaluate.split import features_of

        split = features_of(model, dataset, self.settings.source)
        vectors = model.encode_image_features(split.image).float().cpu().numpy()
        asked, values = _queries([labels.get(self.settings.change) for labels in split.labels])
        if not len(asked):
            raise DatasetError(f'{dataset.name} has no two values of the label "{self.settings.change}" to ask between')
        texts = model.encode_text([self.settings.template.format(value) for value in values]).float().cpu().numpy()
        right = self._right(split.labels, asked, values)
        possible = right.any(axis=1)  # what is asked for is among the pictures
        if not possible.any():
            raise DatasetError(f"{dataset.name} has no two pictures that differ in {self.settings.change} alone")
        items = {"groups": np.asarray([split.groups[i] for i in asked[possible]])}
        require_finite(vectors, "the vectors of the pictures")
        require_finite(texts, "the vectors of the texts")
        for name, queries in composed(vectors[asked], texts, self.settings.weight).items():
            scores = queries @ vectors.T
            scores[np.arange(len(asked)), asked] = -np.inf  # the picture itself is no answer
            hits = right[np.arange(len(asked)), scores.argmax(axis=1)][possible]
            items[f"{name}_r1"] = hits.astype(np.float32)
        return items

    def _right(self, labels: list[dict[str, str]], asked: np.ndarray, values: list[str]) -> np.ndarray:
        """bool (queries, gallery): has the value asked for, and all else as the query's picture."""
        kept = [tuple(one.get(name) for name in self.settings.same) for one in labels]
        changed = np.array([one.get(self.settings.change) for one in labels], dtype=object)
        alike = np.array([[kept[i] == other for other in kept] for i in asked])
        return np.asarray(alike & (changed[None, :] == np.array(values, dtype=object)[:, None]))


def composed(image: np.ndarray, text: np.ndarray, weight: float = 1.0) -> dict[str, np.ndarray]:
    """(n, d) unit vectors of both -> (n, d) unit queries by both, by the image and by the text."""
    both = image + weight * text
    norm = np.linalg.norm(both, axis=1, keepdims=True)
    return {"both": both / np.maximum(norm, 1e-12), "image": image.copy(), "text": text.copy()}


def _queries(labels: list[str | None]) -> tuple[np.ndarray, list[str]]:
    """Each labelled picture asks for every other value: picture numbers and the values asked for."""
    known = sorted({label for label in labels if label is not None})
    pairs = [(i, value) for i, label in enumerate(labels) if label is not None for value in known if value != label]
    return np.array([i for i, _ in pairs], np.int64), [value for _, value in pairs]
