"""The caption grid: which format of captions, mixed with how much alt-text, teaches a model best.

    evaluate:
      grid: {formats: [short, dense, fused], shares: [0, 0.25, 0.5, 0.75, 1], metric: retrieval.t2i_r5}

Lai et al., 2024, "Revisit large-scale image-caption data": synthetic captions do not replace alt-text; which mix is
best depends on the consumer, so each is tried. A cell is one model a seed, all else equal, its captions taken by turns,
so that the ratio is exact (components/dataset/captions/caption_mix.py). "Better" is said of an interval over seeds and
groups of queries together (statistics/crossed.py), at 5% over all cells that are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pairwright.components.evaluate.statistics.crossed import MIN_SEEDS, crossed

LEVEL = 0.05  # of being wrong at any of the cells


@dataclass(frozen=True, order=True)
class Cell:
    """Captions of a format, `share` of them replaced by alt-text; of alt-text alone the format is ""."""

    format: str
    share: float

    @property
    def mixes(self) -> bool:
        return 0 < self.share < 1

    def captions(self, alt: str) -> dict[str, float]:
        """The weights of the mix, without what is never taken: so alt-text alone is one model, whatever the row."""
        weights = {alt: self.share, self.format: 1 - self.share}
        return {source: round(weight, 9) for source, weight in weights.items() if weight > 0}

    @property
    def name(self) -> str:
        """A word of letters, digits and _."""
        return f"{self.format or 'alt'}_{100 * self.share:g}".replace(".", "_").replace("@", "_")

    def __str__(self) -> str:
        if self.share == 1:
            return "alt-text alone"
        return f"{self.format}, {self.share:.0%} alt-text" if self.share else f"{self.format} alone"


@dataclass(frozen=True)
class Difference:
    """A cell to another: the mean difference, better being positive, and its interval."""

    value: float
    low: float
    high: float
    decides: bool

    @property
    def better(self) -> bool:
        return self.decides and self.low > 0

    @property
    def worse(self) -> bool:
        return self.decides and self.high < 0


def cells_of(formats: Sequence[str], shares: Sequence[float]) -> list[Cell]:
    """Every cell once, row by row."""
    return list(dict.fromkeys(cell_of(one, share) for one in formats for share in shares))


def cell_of(format_: str, share: float) -> Cell:
    return Cell("" if share == 1 else format_, share)


def grid_rows(
    items: Mapping[Cell, np.ndarray], groups: np.ndarray, formats: Sequence[str], higher_is_better: bool = True
) -> list[dict[str, Any]]:
    """A row a format and share.

    Args:
        items: cell -> (seeds, queries), the same seeds and queries in the same order.
        groups: (queries,) what belongs together.

    Returns:
        `format`, `share`, `mean`, `low`, `high` (95%), `values` of the seeds; of a mix also `to_format` and `to_alt`,
        its differences to the format alone and to alt-text alone, where the grid has them.
    """
    shares = sorted({cell.share for cell in items})
    mixes = sum(cell.mixes for cell in items)
    confidence = 1 - LEVEL / max(mixes, 1)
    sign = 1.0 if higher_is_better else -1.0

    def to(cell: Cell, other: Cell) -> dict[str, Any] | None:
        if not cell.mixes or other not in items:
            return None
        found = crossed(sign * (np.asarray(items[cell], np.float64) - np.asarray(items[other], np.float64)), groups)
        return vars(Difference(found.value, *found.interval(confidence), found.decides))

    rows = []
    for format_ in formats:
        for cell in (cell_of(format_, share) for share in shares):
            whole = crossed(items[cell], groups)
            low, high = whole.interval(0.95)
            rows.append(
                {
                    "format": format_,
                    "share": cell.share,
                    "mean": whole.value,
                    "low": low,
                    "high": high,
                    "values": [float(row.mean()) for row in np.atleast_2d(items[cell])],
                    "to_format": to(cell, Cell(format_, 0.0)),
                    "to_alt": to(cell, Cell("", 1.0)),
                }
            )
    return rows


def best_of(rows: Sequence[Mapping[str, Any]], higher_is_better: bool = True) -> Mapping[str, Any]:
    """The row of the best mean, the first of several."""
    return max(rows, key=lambda row: row["mean"] if higher_is_better else -row["mean"])


def in_words(rows: Sequence[Mapping[str, Any]], metric: str, higher_is_better: bool = True) -> str:
    """The best cell, then where mixing is shown to be better, or worse, than either alone."""
    best = best_of(rows, higher_is_better)
    said = f"Highest mean {metric}" if higher_is_better else f"Lowest mean {metric}"
    said += f": {cell_of(best['format'], best['share'])}, {best['mean']:.3f}. "
    if len(rows[0]["values"]) < MIN_SEEDS:
        return f"{said}No verdict, a grid needs {MIN_SEEDS} seeds."
    for name, alone in (("to_format", "their format alone"), ("to_alt", "alt-text alone")):
        compared = [(row, Difference(**row[name])) for row in rows if row[name] is not None]
        if not compared:
            continue
        named = {
            how: _named([cell_of(row["format"], row["share"]) for row, found in compared if getattr(found, how)])
            for how in ("better", "worse")
        }
        parts = [f"{how} at {which}" for how, which in named.items() if which]
        said += f"Against {alone} mixes are {' and '.join(parts) or 'not shown to differ'}. "
    return said.strip()


def _named(cells: Sequence[Cell]) -> str:
    """ "short with 25%, 50%; dense with 50% alt-text"; "" of none."""
    shares: dict[str, list[str]] = {}
    for cell in cells:
        shares.setdefault(cell.format, []).append(f"{cell.share:.0%}")
    said = "; ".join(f"{format_} with {', '.join(of)}" for format_, of in shares.items())
    return f"{said} alt-text" if said else ""
