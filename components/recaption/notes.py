"""What became of a captioner's rows: its own captions, originals that stood in and why, and a text model's prompts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pairwright.components.dataset.shards.columns import ColumnsView


@dataclass(frozen=True)
class Fallbacks:
    """Counts over a captioner's rows.

    Attributes:
        written: captions of its own. by_reason: originals that stood in. without: rows without any caption.
        by_status: rows whose prompt a text model was asked, by what became of it.
    """

    written: int
    by_reason: dict[str, int]
    without: int
    by_status: dict[str, int] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Fallbacks among the rows that have a caption."""
        fallen = sum(self.by_reason.values())
        return fallen / (self.written + fallen) if self.written + fallen else 0.0

    def metrics(self) -> dict[str, float]:
        """Flat names for a tracker."""
        named = {f"fallback.{reason}": float(n) for reason, n in sorted(self.by_reason.items())}
        named |= {f"status.{status}": float(n) for status, n in sorted(self.by_status.items())}
        return {"written": float(self.written), "without": float(self.without), "fallback_share": self.share} | named


def count_fallbacks(view: ColumnsView, step: str) -> Fallbacks:
    """Counts of a captioner's step, shard by shard; reasons are cut at their first colon.

    Raises:
        ColumnError: the step has no committed columns, or is no captioner.
    """
    written, without = 0, 0
    reasons: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    for _, table in view.iter_shards([f"{step}.text", f"{step}.note", f"{step}.status"]):
        for text, note, status in zip(*(column.to_pylist() for column in table.columns), strict=True):
            statuses.update([status] if status is not None else [])
            if text is None:
                without += 1
            elif note is None:
                written += 1
            else:
                reasons[note.partition(":")[0]] += 1
    return Fallbacks(written, dict(reasons), without, dict(statuses))
