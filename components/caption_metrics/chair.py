"""CHAIR (Rohrbach et al., 2018): how much of what captions name is not in their pictures.

    CHAIR_i = things named that are not there / things named          CHAIR_s = captions that name one / captions

A thing counts once a caption. Captions that name nothing cannot be wrong, so CHAIR falls as captions say less: read it
beside recall, the share of the things in the pictures that are named. What is empty is counted by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Chair:
    """Counts of each caption, int64 (captions,).

    Attributes:
        named: things it names, each once; wrong: those that are not there.
        there: things in the picture; found: those it names.
    """

    named: np.ndarray
    wrong: np.ndarray
    there: np.ndarray
    found: np.ndarray

    def chair_i(self, weight: np.ndarray | None = None) -> float | None:
        """Of all captions, each counted `weight` times; None where they name nothing: that is not 0."""
        return _share(self.wrong, self.named, weight)

    def chair_s(self, weight: np.ndarray | None = None) -> float | None:
        return _share(self.wrong > 0, np.ones(len(self.wrong)), weight)

    def recall(self, weight: np.ndarray | None = None) -> float | None:
        return _share(self.found, self.there, weight)


def chair(named: Sequence[Collection[str]], there: Sequence[Collection[str]]) -> Chair:
    """Of the things each caption names and those its picture has.

    Raises:
        ValueError: there are more of one than of the other.
    """
    if len(named) != len(there):
        raise ValueError(f"{len(named)} captions are of {len(there)} pictures")
    rows = []
    for said, known in zip((set(one) for one in named), (set(one) for one in there), strict=True):
        rows.append((len(said), len(said - known), len(known), len(said & known)))
    return Chair(*np.array(rows, np.int64).reshape(-1, 4).T)


def _share(part: np.ndarray, whole: np.ndarray, weight: np.ndarray | None) -> float | None:
    times = np.ones(len(part)) if weight is None else weight
    total = float(times @ whole)
    return float(times @ part) / total if total else None
