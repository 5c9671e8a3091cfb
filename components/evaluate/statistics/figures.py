"""Figures of one set of items in the making: each with its interval by group, its items and its definition.

figures = Figures(groups, seed=0, lower=frozenset(("empty",)))
figures.mean("empty", values, "Share of captions without a word.")
Measured(figures.metrics, figures.items)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pairwright.components.component import Metric
from pairwright.components.evaluate.statistics.bootstrap import Interval, bootstrap_mean, bootstrap_statistic


class Figures:
    """Metrics and their items.

    Attributes:
        lower: names of which less is better.
    """

    def __init__(self, groups: Sequence[str], seed: int, lower: frozenset[str] = frozenset()) -> None:
        self.groups, self.seed, self.lower = list(groups), seed, lower
        self.metrics: list[Metric] = []
        self.items: dict[str, np.ndarray] = {"groups": np.asarray(self.groups)}

    def mean(self, name: str, values: np.ndarray, told: str, groups: Sequence[str] | None = None) -> None:
        """The mean of a value an item; `groups` where its items are not everyone's."""
        own = self.groups if groups is None else list(groups)
        self._add(name, bootstrap_mean(values, own, seed=self.seed), values, told)
        if groups is not None:
            self.items[f"{name}.groups"] = np.asarray(own)

    def of_all(
        self,
        name: str,
        statistic: Callable[[np.ndarray], float],
        items: np.ndarray,
        told: str,
        groups: Sequence[str] | None = None,
    ) -> None:
        """What is of all items together, each counted so often; `items` pair it with another model's."""
        own = self.groups if groups is None else list(groups)
        self._add(name, bootstrap_statistic(statistic, own, seed=self.seed), items, told)
        if groups is not None:
            self.items[f"{name}.groups"] = np.asarray(own)

    def share(self, name: str, part: np.ndarray, whole: np.ndarray, told: str) -> None:
        """A sum over another; 0 where there is nothing to divide by. Items' mean is the share."""
        total = float(whole.sum())

        def of(weight: np.ndarray) -> float:
            held = float(weight @ whole)
            return float(weight @ part) / held if held else 0.0

        self.of_all(name, of, part * (len(part) / total) if total else np.zeros(len(part)), told)

    def _add(self, name: str, found: Interval, items: np.ndarray, told: str) -> None:
        metric = Metric(name, found.value, len(items), found.low, found.high, told, name not in self.lower)
        self.metrics.append(metric)
        self.items[name] = np.asarray(items, np.float32)
