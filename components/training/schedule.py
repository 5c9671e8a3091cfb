"""The learning rate of a step: a pure function of its number."""

from __future__ import annotations

import math
from typing import Literal


def learning_rate(
    step: int,
    *,
    peak: float,
    warmup_steps: int,
    steps: int,
    schedule: Literal["cosine", "constant", "cyclic"] = "cosine",
    cycles: int = 1,
    final: float = 0.0,
) -> float:
    """Linear warm-up to `peak`, then the schedule; `step` counts from 0.

    Args:
        schedule: half a cosine to `final * peak` at `steps`; the peak all along; or `cycles` such cosines, each from
            the peak again (Loshchilov & Hutter, 2017, cycles of equal length).
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if schedule == "constant":
        return peak
    done = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
    if schedule == "cyclic" and done < 1:
        done = done * cycles % 1
    return peak * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done)))
