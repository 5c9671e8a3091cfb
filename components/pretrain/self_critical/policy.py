"""The policy: captions that are drawn or greedy, what they cost, and the loss whose gradient is REINFORCE's.

    tokens = spoken(captioner, told, seeds)              # drawn in training mode; greedy in evaluation mode without
    logits, nats = costs(captioner, told, tokens)
    loss = -((rewards - baseline) * -nats.sum(1)).mean()

Captions are drawn from the model's own distribution, temperature 1, and nothing but what is never said is barred: a
barred repeat would be no choice of the policy's, so that its gradient would not be of what was drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.models.decoding.processors import Never
from pairwright.components.models.decoding.sampling import greedy, nucleus
from pairwright.components.pretrain.self_critical.settings import Baseline

BARRED = -1e4  # a logit that no float32 softmax gives any probability, and whose difference to itself is 0


@torch.no_grad()
def spoken(model: Captioner, told: Mapping[str, Tensor], seeds: Sequence[int] = ()) -> Tensor:
    """A caption of each pair, (n, 1 + longest) int64: the start, tokens, and the end from the end on.

    Args:
        seeds: one a pair; the caption is drawn in training mode, and depends on its own seed alone. None: the
            likeliest token at each step, in evaluation mode.
    """
    mode, tokens, longest = model.training, model.tokens, model.longest
    model.train(bool(seeds))
    try:
        session, barred = model.session(told), [Never(tokens.never)] if tokens.never else []
        if seeds:
            found = nucleus(session, tokens.end, longest, barred, top_p=1.0, seeds=seeds)
        else:
            found = greedy(session, tokens.end, longest, barred)
    finally:
        model.train(mode)
    found = F.pad(found, (1, longest - found.shape[1]), value=tokens.end)
    found[:, 0] = tokens.start
    return found


def texts_of(model: Captioner, tokens: Tensor) -> list[str]:
    """What `spoken` gave as texts."""
    return [model.tokens.decode(row) for row in tokens[:, 1:].tolist()]


def costs(model: Captioner, told: Mapping[str, Tensor], tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Of captions (n, 1 + t): log-probabilities after each token (n, t, V), and nats of each token up to the end."""
    logits = model.logits(told, tokens[:, :-1]).float()
    if model.tokens.never:
        logits = logits.index_fill(-1, torch.tensor(model.tokens.never, device=logits.device), BARRED)
    logs = logits.log_softmax(-1)
    return logs, model.nats(logs, tokens)


def divergence(policy: Tensor, start: Tensor, counted: Tensor) -> Tensor:
    """sum_t KL(policy || start) over the tokens counted (n, t), exactly: of log-probabilities (n, t, V) -> (n,)."""
    each = (policy.exp() * (policy - start)).sum(-1)
    return (each * counted).sum(-1)


def advantages(rewards: Tensor, baseline: Baseline, mean: float = 0.0) -> Tensor:
    """r - b of the samples (n, K), of rewards (n, K + 1) whose last are the greedy captions'.

    Args:
        baseline: what is taken off: `greedy`, the greedy caption's (self-critical, Rennie et al., 2017); `others`, the
            mean of the pair's other samples (RLOO, Ahmadian et al., 2024; 0 at K = 1); `mean`, that of all before.
    """
    samples, count = rewards[:, :-1], rewards.shape[1] - 1
    if baseline == "greedy":
        return samples - rewards[:, -1:]
    if baseline == "others":
        return (samples - samples.mean(1, keepdim=True)) * (count / max(count - 1, 1))
    return samples - (mean if baseline == "mean" else 0.0)


def policy_loss(log_p: Tensor, advantage: Tensor) -> Tensor:
    """-(r - b) log p(caption), the mean over samples (n, K): a caption's log p is the sum over its tokens."""
    return -(advantage.detach() * log_p).mean()
