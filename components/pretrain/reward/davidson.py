"""Judgements explained by few facts: a logit with Davidson's ties, whose weights have priors.

    theta, log_nu = explained(difference, prior, asked)

Each judgement compares two captions that differ by x (p facts). With d = theta . x, and Davidson's nu
(components/models/preference_loss.py), better, worse and tie have the logits d/2, -d/2 and log nu. A prior of mean
m and standard deviation s on each weight adds (theta - m)^2 / (2 s^2) to the negative log-likelihood, so few
judgements move it little and many say what they say. It is convex; Newton's steps end in the same bits wherever.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

STEPS = 25
LEAST_SCALE = 0.1  # a reward never holds what the picture shows for nothing
PRIOR_SCALE, PRIOR_SCALE_SPREAD = 1.0, 1.0  # of the evidence's weight: log-odds count for what they are


@dataclass(frozen=True)
class Comparisons:
    """n judgements of p facts, the first of which is the evidence.

    Attributes:
        difference: (n, p) facts of the better caption less those of the worse.
        tie: (n,) bool; weight: (n,) what a judgement counts for; group: (n,) labels of what is not independent.
        smoothing: share of preferences taken to be the wrong way round by mistake.
        davidson: ties have a parameter; else one is half a preference each way.
    """

    difference: np.ndarray
    tie: np.ndarray
    weight: np.ndarray
    group: np.ndarray
    smoothing: float = 0.0
    davidson: bool = True

    def take(self, which: np.ndarray) -> Comparisons:
        names = ("difference", "tie", "weight", "group")
        return replace(self, **{name: getattr(self, name)[which] for name in names})

    def targets(self) -> np.ndarray:
        """(n, 3) what is said of better, worse and tie."""
        split = not (self.davidson and bool(self.tie.any()))
        said = np.zeros((len(self.tie), 3))
        said[:, 0], said[:, 1] = 1 - self.smoothing, self.smoothing
        said[self.tie] = (0.5, 0.5, 0.0) if split else (0.0, 0.0, 1.0)
        return said


def probabilities(d: np.ndarray, log_nu: float) -> np.ndarray:
    """(n,) differences of rewards -> (n, 3) of better, worse, tie; log_nu -inf: no ties."""
    logits = np.stack([d / 2, -d / 2, np.full_like(d, log_nu)], axis=1)
    logits -= logits.max(axis=1, keepdims=True)
    odds = np.exp(logits)
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def explained(said: Comparisons, spread: float) -> tuple[np.ndarray, float]:
    """Weights (p,) and log nu (-inf without ties): the mode under the priors.

    Args:
        spread: prior standard deviation of every weight but the evidence's; at 0 they are 0.
    """
    used = said.difference if spread > 0 else said.difference[:, :1]
    target, ties = said.targets(), said.davidson and bool(said.tie.any())
    p = used.shape[1]
    mean = np.array([PRIOR_SCALE, *np.zeros(p - 1)])
    precision = np.array([PRIOR_SCALE_SPREAD**-2, *np.full(p - 1, max(spread, 1e-9) ** -2)])
    theta, log_nu = mean.copy(), 0.0 if ties else -np.inf
    for _ in range(STEPS):
        odds = probabilities(used @ theta, log_nu)
        gap = (odds[:, 0] - odds[:, 1]) / 2
        slope = said.weight * (gap - (target[:, 0] - target[:, 1]) / 2)
        curve = said.weight * ((odds[:, 0] + odds[:, 1]) / 4 - gap**2)
        gradient = used.T @ slope + precision * (theta - mean)
        hessian = (used * curve[:, None]).T @ used + np.diag(precision)
        if ties:
            tied, cross = odds[:, 2], -(said.weight * gap * odds[:, 2]) @ used
            gradient = np.append(gradient, said.weight @ (tied - target[:, 2]) + log_nu)
            last = np.append(cross, said.weight @ (tied * (1 - tied)) + 1.0)
            hessian = np.block([[hessian, cross[:, None]], [last[None, :]]])
        step = np.linalg.solve(hessian, gradient)
        theta = theta - step[:p]
        theta[0] = max(theta[0], LEAST_SCALE)
        log_nu -= float(step[p]) if ties else 0.0
    whole = np.zeros(said.difference.shape[1])
    whole[:p] = theta
    return whole, float(log_nu)


def losses(said: Comparisons, theta: np.ndarray, log_nu: float) -> np.ndarray:
    """(n,) negative log-likelihood of each judgement, nats."""
    odds = probabilities(said.difference @ theta, log_nu)
    target = said.targets()
    return np.asarray(-(target * np.log(np.maximum(odds, 1e-12))).sum(axis=1))


def chosen_spread(
    said: Comparisons, unit: np.ndarray, spreads: tuple[float, ...], harmless_to_each: bool = False
) -> float:
    """How far judgements may move the reward from the evidence: the least spread that explains what was left out as
    well as any, by one standard error over groups.

    Args:
        unit: (n,) labels; one unit after another is left out whole.
        spreads: prior standard deviations.
        harmless_to_each: a spread by which the judgements of one left-out unit are explained worse than by the least,
            by more than a standard error, is none to choose from.
    """
    order = sorted(spreads)
    table = np.zeros((len(order), len(unit)))
    for one in np.unique(unit) if len(order) > 1 else ():
        apart = unit == one
        for row, spread in enumerate(order):
            table[row, apart] = losses(said.take(apart), *explained(said.take(~apart), spread))
    harmless = [
        row
        for row in range(len(order))
        if not harmless_to_each or all(_no_more(table[row] - table[0], said, unit == one) for one in np.unique(unit))
    ]
    best = min(harmless, key=lambda row: float(table[row] @ said.weight))
    everything = np.ones(len(unit), bool)
    return float(next(order[row] for row in harmless if _no_more(table[row] - table[best], said, everything)))


def _no_more(more: np.ndarray, said: Comparisons, which: np.ndarray) -> bool:
    """Whether the sum of `more` over these judgements is above 0 by no more than its standard error over groups."""
    _, index = np.unique(said.group[which], return_inverse=True)
    sums = np.bincount(index, (said.weight * more)[which])
    return bool(sums.sum() <= np.sqrt((sums**2).sum()))
