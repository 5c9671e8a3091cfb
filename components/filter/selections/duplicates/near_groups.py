"""Near-duplicates among millions of hashes, in compiled loops on every core and in bounded memory.

    found = near_groups(hashes, radius=31)      # (n, 32) uint8, best first
    found.nearest, found.distance, found.group, found.bands

The same answer as `greedy` and `linked_components` of near_duplicates.py, without a
list of pairs, of which a crowd of m alike has m^2:

1. every hash looks for one earlier hash within the radius, and stops at the first (`link`);
2. who found none is kept; who is near one of these is dropped, and takes the nearest;
3. the few that are neither are decided by halves: the first half keeps its own, the second half loses
   whatever is near them, and keeps its own of the rest;
4. who has a link looks at everything near it that no chain of links joins to it yet, which completes
   the connected components; hashes joined already are stepped over together.

A search that is not exact (hamming_bands.py) may miss a near pair, so that both are
kept; it never drops a hash that is not within the radius of the kept one it names.

Memory: 32 bytes a hash for the hashes, some 90 while a band is sorted, 4 a thread: about 140 MB a
million hashes on two cores with the caller's own, whatever their likeness (benchmarks/near_duplicates.py);
the whole selection, with keys and columns, about 230 MB (benchmarks/global_selections.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from queue import SimpleQueue
from typing import Any

import numpy as np

from pairwright.components.environment import usable_cores
from pairwright.components.filter.selections.duplicates import hamming_kernels as kernels
from pairwright.components.filter.selections.duplicates.hamming_bands import BITS, Bands, Exact, choose_bands

MOST_THREADS = 8  # each holds trees of its own while components are joined
PARTS = 16  # tasks a thread and band, so that a crowded bucket keeps no one waiting
DIRECT_PAIRS = 1 << 24  # compared without bands
SAMPLE = 100_000  # hashes whose neighbours are counted to foretell the cost of a search
LEAF = 4096  # hashes decided one after the other
SEED = 256  # of the order in which bits are laid into bands


@dataclass(frozen=True)
class NearGroups:
    """Who is near whom.

    Attributes:
        nearest: (n,) int32, the nearest kept hash of each dropped one (the earliest of equals), else -1.
        distance: (n,) int32, bits to it.
        group: (n,) int32, the first hash of each one's connected component.
        bands: how they were searched; `bands.recall(d)` says what may have been missed.
    """

    nearest: np.ndarray
    distance: np.ndarray
    group: np.ndarray
    bands: Bands


def near_groups(hashes: np.ndarray, radius: int, chosen: int | None = None, exact: Exact = "auto") -> NearGroups:
    """Groups of hashes, (n, 32) uint8, the better one first.

    Args:
        chosen: only the first so many are kept or dropped; the others are grouped with them. None: all.
    """
    words = np.array(hashes, np.uint8, order="C").view(np.uint64)  # a copy: its bits are reordered
    chosen = len(words) if chosen is None else chosen
    if not len(words):
        none = np.zeros(0, np.int32)
        return NearGroups(none, none, none, choose_bands(radius, 0, lambda _: 0.0, exact))
    assert len(words) < 1 << 31, "rows are counted in 32 bits"
    with _threads() as pool:
        _reorder(words, pool)
        first = _first_equals(words)
        rows = np.flatnonzero(first == np.arange(len(words))).astype(np.int32)
        bands = choose_bands(radius, len(rows), lambda bands: _meetings(words, rows, bands), exact)
        search = _Search(words, radius, bands, pool)
        link = search.links(rows)
        search.decide(rows[rows < chosen], link)
        group = search.components(rows, link)
    nearest, distance = search.nearest, search.distance.astype(np.int32)
    distance[nearest < 0] = 0
    repeated = np.flatnonzero(first != np.arange(len(words)))
    group[repeated] = group[first[repeated]]
    repeated = repeated[repeated < chosen]
    kept = nearest[first[repeated]] < 0
    nearest[repeated] = np.where(kept, first[repeated], nearest[first[repeated]])
    distance[repeated] = distance[first[repeated]]
    return NearGroups(nearest, distance, group, bands)


class _Search:
    """Distinct hashes with what is known of each so far."""

    def __init__(self, words: np.ndarray, radius: int, bands: Bands, pool: ThreadPoolExecutor) -> None:
        self.words, self.radius, self.bands, self.pool = words, radius, bands, pool
        self.nearest = np.full(len(words), -1, np.int32)
        self.distance = np.full(len(words), radius, np.uint8)  # nothing farther is taken

    def links(self, rows: np.ndarray) -> np.ndarray:
        """(n,) int32: an earlier hash near each of `rows` (ascending), or -1."""
        link = np.full(len(self.words), -1, np.int32)
        for (table,) in self._tables(rows):
            known = self.words, self.bands.masks, np.uint64(self.radius), link
            self._over_buckets(table[0], kernels.link_earlier, *table, *known)
        return link

    def decide(self, rows: np.ndarray, link: np.ndarray) -> None:
        """Keep or drop each of `rows`: fills `nearest` and `distance` of the dropped."""
        kept, rest = rows[link[rows] < 0], rows[link[rows] >= 0]
        self._approach(rest, kept)
        also = self._keep(rest[self.nearest[rest] < 0])
        if len(also):
            self._approach(np.setdiff1d(rest, also, assume_unique=True), also)

    def components(self, rows: np.ndarray, link: np.ndarray) -> np.ndarray:
        """(n,) int32: the first hash of each one's connected component."""
        parent = np.arange(len(self.words), dtype=np.int32)
        kernels.unite_all(parent, link)
        kernels.flatten(parent)
        if not (link >= 0).any():
            return parent
        spare: SimpleQueue[np.ndarray] = SimpleQueue()
        trees = [np.arange(len(parent), dtype=np.int32) for _ in range(_thread_count())]
        for tree in trees:
            spare.put(tree)

        def join(*arguments: Any) -> None:
            *known, low, high = arguments
            tree = spare.get()
            kernels.join_groups(*known, tree, low, high)
            spare.put(tree)

        by_label = rows[np.argsort(parent[rows], kind="stable")]
        for (table,) in self._tables(by_label):
            runs = kernels.label_runs(table[0], table[1], parent)
            known = self.words, self.bands.masks, np.uint64(self.radius), link
            self._over_buckets(table[0], join, *table, *runs, *known)
        for tree in trees:
            kernels.unite_all(parent, tree)
        kernels.flatten(parent)
        return parent

    def _keep(self, rows: np.ndarray) -> np.ndarray:
        """Those of `rows` (ascending) that are near no earlier kept one among them."""
        if len(rows) <= LEAF:
            return rows[kernels.keep_directly(self.words, rows, np.uint64(self.radius))]
        before = self._keep(rows[: len(rows) // 2])
        after = rows[len(rows) // 2 :]
        self._approach(after, before)
        return np.concatenate([before, self._keep(after[self.nearest[after] < 0])])

    def _approach(self, seekers: np.ndarray, kept: np.ndarray) -> None:
        """Tell each seeker of a kept hash that is nearer than what it knows.

        What the bands miss is missed both ways: were it found here alone, a hash would be dropped for a later one.
        """
        if self.bands.exact(self.radius) and len(seekers) * len(kept) <= DIRECT_PAIRS:
            kernels.nearest_directly(self.words, seekers, kept, self.nearest, self.distance)
            return
        for members, table in self._tables(kept, seekers):
            known = self.words, self.bands.masks, self.nearest, self.distance
            self._over_buckets(table[0], kernels.nearest_member, *members, *table, *known)

    def _tables(self, *groups: np.ndarray) -> Iterator[list[Any]]:
        """Each band's tables of these groups of rows; the next band is sorted while one is searched."""

        def submit(band: int) -> list[Future[Any]]:
            first, width = band * self.bands.width, self.bands.width
            return [self.pool.submit(kernels.band_table, self.words, rows, first, width) for rows in groups]

        coming = submit(0)
        for band in range(self.bands.count):
            tables = [future.result() for future in coming]
            coming = submit(band + 1) if band + 1 < self.bands.count else []
            yield tables

    def _over_buckets(self, starts: np.ndarray, kernel: Callable[..., None], *known: Any) -> None:
        """Run `kernel(*known, first, last)` over all buckets, in parts of about as many members."""
        shares = np.linspace(0, starts[-1], PARTS * _thread_count() + 1)
        bounds = np.unique(np.concatenate([[0], np.searchsorted(starts, shares[1:-1]), [len(starts) - 1]]))
        _at_once(self.pool, kernel, known, bounds)


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """As many threads as this process may use cores."""
    with ThreadPoolExecutor(_thread_count()) as pool:
        yield pool


def _thread_count() -> int:
    return min(usable_cores(), MOST_THREADS)


def _at_once(pool: ThreadPoolExecutor, kernel: Callable[..., None], known: tuple[Any, ...], bounds: np.ndarray) -> None:
    """Run `kernel(*known, first, last)` between each two bounds, on every thread, to the end."""
    tasks = [pool.submit(kernel, *known, first, last) for first, last in pairwise(bounds.tolist())]
    for task in tasks:
        task.result()


def _reorder(words: np.ndarray, pool: ThreadPoolExecutor) -> None:
    """Lay every hash's bits into the bands' order, in place."""
    source = np.random.default_rng(SEED).permutation(BITS)
    bounds = np.linspace(0, len(words), _thread_count() + 1).astype(int)
    _at_once(pool, kernels.reorder_bits, (words, source), bounds)


def _first_equals(words: np.ndarray) -> np.ndarray:
    """(n,) int32: the first row equal to each."""
    folded = kernels.fold(words)
    first: np.ndarray = kernels.first_equals(words, np.argsort(folded, kind="stable"), folded)
    return first


def meetings_of(hashes: np.ndarray, bands: Bands) -> float:
    """About how many pairs of hashes, (n, 32) uint8, meet in these bands."""
    words = np.array(hashes, np.uint8, order="C").view(np.uint64)
    with _threads() as pool:
        _reorder(words, pool)
    return _meetings(words, np.arange(len(words), dtype=np.int32), bands)


def _meetings(words: np.ndarray, rows: np.ndarray, bands: Bands) -> float:
    """About how many pairs of rows meet in these bands, a pair counted in each band where it does."""
    sample = rows[:: len(rows) // SAMPLE + 1]
    found = 0
    for band in range(bands.count):
        first = band * bands.width
        sizes = kernels.bucket_sizes(words, rows, first, bands.width)
        found += kernels.neighbours(words, sample, first, bands.width, sizes, bands.masks)
    return found * len(rows) / (2 * len(sample))
