"""Regions: the boxes that a picture's sidecar has, as a detector would leave them.

    recaption: {seen: {uses: regions, with: {source: scenes}}}

Of composed scenes they are the exact truth, of annotated datasets what people marked; no picture is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from pairwright.components.component import Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.recaption.experts.boxes import BOXES
from pairwright.components.registry import scorer
from pairwright.components.settings import Settings


class RegionsSettings(Settings):
    source: str | None = Field(None, description="who marked them; all where none is named")


@scorer("regions")
class Regions(Scorer[RegionsSettings]):
    """Columns `boxes`, `labels`, `scores` (1 where a region has none), in order; null where nobody looked for any."""

    columns = BOXES
    sees_failures = True  # a picture that does not decode has its regions all the same

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        found = [self._mine(row.get("regions")) for row in pairs.sidecar]
        return {
            "boxes": [None if some is None else [one["box"] for one in some] for some in found],
            "labels": [None if some is None else [one["label"] for one in some] for some in found],
            "scores": [None if some is None else [_score(one) for one in some] for some in found],
        }

    def _mine(self, regions: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
        wish = self.settings.source
        return None if regions is None else [one for one in regions if wish in (None, one["source"])]


def _score(region: Mapping[str, Any]) -> float:
    return 1.0 if region["score"] is None else float(region["score"])
