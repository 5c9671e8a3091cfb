"""How often a fallback stood in for a generated caption, and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pairwright.components.dataset.shards.columns import ColumnsView


@dataclass(frozen=True)
class Fallbacks:
    """Counts over a captioner's rows: captions it wrote, originals that stood in (by reason), and rows without any."""

    written: int
    by_reason: dict[str, int]
    without: int

    @property
    def share(self) -> float:
        """Fallbacks among the rows that have a caption."""
        fallen = sum(self.by_reason.values())
        return fallen / (self.written + fallen) if self.written + fallen else 0.0

    def metrics(self) -> dict[str, float]:
        """Flat names for a tracker."""
        named = {f"fallback.{reason}": float(n) for reason, n in sorted(self.by_reason.items())}
        return {"written": float(self.written), "without": float(self.without), "fallback_share": self.share} | named


def count_fallbacks(view: ColumnsView, step: str) -> Fallbacks:
    """Counts of a captioner's step, shard by shard; reasons are cut at their first colon.

    Raises:
        ColumnError: the step has no committed columns, or is no captioner.
    """
    written, without = 0, 0
    reasons: Counter[str] = Counter()
    for _, table in view.iter_shards([f"{step}.text", f"{step}.note"]):
        for text, note in zip(table[0].to_pylist(), table[1].to_pylist(), strict=True):
            if text is None:
                without += 1
            elif note is None:
                written += 1
            else:
                reasons[note.partition(":")[0]] += 1
    return Fallbacks(written, dict(reasons), without)
