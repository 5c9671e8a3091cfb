"""Semantic textual similarity: does the text side order pairs of captions as people do?

    pairwright ingest sentence-pairs sts-test.tsv data/sts        # sentence1, sentence2, score
    benchmarks: {sts: {uses: sts, with: {pairs: data/sts}}}

Spearman's rank correlation of the cosine of two captions' vectors with what people judged (Cer et al., 2017; on
captions of pictures Crisscrossed Captions, Parekh et al., 2021). It asks no picture, and nothing of the split but to
stand beside it; without `pairs` the split itself is such a table.
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

FEWEST = 30  # groups, below which an interval would be drawn from too few


class StsSettings(Settings):
    undigested = frozenset(("pairs",))  # its bytes are digested, by `datasets`

    pairs: str | None = Field(None, description="the dataset of judged pairs of texts; default: the split")
    first: str = Field("first", description="caption source of the one text")
    second: str = Field("second", description="caption source of the other")
    label: str = Field("similarity", description="label that holds the judgement, a number")
    seed: int = Field(0, ge=0, description="of the bootstrap")


@benchmark("sts")
class Sts(Benchmark[StsSettings]):
    """`spearman`, its interval by groups: pairs that share a text, however indirectly, are one group.

    Where hardly anything is left apart so, as in a table of all against all, pairs of one first text are.
    """

    def datasets(self) -> tuple[str, ...]:
        return () if self.settings.pairs is None else (self.settings.pairs,)

    def measure(self, model: DualEncoder, dataset: Dataset) -> Measured:
        """Items are pairs: each one's part in the correlation, whose mean it is."""
        from pairwright.components.dataset.dataset import open_dataset
        from pairwright.components.evaluate.metrics.spearman import parts, spearman
        from pairwright.components.evaluate.split import text_features_of
        from pairwright.components.evaluate.statistics.bootstrap import bootstrap_statistic

        wish = self.settings
        judged = dataset if wish.pairs is None else open_dataset(wish.pairs)
        first, second, score = self._pairs(judged)
        texts = list(dict.fromkeys([*first, *second]))
        features = text_features_of(model, texts, judged.name)
        place = {text: number for number, text in enumerate(texts)}
        vectors = model.encode_text_features(features).double().cpu().numpy()
        left, right = ([place[text] for text in side] for side in (first, second))
        # Twelve digits: equal vectors give equal cosines, however they are summed.
        cosine = np.round(np.einsum("ij,ij->i", vectors[left], vectors[right]), 12)
        groups, drawn = _groups(left, right)
        found = bootstrap_statistic(lambda weight: spearman(cosine, score, weight), list(groups), seed=wish.seed)
        told = (
            "Spearman's rank correlation, ties at their mean rank, of the cosine of two texts' vectors with the "
            f"{wish.label} people judged, of {judged.name}; no picture is shown. 0: no relation, and a model that says "
            f"the same of all. Interval: percentile bootstrap of pairs, those of {drawn} together."
        )
        metric = Metric("spearman", found.value, len(score), found.low, found.high, told)
        return Measured([metric], {"spearman": parts(cosine, score), "groups": groups})

    def _pairs(self, dataset: Dataset) -> tuple[list[str], list[str], np.ndarray]:
        """Both texts and the judgement of every row that has all three.

        Raises:
            DatasetError: fewer than three rows do, or a judgement is no number.
        """
        from pairwright.components.dataset.pairs import captions_from

        wish = self.settings
        found = []
        for _, table in dataset.iter_sidecars(["captions", "labels"]):
            for row in table.to_pylist():
                texts = [captions_from(row["captions"], source) for source in (wish.first, wish.second)]
                judged = [label["value"] for label in row["labels"] or () if label["name"] == wish.label]
                if all(texts) and judged:
                    found.append((texts[0][0], texts[1][0], _number(judged[0], wish.label, dataset.name)))
        if len(found) < 3:
            raise DatasetError(
                f'{dataset.name} has {len(found)} rows with captions "{wish.first}" and "{wish.second}" and a label '
                f'"{wish.label}"; make one with `pairwright ingest sentence-pairs`'
            )
        first, second, score = zip(*found, strict=True)
        return list(first), list(second), np.array(score)


def _number(text: str, label: str, name: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = float("nan")
    if not np.isfinite(found):
        raise DatasetError(f'{name} has the {label} "{text}", which is no number; mend the label')
    return found


def _groups(left: list[int], right: list[int]) -> tuple[np.ndarray, str]:
    """Which pairs are drawn together, and in words."""
    linked = _linked(left, right)
    if len(set(linked)) >= FEWEST:
        return linked, "a shared text"
    return np.array([f"text {a}" for a in left]), "one first text"


def _linked(left: list[int], right: list[int]) -> np.ndarray:
    """A name for each pair's texts and all that are paired with them, and so on."""
    root: dict[int, int] = {}

    def find(one: int) -> int:
        while root.setdefault(one, one) != one:
            root[one] = root[root[one]]
            one = root[one]
        return one

    for a, b in zip(left, right, strict=True):
        root[find(b)] = find(a)
    return np.array([f"texts {find(a)}" for a in left])
