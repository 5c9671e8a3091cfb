"""Near-duplicates: the same picture resized, recompressed or lightly edited, by PDQ.

    selection: {uses: near_duplicates, with: {radius: 31}}
    keep:      {unique: "not near_duplicates.drop"}

Greedy in caption-quality order: a pair is dropped only if its hash is within `radius` bits of a pair
that was *kept*, and its reason names the nearest kept pair. So no two kept pairs are near each other,
and nothing is dropped for resembling something that is itself gone. The result equals comparing all
with all (tests/unit/filter/selections/duplicates/test_near_duplicates.py): up to LARGE hashes through numpy
(hamming_index.py), beyond in compiled loops (near_groups.py).

`exact: auto` gives that up only where it would cost more than some minutes, above some 15 million
hashes: wider bands are then searched, which miss some near pairs and never drop a pair wrongly. The
chance that a pair at each distance is found is computed (hamming_bands.py), and said
when the step runs: on average over distances 0..radius at least 0.99, at 15 to 40 million hashes 0.999.
`exact: always` never gives it up, `exact: never` always does.

The hash of a flat or nearly featureless picture means little: below `min_quality` pairs are compared
by their exact pixels only.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Columns
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.filter.selections.duplicates.duplicates import (
    DuplicateSelection,
    DuplicateSettings,
    duplicate_columns,
    first_of_equals,
    participants,
    quality_order,
)
from pairwright.components.filter.selections.duplicates.hamming_bands import Bands, Exact
from pairwright.components.filter.selections.duplicates.hamming_index import BYTES, HammingIndex
from pairwright.components.filter.selections.groups import ALONE, joined, labels_of, merged
from pairwright.components.registry import selection

BLOCK = 4096  # pairs judged at once
LARGE = 20_000  # hashes; from here on, compiling the loops takes less time than they save


class NearDuplicatesSettings(DuplicateSettings):
    radius: int = Field(31, ge=0, le=63, description="bits of 256 up to which two pictures are the same")
    hash: str = "pdq.hash"
    hash_quality: str | None = "pdq.quality"
    min_quality: int = Field(50, ge=0, le=100, description="PDQ quality below which a hash is not compared")
    pixels: str | None = "exact_hash.pixels"  # compares pictures of low hash quality; None: they are never duplicates
    exact: Exact = "auto"  # whether a near pair may be missed where millions of hashes make it cheaper


@selection("near_duplicates")
class NearDuplicates(DuplicateSelection[NearDuplicatesSettings]):
    """Columns over every pair; null where the picture has no hash.

    Columns:
        drop: a kept pair with a better caption is within the radius.
        of: the nearest kept pair's key (of equals, the one with the better caption). distance: bits.
        group: row number, in the dataset's order, of the first pair of its connected component: pairs
            linked by a chain of near-duplicates, dropped or not, share it.
    """

    requires = Columns("hash", "hash_quality", "pixels", "quality")

    def select(self, view: ColumnsView) -> Mapping[str, Any]:
        hashes, known = _hashes(view, self.settings.hash)
        keys = view.sidecar(["key"])["key"]
        comparable = known & self._good_hashes(view)
        taking_part = participants(view, self.settings.among)
        order = quality_order(view, self.settings.quality, keys)
        flat = self._equal_pixels(view, ~comparable)

        chosen = order[(comparable & taking_part)[order]]
        others = order[(comparable & ~taking_part)[order]]
        original = first_of_equals(np.where(taking_part, flat, ALONE), order)
        del order
        rows = np.concatenate([chosen, others])
        hashes = hashes[rows]  # the good ones, best first; the rest is let go
        nearest, distance, group = self._near(hashes, len(chosen))

        bits = np.zeros(len(keys), np.int64)
        dropped = nearest >= 0
        original[chosen[dropped]] = chosen[nearest[dropped]]
        bits[chosen[dropped]] = distance[dropped]
        linked = np.full(len(keys), ALONE)
        linked[rows] = group
        return duplicate_columns(keys, original, bits, joined([linked, flat]), known | (flat != ALONE))

    def _near(self, hashes: np.ndarray, chosen: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the first `chosen` hashes the nearest kept one or -1, and its distance; of all, their component."""
        radius, exact = self.settings.radius, self.settings.exact
        if len(hashes) <= LARGE and exact != "never":
            return *greedy(hashes[:chosen], radius), linked_components(hashes, radius)
        from pairwright.components.filter.selections.duplicates.near_groups import near_groups

        found = near_groups(hashes, radius, chosen, exact)
        if not found.bands.exact(radius):
            logging.getLogger(__name__).warning(expected_recall(found.bands, radius, len(hashes)))
        return found.nearest[:chosen], found.distance[:chosen], found.group

    def _equal_pixels(self, view: ColumnsView, flat: np.ndarray) -> np.ndarray:
        """(rows,) labels that pictures of the same pixels share, of the `flat` rows; ALONE for any other."""
        labels = np.full(view.rows, ALONE)
        if self.settings.pixels and flat.any():
            parts, start = [], 0
            for shard, table in view.iter_shards([self.settings.pixels]):
                mine = flat[start : start + shard.rows]
                parts += table[self.settings.pixels].filter(pa.array(mine)).chunks
                start += shard.rows
            labels[flat] = labels_of(pa.chunked_array(parts))
        return labels

    def _good_hashes(self, view: ColumnsView) -> np.ndarray:
        if self.settings.hash_quality is None:
            return np.ones(view.rows, bool)
        quality = view.column(self.settings.hash_quality).fill_null(-1).to_numpy()
        return np.asarray(quality >= self.settings.min_quality)


