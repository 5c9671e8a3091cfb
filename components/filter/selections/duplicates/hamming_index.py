"""Pairs of 256-bit hashes within a Hamming radius, exactly, without comparing all with all.

    index = HammingIndex(radius=31)
    index.add(hashes)                               # (n, 32) uint8
    queries, members, distances = index.near(more)  # every pair within the radius

Multi-index hashing (Norouzi, Punjani and Fleet, 2012): the hash is cut into 16 bands of 16 bits. If
two hashes differ in at most 31 bits, some band differs in at most floor(31 / 16) = 1, so looking up
each band's value and its 16 neighbours finds every pair: recall is 1 by the pigeonhole principle.
A lookup is two reads in the band's table of 65,536 buckets; what it finds is checked on all 256 bits.
Members stand in runs that are merged like the digits of a binary counter, so adding stays cheap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

BITS = 256
BYTES = BITS // 8
BAND_BITS = 16
BANDS = BITS // BAND_BITS
CANDIDATES = 2_000_000  # checked at once: 64 MB of hashes
BRUTE_FORCE_ROWS = 2048  # a run this short is compared with directly


class HammingIndex:
    """Members in the order they were added; `near` gives their positions."""

    def __init__(self, radius: int) -> None:
        if not 0 <= radius < BITS:
            raise ValueError(f"radius is {radius} bits, a hash has {BITS}")
        self.radius = radius
        self._masks = _flips(min(radius // BANDS, BAND_BITS))
        self._runs: list[_Run] = []

    def __len__(self) -> int:
        return self._runs[-1].end if self._runs else 0

    def add(self, hashes: np.ndarray) -> None:
        """Append members, (n, 32) uint8."""
        if not len(hashes):
            return
        self._runs.append(_Run.of(len(self), hashes))
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            last, before = self._runs.pop(), self._runs.pop()
            self._runs.append(_Run.of(before.start, np.concatenate([before.hashes, last.hashes])))

    def near(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All (query, member) within the radius: positions int64 and distances int32, sorted by query, member."""
        found = list(self.near_parts(queries))
        if not found:
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int32)
        query, member, distance = (np.concatenate(parts) for parts in zip(*found, strict=True))
        _, first = np.unique(query * len(self) + member, return_index=True)  # several bands find the same pair
        return query[first], member[first], distance[first]

    def near_parts(self, queries: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """What `near` gives, in bounded parts: unsorted, and a pair may come more than once."""
        queries = np.ascontiguousarray(queries, dtype=np.uint8)
        for run in self._runs:
            yield from self._near_in(run, queries)

    def _near_in(self, run: _Run, queries: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        words = queries.view(np.uint64)
        for query, place in run.candidates(queries, self._masks):
            distance = _distances(words[query], run.words[place])
            close = distance <= self.radius
            yield query[close].astype(np.int64), place[close].astype(np.int64) + run.start, distance[close]


@dataclass(frozen=True)
class _Run:
    """Members start..end with, for each band, whose value is which: a bucket sort."""

    start: int
    hashes: np.ndarray  # (n, 32) uint8
    words: np.ndarray  # the same bytes as (n, 4) uint64
    buckets: tuple[np.ndarray, ...]  # of each band: (65537,) int64, where each value's members begin in `places`
    places: tuple[np.ndarray, ...]  # of each band: (n,) int32, members in the order of their value

    @classmethod
    def of(cls, start: int, hashes: np.ndarray) -> _Run:
        hashes = np.ascontiguousarray(hashes, dtype=np.uint8)
        bands = hashes.view(np.uint16)
        if len(hashes) <= BRUTE_FORCE_ROWS:
            return cls(start, hashes, hashes.view(np.uint64), (), ())
        places = tuple(np.argsort(bands[:, band], kind="stable").astype(np.int32) for band in range(BANDS))
        counts = [np.bincount(bands[:, band], minlength=1 << BAND_BITS) for band in range(BANDS)]
        buckets = tuple(np.concatenate([[0], np.cumsum(count)]) for count in counts)
        return cls(start, hashes, hashes.view(np.uint64), buckets, places)

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def end(self) -> int:
        return self.start + len(self.hashes)

    def candidates(self, queries: np.ndarray, masks: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(query, place) arrays that hold every pair within the radius, a bounded number at a time."""
        if not self.buckets:
            rows = max(CANDIDATES // max(len(self), 1), 1)
            for first in range(0, len(queries), rows):
                count = min(rows, len(queries) - first)
                query = np.repeat(np.arange(first, first + count), len(self))
                yield query, np.tile(np.arange(len(self)), count)
            return
        bands = np.ascontiguousarray(queries, dtype=np.uint8).view(np.uint16)
        for band in range(BANDS):
            wanted = (bands[:, band, None] ^ masks[None, :]).ravel()
            low = self.buckets[band][wanted]
            count = self.buckets[band][wanted.astype(np.int64) + 1] - low
            for part in _slices(count):
                spans, starts = count[part], low[part]
                total = int(spans.sum())
                if not total:
                    continue
                within = np.arange(total) - np.repeat(np.cumsum(spans) - spans, spans)
                query = np.repeat(np.arange(part.start, part.stop) // len(masks), spans)
                yield query, self.places[band][np.repeat(starts, spans) + within]


def _slices(counts: np.ndarray) -> Iterator[slice]:
    """Consecutive slices whose counts sum to at most CANDIDATES (a single larger count stands alone)."""
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, before + CANDIDATES, side="right")), start + 1)
        yield slice(start, stop)
        start = stop


def _flips(most: int) -> np.ndarray:
    """16-bit masks with at most `most` bits set, uint16."""
    masks = [sum(1 << bit for bit in bits) for n in range(most + 1) for bits in combinations(range(BAND_BITS), n)]
    return np.array(masks, dtype=np.uint16)


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Bits that differ between rows of (n, 4) uint64: (n,) int32."""
    total = np.zeros(len(a), np.int32)
    for word in range(a.shape[1]):
        total += np.bitwise_count(a[:, word] ^ b[:, word])
    return total
