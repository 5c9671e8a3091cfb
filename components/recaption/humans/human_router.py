"""Human router: of a picture with people the face, the body and the background that can be told of.

    route: {uses: human_router, with: {boxes: seen.boxes, labels: seen.labels, scores: seen.scores}}

HumanVLM (Dai et al., 2024) takes LAION-Face's pictures whose face is over 128 x 128 pixels, at a confidence of over
0.98: a crop of exactly 128 pixels, or a score of exactly 0.98, is refused. What there is of a picture is routed;
what is not is named. A picture without either face or body is skipped, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Columns, Pixels, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.registry import scorer
from pairwright.components.settings import Settings

PARTS = ("face", "body", "background")
NO_BOXES, NO_DETECTION, SMALL, UNSURE = "no_boxes", "no_detection", "small", "unsure"
GRID = 64  # cells a side: a share of the picture to a 64th of its width and height


class HumanRouterSettings(Settings):
    boxes: str = Field(description="step.column of boxes x0, y0, x1, y1 as shares of the picture")
    labels: str = Field(description="step.column of their labels")
    scores: str = Field(description="step.column of how sure each is")
    face: tuple[str, ...] = Field(("face", "human face"), description="labels of a face")
    body: tuple[str, ...] = Field(("person", "man", "woman", "boy", "girl"), description="labels of a whole person")
    min_side: float = Field(128, ge=0, description="pixels of the picture itself that either side of a crop is over")
    min_score: float = Field(0.98, ge=0, le=1, description="score that a box is over")
    min_background: float = Field(0.1, ge=0, le=1, description="share of the picture outside of people, to tell of it")


class Routed(NamedTuple):
    """A row's columns, in their order."""

    face: list[list[float]]
    body: list[list[float]]
    background: float | None
    missing: list[str]
    reason: str | None


@scorer("human_router")
class HumanRouter(Scorer[HumanRouterSettings]):
    """Columns.

    face, body: the surest box, in a list; an empty list where there is none to tell of.
    background: share of the picture outside of people; null where it is too small a share to tell of.
    missing: which of face, body and background there are none of.
    reason: why the picture is skipped: "no_boxes" (nobody looked), "no_detection" (no face and no body), "small" (a
        crop of too few pixels) or "unsure"; null where it is not.
    """

    columns = {
        "face": pa.list_(pa.list_(pa.float32())),
        "body": pa.list_(pa.list_(pa.float32())),
        "background": pa.float32(),
        "missing": pa.list_(pa.string()),
        "reason": pa.string(),
    }
    requires = Pixels(size=64) + Columns("boxes", "labels", "scores")
    sees_failures = True  # a picture that cannot be looked at is skipped with a reason, too

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        wish = self.settings
        rows = [
            self._routed(*one)
            for one in zip(
                pairs.columns[wish.boxes],
                pairs.columns[wish.labels],
                pairs.columns[wish.scores],
                pairs.facts or [{}] * len(pairs),
                strict=True,
            )
        ]
        return {name: [getattr(row, name) for row in rows] for name in Routed._fields}

    def _routed(
        self,
        boxes: Sequence[Sequence[float]] | None,
        labels: Sequence[str] | None,
        scores: Sequence[float] | None,
        facts: Mapping[str, Any],
    ) -> Routed:
        if boxes is None or labels is None or scores is None or not facts.get("width"):
            return Routed([], [], None, list(PARTS), NO_BOXES)
        seen = sorted(zip(scores, labels, boxes, strict=True), key=lambda one: -one[0])
        people = [one for one in seen if one[1].casefold() in {*self.settings.face, *self.settings.body}]
        problems = [self._problem(score, box, facts) for score, _, box in people]
        fit = [one for one, problem in zip(people, problems, strict=True) if problem is None]
        face = [list(box) for _, label, box in fit if label.casefold() in self.settings.face][:1]
        body = [list(box) for _, label, box in fit if label.casefold() in self.settings.body][:1]
        if not fit:
            return Routed([], [], None, list(PARTS), problems[0] if problems else NO_DETECTION)
        outside = 1 - covered([box for _, _, box in people])
        background = outside if outside >= self.settings.min_background else None
        there = dict(zip(PARTS, (face, body, background is not None), strict=True))
        return Routed(face, body, background, [part for part in PARTS if not there[part]], None)

    def _problem(self, score: float, box: Sequence[float], facts: Mapping[str, Any]) -> str | None:
        """Why a crop is refused. Columns hold float32, so what is exactly on a limit is so in float32."""
        width, height = (box[2] - box[0]) * facts["width"], (box[3] - box[1]) * facts["height"]
        if round(min(width, height), 2) <= self.settings.min_side:
            return SMALL
        return None if np.float32(score) > np.float32(self.settings.min_score) else UNSURE


def covered(boxes: Sequence[Sequence[float]]) -> float:
    """Share of the picture inside at least one box."""
    cells = np.zeros((GRID, GRID), bool)
    for x0, y0, x1, y1 in boxes:
        cells[round(y0 * GRID) : round(y1 * GRID), round(x0 * GRID) : round(x1 * GRID)] = True
    return float(cells.mean())