def expected_recall(bands: Bands, radius: int, rows: int) -> str:
    """What a search that is not exact may miss, in one line; shares are rounded down."""
    shares = [bands.recall(distance) for distance in (radius // 2, radius)]
    mean, half, last = (math.floor(share * 1e4) / 1e4 for share in (bands.mean_recall(radius), *shares))
    return (
        f"near_duplicates compares {rows:,} hashes in {bands.count} bands of {bands.width} bits: of the pairs within "
        f"{radius} bits it finds {mean:.4f} ({half:.4f} at {radius // 2}, {last:.4f} at {radius}); "
        "exact: always finds all, and takes longer"
    )


def greedy(hashes: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """Keep each hash unless a kept one before it is within `radius`.

    Args:
        hashes: (n, 32) uint8, best first.

    Returns:
        (n,) int64, the nearest kept hash of each dropped one (the earliest of equals), -1 for a kept
        one; and (n,) int32, the distance to it.
    """
    distinct, first, inverse = _distinct(hashes)
    kept, index = _greedy_kept(distinct, radius)
    nearest, distance = np.full(len(distinct), -1, np.int64), np.zeros(len(distinct), np.int32)
    nearest[kept] = kept
    dropped = np.flatnonzero(nearest < 0)
    for block in _blocks(len(dropped)):
        rows = dropped[block]
        best, bits = _nearest(len(rows), *index.near(distinct[rows]))
        nearest[rows], distance[rows] = kept[best], bits
    original = first[nearest[inverse]] if len(hashes) else nearest
    original[original == np.arange(len(hashes))] = -1  # a kept hash repeats itself
    return original, distance[inverse]


def _distinct(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct hashes in order of first appearance, where each first appears, and which of them each row is."""
    if not len(hashes):
        return hashes, np.zeros(0, np.int64), np.zeros(0, np.int64)
    rows = np.ascontiguousarray(hashes).view(f"V{BYTES}").ravel()
    _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return hashes[first[order]], first[order], place[inverse.ravel()]


def _greedy_kept(hashes: np.ndarray, radius: int) -> tuple[np.ndarray, HammingIndex]:
    """Positions of the kept among distinct hashes, ascending, and the index whose members they are."""
    index, kept = HammingIndex(radius), [np.zeros(0, np.int64)]
    for block in _blocks(len(hashes)):
        mine = hashes[block]
        fresh = np.ones(len(mine), bool)
        for query, _, _ in index.near_parts(mine):
            fresh[query] = False
        stay = np.flatnonzero(fresh)[_greedy_block(mine[fresh], radius)]
        kept.append(block.start + stay)
        index.add(mine[stay])
    return np.concatenate(kept), index


def _greedy_block(hashes: np.ndarray, radius: int) -> np.ndarray:
    """(n,) bool: kept within one block, whose near pairs are listed at once."""
    index = HammingIndex(radius)
    index.add(hashes)
    earlier, later, _ = index.near(hashes)
    earlier, later = earlier[earlier < later], later[earlier < later]
    starts = np.searchsorted(earlier, np.arange(len(hashes) + 1))
    kept = np.ones(len(hashes), bool)
    for one in np.flatnonzero(np.diff(starts)):
        if kept[one]:
            kept[later[starts[one] : starts[one + 1]]] = False
    return kept


def _nearest(rows: int, query: np.ndarray, member: np.ndarray, bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each query's members the nearest, the earliest of equals; every query has one."""
    order = np.lexsort((member, bits, query))
    first = order[np.unique(query[order], return_index=True)[1]]
    assert len(first) == rows, "a hash was dropped although no kept one is near it"
    return member[first], bits[first]


def linked_components(hashes: np.ndarray, radius: int) -> np.ndarray:
    """Connected components of "within `radius`": (n,) int64, each row's smallest member."""
    distinct, first, inverse = _distinct(hashes)
    index = HammingIndex(radius)
    label = np.arange(len(distinct), dtype=np.int64)
    for block in _blocks(len(distinct)):
        index.add(distinct[block])
        edges = [np.zeros((0, 2), np.int64)]
        for query, member, _ in index.near_parts(distinct[block]):
            edges.append(np.unique(np.stack([query + block.start, label[member]], axis=1), axis=0))
        a, b = np.concatenate(edges).T
        label = merged(label, a, b)
    return first[label[inverse]] if len(hashes) else label


def _blocks(rows: int) -> Iterator[slice]:
    for start in range(0, rows, BLOCK):
        yield slice(start, min(start + BLOCK, rows))


def _hashes(view: ColumnsView, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(rows, 32) uint8 hashes, zeros where null, and (rows,) bool where there is one."""
    hashes, known = np.zeros((view.rows, BYTES), np.uint8), np.zeros(view.rows, bool)
    start = 0
    for _, table in view.iter_shards([name]):  # a shard at a time: the column never stands in memory twice
        column = table[name]
        stop = start + len(column)
        known[start:stop] = column.is_valid().to_numpy()
        filled = column.cast(pa.binary()).fill_null(bytes(BYTES)).cast(pa.binary(BYTES)).combine_chunks()
        data = filled.buffers()[1] if len(filled) else b""
        first = filled.offset * BYTES
        hashes[start:stop] = np.frombuffer(data, np.uint8)[first : first + len(filled) * BYTES].reshape(-1, BYTES)
        start = stop
    return hashes, known
