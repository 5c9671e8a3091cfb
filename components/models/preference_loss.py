"""Preference losses: how rewards explain which of two captions was preferred, or that neither was.

Bradley & Terry (1952): P(i > j) = sigmoid(d), d = r_i - r_j, so the loss of a preference is
-log sigmoid(r+ - r-), as reward models are fitted (Stiennon et al., 2020; Compress & Align, 2023).

Ties by Davidson (1970), whose worth is pi = exp r:

    P(i > j) = e^(d/2) / Z,   P(tie) = nu / Z,   P(j > i) = e^(-d/2) / Z,   Z = e^(d/2) + e^(-d/2) + nu

At nu = 0 it is Bradley-Terry; at d = 0 a preference's gradient on r+ is -1/2 for every nu. Shared by
the reward model and by captioners tuned by a reward.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def preference_loss(
    better: Tensor,
    worse: Tensor,
    tie: Tensor | None = None,
    *,
    log_nu: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Negative log-likelihood of each judgement: rewards (n,), (n,) -> (n,).

    Args:
        tie: bool (n,), where neither was preferred; no ties if None.
        log_nu: log of Davidson's nu, how willing the judges are to tie; Bradley-Terry if None, where a tie
            counts as half a preference each way (Rao & Kupper's remark on ignoring ties).
        smoothing: in [0, 0.5), share of preferences taken to be the wrong way round by mistake.
    """
    difference = better - worse
    if log_nu is None:
        forward, backward = -F.logsigmoid(difference), -F.logsigmoid(-difference)
        tied = (forward + backward) / 2
    else:
        half = difference / 2
        log_z = torch.logsumexp(torch.stack([half, -half, log_nu.expand_as(half)]), dim=0)
        forward, backward, tied = log_z - half, log_z + half, log_z - log_nu
    preferred = (1 - smoothing) * forward + smoothing * backward if smoothing else forward
    return preferred if tie is None else torch.where(tie, tied, preferred)


def preference_probability(better: Tensor, worse: Tensor) -> Tensor:
    """P(the first is preferred | one of the two is): rewards (n,), (n,) -> (n,).

    Given that it is no tie, Davidson's model is e^(d/2) / (e^(d/2) + e^(-d/2)): Bradley-Terry again.
    """
    return torch.sigmoid(better - worse)
