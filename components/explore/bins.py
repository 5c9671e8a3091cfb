"""How a column's values lie over all pairs and over those found: bins of a number, commonest values of a text.

The bins are of the whole dataset, so that a bar keeps its place when the filter changes; the range is the
0.5th to the 99.5th percentile, as in the report, and what lies outside is in the first or last bin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pairwright.components.errors import nearest
from pairwright.components.explore.recent import Recent
from pairwright.components.explore.scratch import Column
from pairwright.components.explore.search import InvalidQuery, Search, Wanted
from pairwright.components.filter.rules.sql_functions import quoted

BINS = 40
VALUES = 12  # of a text: the commonest, each with a bar
HELD_BYTES = 256 << 20


@dataclass(frozen=True)
class Binned:
    """A column's bins.

    Attributes:
        codes: (rows,) uint8: the bin of each pair; `len(labels)` without a value, one more for another value.
        edges: of a number, one more than there are bins; bin i holds edges[i] <= value < edges[i + 1].
        labels: of a text, the value of each bin.
    """

    codes: np.ndarray
    edges: list[float]
    labels: list[Any]
    beyond: int  # pairs outside the range, counted in the first and last bin

    @property
    def bins(self) -> int:
        return len(self.labels) or len(self.edges) - 1


class Histograms:
    """Histograms of any column under any filter; the binning of a column is made once."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self._binned: Recent[Binned] = Recent(HELD_BYTES, lambda binned: binned.codes.nbytes)

    def histogram(self, name: str, wanted: Wanted) -> dict[str, Any]:
        """Counts a bin of all pairs, and of those found by class.

        Raises:
            InvalidQuery: no such column, or one that has no order.
        """
        scope = self.search.scope(wanted)
        if name not in scope:
            raise InvalidQuery(f'there is no column "{name}"{nearest(name, scope)}')
        column = scope[name]
        if column.kind == "nested":
            raise InvalidQuery(f'"{name}" is a {column.type.lower()} and has no histogram; choose a number or a text')
        key = (name, *self.search._judged_by(wanted, name))
        binned = self._binned.get(key, lambda: self._bin(column, wanted))
        names, classes = self.search.verdicts.classes(wanted.first, wanted.second)
        shown = self.search.shown(wanted)
        width = binned.bins + 2
        found = np.bincount(classes[shown].astype(np.int32) * width + binned.codes[shown], minlength=width * len(names))
        counts = found.reshape(len(names), width)
        everything = np.bincount(binned.codes, minlength=width)
        return {
            "column": name,
            "kind": column.kind,
            "edges": binned.edges,
            "labels": binned.labels,
            "all": everything[: binned.bins].tolist(),
            "classes": {name: counts[i, : binned.bins].tolist() for i, name in enumerate(names)},
            "null": int(counts[:, binned.bins].sum()),
            "other": int(counts[:, binned.bins + 1].sum()),
            "beyond": binned.beyond,
        }

    def _bin(self, column: Column, wanted: Wanted) -> Binned:
        return self._of_number(column, wanted) if column.kind == "number" else self._of_text(column, wanted)

    def _of_number(self, column: Column, wanted: Wanted) -> Binned:
        source = self.search.tables.source(self.search.scope(wanted), [column.name])
        found = self.search.tables.numbers(f"SELECT {quoted(column.name)}::DOUBLE AS v FROM {source}")["v"]
        values = np.asarray(np.ma.filled(found, np.nan), dtype=np.float64)
        known = np.isfinite(values)
        whole = column.type not in ("FLOAT", "DOUBLE") and not column.type.startswith("DECIMAL")
        edges = _edges(values[known], whole)
        bins = len(edges) - 1
        if (
            column.type == "FLOAT"
        ):  # compared as DuckDB compares them, so that a brushed filter finds what the bars hold
            values, edges = values.astype(np.float32), edges.astype(np.float32)
        at = np.searchsorted(edges, values, side="right") - 1
        codes = np.where(known, np.clip(at, 0, bins - 1), bins).astype(np.uint8)
        beyond = int((known & ((at < 0) | (at >= bins))).sum())
        return Binned(codes, [float(str(edge)) for edge in edges], [], beyond)

    def _of_text(self, column: Column, wanted: Wanted) -> Binned:
        tables = self.search.tables
        source, value = tables.source(self.search.scope(wanted), [column.name]), quoted(column.name)
        common = tables.ask(
            f"SELECT {value} FROM {source} WHERE {value} IS NOT NULL "
            f"GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {VALUES}"
        )
        labels = [row[0] for row in common]
        cases = " ".join(f"WHEN {value} = ? THEN {i}" for i in range(len(labels)))
        cases = f"CASE WHEN {value} IS NULL THEN {len(labels)} {cases} ELSE {len(labels) + 1} END"
        codes = tables.numbers(f"SELECT ({cases})::UTINYINT AS c FROM {source}", labels)["c"]
        return Binned(np.asarray(codes, dtype=np.uint8), [], labels, 0)


def _edges(values: np.ndarray, whole: bool) -> np.ndarray:
    """Edges at round numbers, about BINS / 2 to BINS bins over the values' central range."""
    if not len(values):
        return np.array([0.0, 1.0])
    low, high = (float(x) for x in np.percentile(values, [0.5, 99.5]))
    step = _round_step(max(high - low, 1e-9 * max(abs(low), abs(high), 1e-300)) / BINS)
    step = max(step, 1.0) if whole else step
    first, last = int(np.floor(low / step)), int(np.floor(high / step)) + 1
    digits = max(0, 2 - int(np.floor(np.log10(step))))
    return np.array([round(i * step, digits) for i in range(first, last + 1)])


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is at least `least`."""
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9)))
