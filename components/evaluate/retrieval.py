"""Image-text retrieval: who finds whom among all of a split.

    metrics = Retrieval(RetrievalSettings()).evaluate(load_dual_encoder(folder), open_dataset("data/dev"))

Identical captions, and pairs of one group, count as several positives: the question is whether a
right answer stands among the first K, so a model is not punished for the other picture of a dog.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pairwright.components.component import Benchmark, Metric
from pairwright.components.evaluate.bootstrap import bootstrap_mean, bootstrap_median
from pairwright.components.finite import require_finite
from pairwright.components.registry import benchmark
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.evaluate.split import SplitFeatures
    from pairwright.components.models.encoder import DualEncoder

KS = (1, 5, 10)
DIRECTIONS = {
    "i2t": "picture -> caption: the query is a picture, the gallery every caption of the split",
    "t2i": "caption -> picture: the query is a caption, the gallery every picture of the split",
}
POSITIVES = "right answers: the pair's own, those of its group and those with the same caption; ties count against"


class RetrievalSettings(Settings):
    source: str = Field("alt", description="which caption is the text")
    seed: int = Field(0, ge=0, description="of the bootstrap")


@benchmark("retrieval")
class Retrieval(Benchmark[RetrievalSettings]):
    """R@1, R@5, R@10 and the median rank, both ways, intervals by group.

    Metrics: `i2t_r1`, `i2t_r5`, `i2t_r10`, `i2t_median_rank`, and the same with `t2i`.
    """

    def evaluate(self, model: DualEncoder, dataset: Dataset) -> list[Metric]:
        split, ranks = self._ranks(model, dataset)
        metrics: list[Metric] = []
        for direction, found in ranks.items():
            for k in KS:
                interval = bootstrap_mean(found <= k, split.groups, seed=self.settings.seed)
                text = (
                    f"Share of queries with a right answer among the first {k}. {DIRECTIONS[direction]}; {POSITIVES}."
                )
                metrics.append(
                    Metric(f"{direction}_r{k}", interval.value, len(found), interval.low, interval.high, text)
                )
            middle = bootstrap_median(found, split.groups, seed=self.settings.seed)
            text = (
                f"Median over queries of the first right answer's rank, from 1. {DIRECTIONS[direction]}; {POSITIVES}."
            )
            name = f"{direction}_median_rank"
            metrics.append(Metric(name, middle.value, len(found), middle.low, middle.high, text, False))
        return metrics

    def evaluate_items(self, model: DualEncoder, dataset: Dataset) -> dict[str, np.ndarray]:
        """Each query's value by metric name, in the split's order: hits as 0 or 1, ranks as themselves.

        `groups` names each item's group, for a paired bootstrap.
        """
        split, ranks = self._ranks(model, dataset)
        items: dict[str, np.ndarray] = {"groups": np.asarray(split.groups)}
        for direction, found in ranks.items():
            items |= {f"{direction}_r{k}": (found <= k).astype(np.float32) for k in KS}
            items[f"{direction}_median_rank"] = found.astype(np.float32)
        return items

    def _ranks(self, model: DualEncoder, dataset: Dataset) -> tuple[SplitFeatures, dict[str, np.ndarray]]:
        from pairwright.components.evaluate.split import features_of, positives_of

        split = features_of(model, dataset, self.settings.source)
        image = model.encode_image_features(split.image).float().cpu().numpy()
        text = model.encode_text_features(split.text).float().cpu().numpy()
        positive = positives_of(split)
        scores = image @ text.T
        return split, {"i2t": first_ranks(scores, positive), "t2i": first_ranks(scores.T, positive.T)}


def first_ranks(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Rank, from 1, of each row's best positive: (n, m), bool (n, m) -> int64 (n,).

    Everything ahead of the first positive is a negative, so it is 1 + the negatives that score at
    least as high: a tie counts against, and a model that says the same of all earns nothing.

    Raises:
        NotFinite: a score is not: NaN is beaten by nothing, and would be first.
    """
    require_finite(scores, "the similarities to be ranked")
    best = np.where(positive, scores, -np.inf).max(axis=1, keepdims=True)
    ahead: np.ndarray = ((scores >= best) & ~positive).sum(axis=1)
    return ahead + 1


def chance_recall(positive: np.ndarray, k: int) -> float:
    """R@k expected of random scores: 1 - C(m - p, k) / C(m, k), averaged over queries of p positives."""
    gallery = positive.shape[1]
    each = []
    for p in positive.sum(axis=1):
        miss = 1.0
        for i in range(min(k, gallery)):
            miss *= max(gallery - p - i, 0) / (gallery - i)
        each.append(1 - miss)
    return float(np.mean(each))
