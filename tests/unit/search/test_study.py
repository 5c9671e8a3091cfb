"""What is tried next: told the same it asks the same, and it finds what random trials do not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pairwright.components.search.space import SearchSection
from pairwright.components.search.study import Study

pytestmark = pytest.mark.platform  # optuna comes with the platform

SPACE = SearchSection.parse(
    {
        "space": {
            "lr": {"low": 1e-5, "high": 1.0, "log": True},
            "steps": {"low": 100, "high": 400, "step": 100},
            "dim": [8, 16, 32],
            "objective": [{"clip": 1}, {"clip": 1, "siglip": 0.5}],
        }
    },
    "mine",
).space


def worth(values: dict[str, Any]) -> float:
    """Best at lr 0.01, 300 steps, dim 16."""
    return -((math.log10(values["lr"]) + 2) ** 2) - abs(values["steps"] - 300) / 200 - abs(values["dim"] - 16) / 16


def tried(trials: int, seed: int = 0, told: Any = worth) -> list[dict[str, Any]]:
    study, found = Study(SPACE, seed), []
    for _ in range(trials):
        found.append(study.ask())
        study.tell(told(found[-1]))
    return found


def test_values_lie_in_their_ranges_and_have_their_kinds() -> None:
    for values in tried(30):
        assert 1e-5 <= values["lr"] <= 1
        assert values["steps"] in (100, 200, 300, 400)
        assert isinstance(values["steps"], int)
        assert values["dim"] in (8, 16, 32)
        assert values["objective"] in ({"clip": 1}, {"clip": 1, "siglip": 0.5})


def test_told_the_same_it_asks_the_same_however_many_are_to_come() -> None:
    assert tried(20) == tried(30)[:20]
    assert tried(12, seed=1) != tried(12, seed=0)


def test_what_it_is_told_decides_what_it_asks() -> None:
    assert tried(20)[:8] == tried(20, told=lambda values: -worth(values))[:8]  # drawn at random first
    assert tried(20) != tried(20, told=lambda values: -worth(values))


def test_it_finds_better_settings_than_random_trials() -> None:
    late = [np.mean([worth(values) for values in tried(40, seed)[20:]]) for seed in range(5)]
    random = [np.mean([worth(values) for values in tried(8, seed)]) for seed in range(5)]
    assert min(late) > np.mean(random)


def test_trials_that_failed_are_told_and_passed_over() -> None:
    def told(values: dict[str, Any]) -> float | None:
        return None if values["lr"] > 0.1 else worth(values)

    late = [values["lr"] > 0.1 for seed in range(4) for values in tried(40, seed, told=told)[20:]]
    assert np.mean(late) < 0.3  # a fifth of the range does not train; forgotten, it would be asked for in four of five
