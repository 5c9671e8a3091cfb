"""Group quantile: a score's rank among the pairs of its own kind, by language, by source, by label.

    select: {rank: {uses: group_quantile, with: {score: align.score, by: [language.lang, pair.label.collection]}}}
    keep:   {well_aligned_of_its_kind: "rank.rank >= 0.3"}

One threshold over everything mostly keeps the kind a scorer likes: English over other languages,
photographs over drawings. DataComp (Gadre et al., 2023) and Multilingual CLIP filters therefore cut
within a language or source; a rank in [0, 1] inside the group lets one rule cut every group alike.
Mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, Field

from pairwright.components.component import Selection
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.filter.selections.duplicates.duplicates import among_columns, participants
from pairwright.components.filter.selections.pair_facts import check_fact, pair_fact, step_columns
from pairwright.components.registry import selection
from pairwright.components.settings import Settings

OTHER = "(other)"  # small groups and pairs whose fact is not known, together


class GroupQuantileSettings(Settings):
    score: str = Field(description="step.column of numbers, higher is better")
    by: list[Annotated[str, AfterValidator(check_fact)]] = Field(
        min_length=1,
        description="facts that make a group together: step.column, pair.label.NAME, pair.lang.SOURCE, ...",
    )
    min_group: int = Field(20, ge=1, description="pairs; smaller groups are ranked together as one")
    among: dict[str, str] = Field({}, description="keep-rules; only pairs that pass them are ranked")


@selection("group_quantile")
class GroupQuantile(Selection[GroupQuantileSettings]):
    """Columns over every pair; null where it has no score or does not take part.

    Columns:
        rank: 0 the lowest of its group, 1 the highest, equal scores the middle of their ranks; 0.5 of one pair.
        group: the facts, joined by " / "; "(other)" for the small groups and the unknown.
        count: pairs of the group.
    """

    columns = {"rank": pa.float32(), "group": pa.string(), "count": pa.int32()}

    def column_names(self) -> tuple[str, ...]:
        wish = self.settings
        return tuple(dict.fromkeys([wish.score, *step_columns(wish.by), *among_columns(wish.among)]))

    def select(self, view: ColumnsView) -> Mapping[str, Any]:
        wish = self.settings
        score = view.column(wish.score).cast(pa.float64()).to_numpy()
        ranked = np.isfinite(score) & participants(view, wish.among)
        facts = [pc.fill_null(pair_fact(view, name), "") for name in wish.by]
        unknown = np.any([pc.equal(fact, "").to_numpy() for fact in facts], axis=0)
        joined = facts[0] if len(facts) == 1 else pc.binary_join_element_wise(*facts, " / ")
        encoded = joined.combine_chunks().dictionary_encode()
        label, names = _pooled(
            encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist(), ranked, unknown, wish.min_group
        )
        rank, count = group_ranks(score, label, ranked)
        return {
            "rank": pa.array(rank, pa.float32(), mask=~ranked),
            "group": pa.array([names[i] for i in label], pa.string(), mask=~ranked),
            "count": pa.array(count, pa.int32(), mask=~ranked),
        }


def _pooled(
    label: np.ndarray, names: list[str], ranked: np.ndarray, unknown: np.ndarray, least: int
) -> tuple[np.ndarray, list[str]]:
    """Labels with those of small groups, and of unknown facts, replaced by one for all of them."""
    size = np.bincount(label[ranked], minlength=len(names))
    small = unknown | (size[label] < least)
    return np.where(small, len(names), label), [*names, OTHER]


def group_ranks(score: np.ndarray, label: np.ndarray, ranked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean rank - 1) / (n - 1) within the label, and n, of the ranked rows; (rows,) each.

    Equal scores share the mean of their ranks, so the order of the data does not matter.
    """
    rank, count = np.zeros(len(score)), np.zeros(len(score), np.int64)
    rows = np.flatnonzero(ranked)
    order = rows[np.lexsort((score[rows], label[rows]))]
    group = _runs(label[order])
    tie = _runs(label[order], score[order])
    first, size = _first_and_size(group)
    tie_first, tie_size = _first_and_size(tie)
    mean_place = tie_first[tie] + (tie_size[tie] - 1) / 2 - first[group]
    alone = size[group] == 1
    rank[order] = np.where(alone, 0.5, mean_place / np.maximum(size[group] - 1, 1))
    count[order] = size[group]
    return rank, count


def _runs(*sorted_values: np.ndarray) -> np.ndarray:
    """Number of the run of equal values each position is in."""
    changes = np.any([values[1:] != values[:-1] for values in sorted_values], axis=0)
    return np.concatenate([[0], np.cumsum(changes)]).astype(np.int64)[: len(sorted_values[0])]


def _first_and_size(run: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first = np.flatnonzero(np.concatenate([[True], run[1:] != run[:-1]])[: len(run)])
    return first, np.diff(np.append(first, len(run)))
