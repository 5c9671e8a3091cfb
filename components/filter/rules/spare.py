"""Sparing pairs: which ones a later pass need not look at, because a rule has dropped them already.

    write_spared(view, rules[:3], place)        # a column `rule`: the first of these rules a pair fails

What `lazy: true` in a recipe stands on (components/dataset/shards/spared.py reads the column). A pair with no
verdict yet is never spared, nor is one whose rule met a NULL while no step has opened its picture: were
the picture broken, the pair would have to be counted as failed, not as dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from pairwright.components.dataset.shards.columns import ColumnsView, StepColumns
from pairwright.components.dataset.shards.spared import RULE
from pairwright.components.filter.rules.rules import MISSING, Rule, Thresholds, judge


def write_spared(
    view: ColumnsView,
    rules: Sequence[Rule],
    place: StepColumns,
    *,
    pictures_known: bool,
    frozen: Thresholds | None = None,
) -> int:
    """Commit, shard by shard, the rule that spares each pair (null: none does); returns how many are spared.

    Args:
        view: the steps the rules read; the population is its dataset.
        pictures_known: some step has opened every picture already.

    Raises:
        InvalidRule, ColumnError: as `apply_rules`.
    """
    names, spared = pa.array([rule.name for rule in rules], pa.string()), 0
    with judge(view, rules, frozen=frozen) as judgement:
        parts = _by_shard(judgement.outcomes(), len(view.dataset.shards))
        for shard, codes in zip(view.dataset.shards, parts, strict=True):
            dropped = codes > 0 if pictures_known else (codes > 0) & (codes % 3 != MISSING)
            index = pa.array((codes - 1) // 3, pa.int32(), mask=~dropped)
            view.store.write(place, shard.digest, {RULE: names.take(index)}, shard.rows)
            spared += int(dropped.sum())
    return spared


def _by_shard(batches: Iterator[pa.RecordBatch], shards: int) -> Iterator[np.ndarray]:
    """Codes of one shard after the other, from batches in the dataset's order: (shard rows,) int each."""
    position, held = 0, [np.zeros(0, np.int16)]
    for batch in batches:
        codes = batch.column("code").to_numpy(zero_copy_only=False)
        of = batch.column("shard").to_numpy(zero_copy_only=False)
        ends = np.searchsorted(of, np.arange(position, int(of[-1]) if len(of) else position), side="right")
        start = 0
        for end in ends:
            yield np.concatenate([*held, codes[start:end]])
            position, start, held = position + 1, int(end), [np.zeros(0, np.int16)]
        held.append(codes[start:])
    for _ in range(position, shards):  # the last one, and empty shards after it
        yield np.concatenate(held)
        held = [np.zeros(0, np.int16)]
