"""Foreground: the box of what stands on a plain ground, called by the pair's own label.

    recaption: {seen: {uses: foreground, with: {label: subgroup, names: {face: face, person: person, family: person}}}}

A detector for pictures of one thing whose kind is known already (emoji, clip-art, product shots): the ground is what is
like the border's own colour, and the box is of all the rest. How plain the border is, is how sure it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from pairwright.components.component import Pixels, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.recaption.experts.boxes import BOXES
from pairwright.components.registry import scorer
from pairwright.components.settings import Settings

SIDE = 96  # pixels; a box to a hundredth of the picture
LEAST = 0.005  # of the picture: what takes less is no thing


class ForegroundSettings(Settings):
    label: str = Field(description="label of the sidecar that says what the picture is of")
    names: dict[str, str] = Field(
        {}, description="a value of that label, or how several begin, -> what the box is called; others as they are"
    )
    tolerance: int = Field(16, ge=0, le=255, description="of 255: largest channel difference to the ground's colour")


@scorer("foreground")
class Foreground(Scorer[ForegroundSettings]):
    """Columns `boxes`, `labels`, `scores` (share of the border that is ground), of one box, or of none."""

    columns = BOXES
    requires = Pixels(size=SIDE)

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        found = [box_of(square, self.settings.tolerance) for square in pairs.squares(SIDE)]
        names = [self._name(row) for row in pairs.sidecar]
        there = [box is not None and name is not None for (box, _), name in zip(found, names, strict=True)]
        return {
            "boxes": [[box] if ok else [] for ok, (box, _) in zip(there, found, strict=True)],
            "labels": [[name] if ok else [] for ok, name in zip(there, names, strict=True)],
            "scores": [[plain] if ok else [] for ok, (_, plain) in zip(there, found, strict=True)],
        }

    def _name(self, row: Mapping[str, Any]) -> str | None:
        values = {one["name"]: one["value"] for one in row.get("labels") or ()}
        value = values.get(self.settings.label)
        fitting = [start for start in self.settings.names if value is not None and value.startswith(start)]
        return self.settings.names[max(fitting, key=len)] if fitting else value


def box_of(square: np.ndarray, tolerance: int) -> tuple[list[float] | None, float]:
    """(side, side, 3) uint8 -> box of what is no ground, None where there is nothing; share of the border that is."""
    border = np.concatenate([square[0], square[-1], square[1:-1, 0], square[1:-1, -1]]).astype(np.int16)
    ground = np.median(border, axis=0)
    plain = float((np.abs(border - ground).max(1) <= tolerance).mean())
    thing = np.abs(square.astype(np.int16) - ground).max(2) > tolerance
    if thing.mean() < LEAST:
        return None, plain
    rows, columns = np.flatnonzero(thing.any(1)), np.flatnonzero(thing.any(0))
    side = len(square)
    return [float(at) / side for at in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)], plain
