"""GeneCIS: conditional similarity, by ranking small galleries (Vaze et al., 2023).

    benchmarks: {conditional: {uses: genecis}}

Given a reference and a condition, the right one of some ten pictures has to come first (R@1, R@2, R@3) in four tasks,
{focus on, change} an {attribute, object}. Galleries are those that `ingest genecis` read, or are made from composed
scenes (genecis_galleries.py); each has one right picture, some that match only the reference and some only the
condition. Pictures of equal score share their places: a model that says the same of all is at chance, 1 / gallery,
wherever the right picture stands in it (in the authors' data it is always first). The same is asked by either side
alone. Mechanism verified by test, the paper's figures not reproduced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from pairwright.components.component import Benchmark, Measured, Metric
from pairwright.components.errors import DatasetError
from pairwright.components.registry import benchmark
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.models.protocols import Retriever

KS = (1, 2, 3)
WAYS = {"both": "reference and condition", "image": "the reference alone", "text": "the condition alone"}


class GenecisSettings(Settings):
    size: int = Field(10, ge=3, le=100, description="pictures of a gallery that is made from scenes")
    seed: int = Field(0, ge=0, description="of such galleries and of the bootstrap")


@benchmark("genecis")
class Genecis(Benchmark[GenecisSettings]):
    """Metrics `TASK_r1`, `_r2`, `_r3` by both, `TASK_image_r1`, `TASK_text_r1`; items are galleries, chances 0 to 1."""

    protocol = "retriever"

    def measure(self, model: Retriever, dataset: Dataset) -> Measured:
        from pairwright.components.evaluate.benchmarks.genecis_galleries import TASKS, galleries_of, scene_galleries
        from pairwright.components.evaluate.metrics.searched import scores_of, split_pictures

        split = split_pictures(dataset, getattr(model, "image_size", 224))
        asked = galleries_of(split.rows) or list(scene_galleries(split.labels, self.settings.size, self.settings.seed))
        if not asked:
            raise DatasetError(f"{dataset.name} has no galleries; ingest GeneCIS's, or scenes (`ingest --help`)")
        index = model.index(split.images)
        texts = [one.condition for one in asked]
        images = [split.images[one.reference] for one in asked]
        sides: dict[str, dict[str, Any]] = {
            "both": {"texts": texts, "images": images},
            "image": {"images": images},
            "text": {"texts": texts},
        }
        groups = np.asarray(split.groups)[[one.reference for one in asked]]
        task = np.array([one.task for one in asked])
        sizes = np.array([len(one.pictures) for one in asked])
        metrics: list[Metric] = []
        items: dict[str, np.ndarray] = {"groups": groups}
        for way, queries in sides.items():
            found = scores_of(model, index, len(split.images), **queries)
            hits = recalls([found[i, one.pictures] for i, one in enumerate(asked)])
            for name in TASKS:
                of = task == name
                if of.any():
                    self._add(metrics, items, name, way, hits[of], groups[of], sizes[of])
        return Measured(metrics, items)

    def _add(
        self,
        metrics: list[Metric],
        items: dict[str, np.ndarray],
        task: str,
        way: str,
        hits: np.ndarray,
        groups: np.ndarray,
        sizes: np.ndarray,
    ) -> None:
        from pairwright.components.evaluate.statistics.bootstrap import bootstrap_mean

        for column, k in enumerate(KS if way == "both" else KS[:1]):
            name = f"{task}_r{k}" if way == "both" else f"{task}_{way}_r{k}"
            mean = bootstrap_mean(hits[:, column], list(groups), seed=self.settings.seed)
            told = (
                f"Chance that the right picture of a gallery is among the first {k} by {WAYS[way]}; pictures of one "
                f"score share their places. At random: {float(np.minimum(k / sizes, 1).mean()):.3f}."
            )
            metrics.append(Metric(name, mean.value, len(hits), mean.low, mean.high, told))
            items |= {name: hits[:, column], f"{name}.groups": groups}


def recalls(galleries: list[np.ndarray]) -> np.ndarray:
    """Scores of each gallery, the right picture's first -> (n, 3): the chance that it is among the first 1, 2, 3.

    Equal scores stand in an order drawn at random: of t that tie with the right one, itself among them, behind `ahead`,
    it is among the first k with chance (k - ahead) / t.
    """
    from pairwright.components.evaluate.metrics.searched import TIE

    found = np.zeros((len(galleries), len(KS)), np.float32)
    for row, scores in enumerate(galleries):
        ahead = int((scores > scores[0] + TIE).sum())
        ties = int((np.abs(scores - scores[0]) <= TIE).sum())
        found[row] = [min(max((k - ahead) / ties, 0.0), 1.0) for k in KS]
    return found
