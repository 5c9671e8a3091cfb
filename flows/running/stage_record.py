"""What is kept of a stage: in the run's record, its report and MLflow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class StageRecord:
    """What a stage did. `status` is reused, ran or failed; `seconds` is wall-clock; `params` are MLflow's alone."""

    name: str
    digest: str
    status: str = "reused"
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
