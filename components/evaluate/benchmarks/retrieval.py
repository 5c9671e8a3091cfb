"""Image-text retrieval: who finds whom among all of a split.

    metrics = Retrieval(RetrievalSettings()).evaluate(load_dual_encoder(folder), open_dataset("data/dev"))

Several captions of a picture, identical captions and pairs of one group count as several positives. Two figures go by
the name of recall@K then, and both are told where a picture has several captions:

    i2t_r5        a hit: does any right answer stand among the first 5? As COCO and Flickr30K are reported (Karpathy
                  & Fei-Fei, 2015), ranx's `hit_rate@5`: the other picture of a dog is no mistake.
    i2t_share5    per caption: which share of the right answers stands among the first 5, averaged over queries. Of
                  five captions, five at best and at K = 1 no more than a fifth; ranx's and sklearn's `recall@5`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pairwright.components.component import Benchmark, Measured, Metric
from pairwright.components.evaluate.statistics.bootstrap import bootstrap_mean, bootstrap_median
from pairwright.components.registry import benchmark
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.evaluate.metrics.ranks import Found
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
    """R@1, R@5, R@10 and the median rank, both ways, intervals by group; where pictures have several captions, shares.

    Metrics: `i2t_r1`, `i2t_r5`, `i2t_r10`, `i2t_median_rank`, `i2t_share1`, ... and the same with `t2i`. Items are
    queries, hits as 0 or 1, ranks and shares as themselves: of `i2t` pictures, of `t2i` captions.
    """

    def measure(self, model: DualEncoder, dataset: Dataset) -> Measured:
        from pairwright.components.evaluate.metrics.ranks import Found, retrieval_ranks, retrieval_shares
        from pairwright.components.evaluate.split import features_of

        split = features_of(model, dataset, self.settings.source)
        image = model.encode_image_features(split.image).float().cpu().numpy()
        text = model.encode_text_features(split.text).float().cpu().numpy()
        several = len(split.captions) > len(split.groups)
        if several:
            found = retrieval_shares(image, text, split.positives(), KS)
        else:
            ranks = retrieval_ranks(image, text, split.positives())
            found = Found(ranks[0], np.zeros((0, 0))), Found(ranks[1], np.zeros((0, 0)))
        metrics: list[Metric] = []
        items = {"groups": np.asarray(split.groups)}
        for direction, one, groups in zip(DIRECTIONS, found, (split.groups, split.caption_groups), strict=True):
            made = _items(direction, one)
            metrics += self._metrics(direction, made, groups)
            items |= made
            if len(groups) != len(split.groups):
                items |= {f"{name}.groups": np.asarray(groups) for name in made}
        return Measured(metrics, items)

    def _metrics(self, direction: str, items: dict[str, np.ndarray], groups: Sequence[str]) -> list[Metric]:
        metrics: list[Metric] = []
        for name, values in items.items():
            ranked = name == f"{direction}_median_rank"
            found = (bootstrap_median if ranked else bootstrap_mean)(values, groups, seed=self.settings.seed)
            told = f"{_told(name.removeprefix(f'{direction}_'))} {DIRECTIONS[direction]}; {POSITIVES}."
            metrics.append(Metric(name, found.value, len(values), found.low, found.high, told, not ranked))
        return metrics


def _told(name: str) -> str:
    if name == "median_rank":
        return "Median over queries of the first right answer's rank, from 1."
    if name.startswith("share"):
        k = name.removeprefix("share")
        return f"Share of a query's right answers among the first {k}, averaged over queries (recall per caption)."
    return f"Share of queries with a right answer among the first {name.removeprefix('r')} (recall per query)."


def _items(direction: str, found: Found) -> dict[str, np.ndarray]:
    items = {f"{direction}_r{k}": (found.ranks <= k).astype(np.float32) for k in KS}
    items[f"{direction}_median_rank"] = found.ranks.astype(np.float32)
    return items | {f"{direction}_share{k}": share for k, share in zip(KS, found.shares, strict=False)}
