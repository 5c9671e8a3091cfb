"""The promotion rule: when a challenger takes the champion's place. Pure arithmetic, no MLflow.

The flow scores both models on the same items of `dev`, bootstraps the paired difference
(components/evaluate/statistics/bootstrap.py) and hands its interval over; here is only the decision:

    no champion yet    promoted if its metric reaches `floor` (or there is no floor)
    a champion         promoted if the interval's lower end is above 0, the gain is at least
                       `min_gain` and the metric reaches `floor`

The interval is over items: two models stand there, and the question is which of the two serves better,
not whether its data or recipe would again (that takes several seeds: components/evaluate/statistics/verdicts.py).
So a tie or a loss does not promote, nor does a gain that resampling the items could undo. `test`
never decides anything: the rule cannot name it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import Field

from pairwright.components.settings import Settings


class PromotionRule(Settings):
    """The recipe's `release.promote` section."""

    metric: str = Field("retrieval.t2i_r5", description="metric compared, as `benchmark.metric`; higher is better")
    split: Literal["dev"] = Field("dev", description="only dev promotes; test reports")
    confidence: float = Field(0.95, gt=0.5, lt=1.0, description="of the paired bootstrap interval, two-sided")
    min_gain: float = Field(0.0, ge=0.0, description="smallest difference worth a new champion, in the metric's unit")
    floor: float | None = Field(None, description="below this no model is promoted, champion or not")


@dataclass(frozen=True)
class Comparison:
    """Challenger minus champion on one metric over the same `n` items.

    Attributes:
        champion: its value on the same items; None when there is no champion yet.
        difference, low, high: the gain and its paired bootstrap interval; None without a champion.
    """

    metric: str
    challenger: float
    n: int
    champion: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float = 0.95
    split: str = "dev"


@dataclass(frozen=True)
class Decision:
    """Whether to promote, why in one sentence, and every number that was weighed."""

    promote: bool
    reason: str
    comparison: Comparison
    rule: PromotionRule

    def as_dict(self) -> dict[str, Any]:
        return {
            "promote": self.promote,
            "reason": self.reason,
            "comparison": asdict(self.comparison),
            "rule": self.rule.model_dump(),
        }


def decide(comparison: Comparison, rule: PromotionRule) -> Decision:
    """The rule applied to the numbers.

    Raises:
        ValueError: the comparison is of another metric, split or confidence than the rule asks for.
    """
    for name in ("metric", "split") if comparison.champion is None else ("metric", "split", "confidence"):
        if getattr(comparison, name) != getattr(rule, name):
            raise ValueError(f"comparison.{name} is {getattr(comparison, name)!r}, the rule's {getattr(rule, name)!r}")
    refusal = _refusal(comparison, rule)
    return Decision(refusal is None, refusal or _praise(comparison), comparison, rule)


def _refusal(c: Comparison, rule: PromotionRule) -> str | None:
    """Why the challenger is not promoted; None if it is."""
    if not math.isfinite(c.challenger):
        return f"{c.metric} of the challenger is {c.challenger}: it was not measured"
    if rule.floor is not None and c.challenger < rule.floor:
        return f"{c.metric} {c.challenger:.4f} is below the floor {rule.floor:.4f}"
    if c.champion is None:
        return None
    if c.difference is None or c.low is None or c.high is None:
        raise ValueError("a comparison with a champion needs difference, low and high")
    gain = _gain(c)
    if not c.low > 0:  # also NaN
        return f"{gain} does not exclude zero at {rule.confidence:.0%} over {c.n} items"
    if c.difference < rule.min_gain:
        return f"{gain} is less than the {rule.min_gain:.4f} asked for"
    return None


def _praise(c: Comparison) -> str:
    if c.champion is None:
        return f"no champion yet, and {c.metric} is {c.challenger:.4f} over {c.n} items"
    return f"{_gain(c)} over {c.n} items"


def _gain(c: Comparison) -> str:
    interval = f"{c.difference:+.4f} [{c.low:+.4f}, {c.high:+.4f}]"
    return f"{c.metric} {c.challenger:.4f} against {c.champion:.4f}: gain {interval}"
