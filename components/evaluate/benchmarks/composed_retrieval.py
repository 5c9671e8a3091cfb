"""Composed retrieval: a reference picture and what is to be changed in it, and the picture that shows the result.

    benchmarks: {composed: {uses: composed_retrieval}}

As CIRR asks it (Liu et al., 2021): the gallery is every picture of the split but the reference, `subset` the pictures
of its own group. The same is asked by the text alone and by the picture alone, for a composed figure says little
without them (a tuned text-only query is near the best composed ones on CIRR's subset; Huynh et al., 2025). Pictures
with the target's caption are right answers, too. Ties count against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from pairwright.components.component import Benchmark, Measured, Metric
from pairwright.components.errors import DatasetError, InvalidRecipe
from pairwright.components.registry import benchmark
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.dataset.facts import DataFacts
    from pairwright.components.models.protocols import Retriever

KS = (1, 5, 10)
WAYS = {"both": "the reference and the text", "text": "the text alone", "image": "the reference alone"}


class ComposedRetrievalSettings(Settings):
    reference: str = Field("reference", description="label that names the key of the picture asked from")
    modification: str = Field("modification", description="captions that say what was changed to get this picture")
    source: str = Field("alt", description="captions; pictures of the target's are right, too")
    seed: int = Field(0, ge=0, description="of the bootstrap")


@benchmark("composed_retrieval")
class ComposedRetrieval(Benchmark[ComposedRetrievalSettings]):
    """Metrics `WAY_r1`, `_r5`, `_r10`, `WAY_subset_r1` of WAY both, text, image; items are queries, hits as 0 or 1."""

    protocol = "retriever"

    def check_data(self, facts: DataFacts) -> None:
        lacks = facts.lacks_label(self.settings.reference) or facts.lacks_source(self.settings.modification)
        if lacks:
            raise InvalidRecipe(f"{lacks}; composed scenes have both (`pairwright ingest scenes`)")

    def measure(self, model: Retriever, dataset: Dataset) -> Measured:
        from pairwright.components.evaluate.metrics.searched import scores_of, split_pictures
        from pairwright.components.evaluate.statistics.bootstrap import bootstrap_mean

        split = split_pictures(dataset, getattr(model, "image_size", 224))
        texts, captions = split.texts(self.settings.modification), split.texts(self.settings.source)
        place = {row["key"]: number for number, row in enumerate(split.rows)}
        named = [place.get(labels.get(self.settings.reference, "")) for labels in split.labels]
        asked = [i for i, at in enumerate(named) if at is not None and at != i and texts[i]]
        if not asked:
            raise DatasetError(f"{dataset.name} has no picture with a reference and a modification that can be read")
        references = np.array([named[i] for i in asked], np.int64)
        groups = np.asarray(split.groups)
        right = np.array([[captions[i] == one if one else i == at for at, one in enumerate(captions)] for i in asked])
        gallery = model.index(split.images)
        images = [split.images[i] for i in references]
        said = [texts[i] for i in asked]
        sides: dict[str, dict[str, Any]] = {
            "both": {"texts": said, "images": images},
            "text": {"texts": said},
            "image": {"images": images},
        }
        items: dict[str, np.ndarray] = {"groups": groups[asked]}
        metrics = []
        for way, queries in sides.items():
            found = scores_of(model, gallery, len(split.images), **queries)
            found[np.arange(len(asked)), references] = -np.inf  # the reference is no answer
            ranks = first_ranks(found, right)
            items |= {f"{way}_r{k}": (ranks <= k).astype(np.float32) for k in KS}
            own = np.where(groups[asked][:, None] == groups[None], found, -np.inf)
            items[f"{way}_subset_r1"] = (first_ranks(own, right) <= 1).astype(np.float32)
        for name, hits in items.items():
            if name != "groups":
                mean = bootstrap_mean(hits, list(items["groups"]), seed=self.settings.seed)
                metrics.append(Metric(name, mean.value, len(hits), mean.low, mean.high, _told(name)))
        return Measured(metrics, items)


def first_ranks(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Rank, from 1, of each query's best right answer, int64 (q,), by scores and bool (q, n); ties count against."""
    from pairwright.components.evaluate.metrics.searched import TIE

    best = np.where(right, scores, -np.inf).max(1, keepdims=True)
    ahead = (scores >= best - TIE) & ~right & np.isfinite(scores)
    ranks: np.ndarray = np.where(np.isfinite(best[:, 0]), 1 + ahead.sum(1), scores.shape[1] + 1)
    return ranks


def _told(name: str) -> str:
    way, _, what = name.partition("_")
    among = "pictures of the reference's group" if what.startswith("subset") else "all other pictures"
    k = what.rpartition("r")[2]
    return f"Share of queries by {WAYS[way]} with a right picture among the first {k} of {among}; ties count against."
