"""The conservation ledger: every pair that went in came out kept, dropped, failed or unknown.

    ledger.check()              # pairs_in == kept + dropped + failed + unknown, or we have a bug
    ledger.over_budget(0.05)    # True: more was lost to failures than the recipe allows

Checked, not assumed: a pair that no count holds is our mistake and stops the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Ledger:
    """Counts of pairs.

    Attributes:
        pairs_in: rows of the sidecars, and the pairs known to be lost with truncated tars.
        dropped: rule -> pairs whose first failed rule it is.
        failed: error -> pairs that could not be judged ("decode:truncated").
        unknown: pairs lost with a tar's tail, as far as can be told.
    """

    pairs_in: int
    kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    unknown: int = 0

    @property
    def pairs_dropped(self) -> int:
        return sum(self.dropped.values())

    @property
    def pairs_failed(self) -> int:
        return sum(self.failed.values())

    def check(self) -> None:
        """Raises AssertionError if a pair was lost or counted twice: our mistake, never the user's."""
        out = self.kept + self.pairs_dropped + self.pairs_failed + self.unknown
        if out != self.pairs_in:
            raise AssertionError(
                f"the ledger does not balance: {self.pairs_in} pairs in, but {self.kept} kept + "
                f"{self.pairs_dropped} dropped + {self.pairs_failed} failed + {self.unknown} unknown = {out}"
            )

    @property
    def lost(self) -> int:
        """Pairs that failed or are unknown."""
        return self.pairs_failed + self.unknown

    @property
    def lost_share(self) -> float:
        """Failed and unknown pairs over all pairs, 0..1."""
        return self.lost / self.pairs_in if self.pairs_in else 0.0

    def over_budget(self, share: float) -> bool:
        """Whether more than this share of the pairs failed or is unknown."""
        return self.lost_share > share

    def as_dict(self) -> dict[str, Any]:
        return {
            "pairs_in": self.pairs_in,
            "kept": self.kept,
            "dropped": dict(self.dropped),
            "failed": dict(self.failed),
            "unknown": self.unknown,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Ledger:
        return cls(values["pairs_in"], values["kept"], values["dropped"], values["failed"], values["unknown"])
