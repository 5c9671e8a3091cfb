"""A probe of the text side alone: are two captions of one picture nearer than captions of two?

    benchmarks: {meaning: {uses: caption_pairs, with: {first: alt, second: keywords}}}

A stand-in for semantic textual similarity where nobody judged pairs of sentences (`sts` is for where people did): the
judgement is that two captions of one picture say more alike than captions of pictures of different groups. No picture
is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pairwright.components.component import Benchmark, Measured, Metric
from pairwright.components.errors import DatasetError
from pairwright.components.registry import benchmark
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.models.protocols import DualEncoder


class CaptionPairsSettings(Settings):
    first: str = Field("alt", description="caption source of the one text")
    second: str = Field("keywords", description="caption source of the other")
    seed: int = Field(0, ge=0, description="of the bootstrap")


@benchmark("caption_pairs")
class CaptionPairs(Benchmark[CaptionPairsSettings]):
    """`nearer`: 0.5 of a text side that knows nothing, 1 of one that always tells. Intervals by group."""

    def caption_sources(self) -> tuple[str, ...]:
        return (self.settings.first, self.settings.second)

    def measure(self, model: DualEncoder, dataset: Dataset) -> Measured:
        """Items are pictures with both captions."""
        from pairwright.components.evaluate.split import text_features_of
        from pairwright.components.evaluate.statistics.bootstrap import bootstrap_mean

        first, second, groups = self._texts(dataset)
        one, other = (
            model.encode_text_features(text_features_of(model, texts, dataset.name)).double().cpu().numpy()
            for texts in (first, second)
        )
        items = nearer(np.round(one @ other.T, 12), np.unique(groups, return_inverse=True)[1])
        found = bootstrap_mean(items, groups, seed=self.settings.seed)
        told = (
            f"Share of pictures of other groups whose {self.settings.second} is farther from a picture's "
            f"{self.settings.first} than its own, by cosine, a tie counting half; the mean over pictures. Chance: 0.5."
        )
        metric = Metric("nearer", found.value, len(items), found.low, found.high, told)
        return Measured([metric], {"nearer": items, "groups": np.asarray(groups)})

    def _texts(self, dataset: Dataset) -> tuple[list[str], list[str], list[str]]:
        """Both captions and the group of every picture that has both.

        Raises:
            DatasetError: there are no two such of different groups.
        """
        from pairwright.components.dataset.pairs import captions_from

        found = []
        for shard, table in dataset.iter_sidecars(["captions", "group"]):
            for at, row in enumerate(table.to_pylist()):
                texts = [captions_from(row["captions"], source) for source in self.caption_sources()]
                if all(texts):
                    found.append((texts[0][0], texts[1][0], row["group"] or f"{shard.digest}/{at}"))
        if len({group for _, _, group in found}) < 2:
            first, second = self.caption_sources()
            raise DatasetError(f'{dataset.name} has no two groups with captions "{first}" and "{second}"; name others')
        first, second, groups = zip(*found, strict=True)
        return list(first), list(second), list(groups)


def nearer(cosines: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(n, n) cosines of first to second captions -> of each row the share of other groups below its own, ties half."""
    own, others = cosines.diagonal()[:, None], groups[:, None] != groups[None, :]
    won = (cosines < own) + 0.5 * (cosines == own)
    found: np.ndarray = (won * others).sum(1) / others.sum(1)
    return found
