"""Rank stability: which caption keeps its rank however the picture is turned.

    winner = most_stable(scores)         # scores: (4 rotations, k candidates), NaN where there is none

RS5M (Zhang et al., 2024) captions pictures taken from above, which have no upright side: of several
captions it wants the one whose rank among them varies least over the rotations. Ranks are mid-ranks
(ties share their mean), so the order of the candidates decides nothing.
"""

from __future__ import annotations

import numpy as np

ROTATIONS = (0, 90, 180, 270)  # degrees, anticlockwise


def rank_variance(scores: np.ndarray) -> np.ndarray:
    """(r, k) scores, higher is better -> (k,) population variance of each candidate's rank over the r rows.

    A candidate that has no score in some row (NaN) has none, and takes no place among the others.
    """
    variance = np.full(scores.shape[1], np.nan)
    present = ~np.isnan(scores).any(axis=0)
    if present.any():
        # Twice the mid-rank is an integer, so equal variances are equal numbers.
        twice = _twice_mid_ranks(scores[:, present])
        spread = len(twice) * (twice**2).sum(axis=0) - twice.sum(axis=0) ** 2
        variance[present] = spread / (4 * len(twice) ** 2)
    return variance


def most_stable(scores: np.ndarray, shortlist: int | None = None) -> int:
    """Index of the candidate of smallest rank variance, ties by the higher mean score, then by order; -1 if none.

    Args:
        scores: (r, k); NaN where there is no candidate.
        shortlist: only so many candidates, the best by mean score, compete, and are ranked among
            themselves: a caption that is steadily the worst is stable, too.
    """
    best = shortlisted(scores, shortlist)
    # `best` is in order of mean score, so the first of equals is the better.
    return int(best[np.argmin(rank_variance(scores[:, best]))]) if len(best) else -1


def shortlisted(scores: np.ndarray, shortlist: int | None = None) -> np.ndarray:
    """Indices of the candidates that compete, the best mean score first; all that have scores if None."""
    mean = scores.mean(axis=0)
    present = np.flatnonzero(~np.isnan(mean))
    return np.asarray(present[np.argsort(-mean[present], kind="stable")][:shortlist])


def _twice_mid_ranks(scores: np.ndarray) -> np.ndarray:
    """(r, k) -> int64 (r, k): twice the rank, from 1, of each candidate in its row; ties share their mean."""
    above = (scores[:, None, :] > scores[:, :, None]).sum(axis=2)
    equal = (scores[:, None, :] == scores[:, :, None]).sum(axis=2)
    return np.asarray(2 * above + equal + 1, dtype=np.int64)
