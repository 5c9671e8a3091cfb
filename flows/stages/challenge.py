"""A challenge: whether a model is so much better than the champion that it takes its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.errors import InvalidRecipe, nearest
from pairwright.components.tracking.promotion import Comparison, Decision, PromotionRule, decide
from pairwright.flows.running.run import Run, registry_of
from pairwright.flows.stages.measure import GROUPS, groups_of

Measured = Callable[[Path, Dataset, str], Path]


def weigh(run: Run, rule: PromotionRule, measured: Measured, challenger: Path, champion: int | None) -> Decision:
    """Challenger against champion, the same items of `dev`, paired.

    Args:
        measured: a model's folder, a split and the stage's name -> the folder of its metrics.
        champion: the champion's version; None if there is none.
    """
    from pairwright.components.evaluate.statistics.bootstrap import paired_bootstrap

    dev = run.splits["dev"]
    mine, groups = items_of(measured(challenger, dev, "challenger dev"), rule.metric)
    if champion is None:
        return decide(Comparison(rule.metric, float(mine.mean()), len(mine)), rule)
    folder = Path(registry_of(run.environment).resolve(f"models:/{run.environment.registered_model}/{champion}")[0])
    theirs, _ = items_of(measured(folder, dev, "champion dev"), rule.metric)
    paired = paired_bootstrap(mine, theirs, groups, confidence=rule.confidence)
    comparison = Comparison(
        rule.metric,
        float(mine.mean()),
        len(mine),
        float(theirs.mean()),
        paired.difference,
        paired.low,
        paired.high,
        rule.confidence,
    )
    return decide(comparison, rule)


def items_of(folder: Path, metric: str) -> tuple[np.ndarray, list[str]]:
    """A value an item, and the group each item belongs to.

    Raises:
        InvalidRecipe: the promotion rule names a metric that was not measured.
    """
    with np.load(folder / "items.npz") as items:
        if metric not in items:
            known = [name for name in items if not name.endswith(GROUPS)]
            raise InvalidRecipe(f'release.promote.metric is "{metric}", which was not measured{nearest(metric, known)}')
        return items[metric], groups_of(items, metric).tolist()
