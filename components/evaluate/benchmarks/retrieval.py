"""Image-text retrieval: who finds whom among all of a split.

    metrics = Retrieval(RetrievalSettings()).evaluate(load_dual_encoder(folder), open_dataset("data/dev"))

Several captions of a picture, identical captions and pairs of one group count as several positives: the
question is whether a right answer stands among the first K, so a model is not punished for the other picture of
a dog. That is recall per query, as COCO and Flickr30K are reported (Karpathy & Fei-Fei, 2015); the share of all
right answers that stand among the first K is another figure of the same name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pairwright.components.component import Benchmark, Measured, Metric
from pairwright.components.evaluate.statistics.bootstrap import bootstrap_mean, bootstrap_median
from pairwright.components.registry import benchmark
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.models.protocols import DualEncoder

KS = (1, 5, 10)
DIRECTIONS = {
    "i2t": "picture -> caption: the query is a picture, the gallery every caption of the split",
    "t2i": "caption -> picture: the query is a caption, the gallery every picture of the split",
}
POSITIVES = "right answers: the pair's own, those of its group and those with the same caption; ties count against"


class RetrievalSettings(Settings):
    source: str = Field("alt", description="which captions are the text; a picture may have several")
    seed: int = Field(0, ge=0, description="of the bootstrap")


@benchmark("retrieval")
class Retrieval(Benchmark[RetrievalSettings]):
    """R@1, R@5, R@10 and the median rank, both ways, intervals by group.

    Metrics: `i2t_r1`, `i2t_r5`, `i2t_r10`, `i2t_median_rank`, and the same with `t2i`. Items are queries, hits as 0
    or 1, ranks as themselves: of `i2t` pictures, of `t2i` captions.
    """

    def measure(self, model: DualEncoder, dataset: Dataset) -> Measured:
        from pairwright.components.evaluate.metrics.ranks import retrieval_ranks
        from pairwright.components.evaluate.split import features_of

        split = features_of(model, dataset, self.settings.source)
        image = model.encode_image_features(split.image).float().cpu().numpy()
        text = model.encode_text_features(split.text).float().cpu().numpy()
        i2t, t2i = retrieval_ranks(image, text, split.positives())
        metrics = self._metrics("i2t", i2t, split.groups) + self._metrics("t2i", t2i, split.caption_groups)
        items = {"groups": np.asarray(split.groups)} | _items("i2t", i2t) | _items("t2i", t2i)
        if len(t2i) != len(i2t):
            items |= {f"{name}.groups": np.asarray(split.caption_groups) for name in _items("t2i", t2i)}
        return Measured(metrics, items)

    def _metrics(self, direction: str, ranks: np.ndarray, groups: list[str]) -> list[Metric]:
        about = f"{DIRECTIONS[direction]}; {POSITIVES}."
        metrics: list[Metric] = []
        for k in KS:
            found = bootstrap_mean(ranks <= k, groups, seed=self.settings.seed)
            text = f"Share of queries with a right answer among the first {k} (recall per query). {about}"
            metrics.append(Metric(f"{direction}_r{k}", found.value, len(ranks), found.low, found.high, text))
        middle = bootstrap_median(ranks, groups, seed=self.settings.seed)
        text = f"Median over queries of the first right answer's rank, from 1. {about}"
        name = f"{direction}_median_rank"
        return [*metrics, Metric(name, middle.value, len(ranks), middle.low, middle.high, text, False)]


def _items(direction: str, ranks: np.ndarray) -> dict[str, np.ndarray]:
    hits = {f"{direction}_r{k}": (ranks <= k).astype(np.float32) for k in KS}
    return hits | {f"{direction}_median_rank": ranks.astype(np.float32)}
