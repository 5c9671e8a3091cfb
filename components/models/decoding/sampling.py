"""One token after another: the likeliest, or one drawn from the nucleus."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pairwright.components.models.decoding.processors import Processor, processed
from pairwright.components.models.decoding.session import Session

Choose = Callable[[Tensor, int], Tensor]  # scores (n, vocabulary) at a time -> tokens (n,)


def greedy(session: Session, end: int, longest: int, processors: Sequence[Processor] = ()) -> Tensor:
    """The likeliest token at each step: (n, at most `longest`) int64, the end's token from the end on."""
    return _one_by_one(session, end, longest, processors, lambda scores, _: scores.argmax(1))


def nucleus(
    session: Session,
    end: int,
    longest: int,
    processors: Sequence[Processor] = (),
    *,
    top_p: float = 0.9,
    temperature: float = 1.0,
    seeds: Sequence[int] = (),
) -> Tensor:
    """Drawn from the fewest tokens that hold `top_p` of the probability (Holtzman et al., 2020); shape as of `greedy`.

    Args:
        seeds: one a row; what is drawn for a row depends on its own alone, whatever stands beside it.
    """
    noise = [torch.rand(longest, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    uniform = torch.stack(noise) if noise else torch.rand(session.size, longest)

    def choose(scores: Tensor, time: int) -> Tensor:
        return in_nucleus(scores / temperature, top_p, uniform[:, time].to(scores.device))

    return _one_by_one(session, end, longest, processors, choose)


def in_nucleus(scores: Tensor, top_p: float, uniform: Tensor) -> Tensor:
    """The token of the nucleus in which `uniform` (n,), in [0, 1), falls; (n, vocabulary) scores -> (n,)."""
    probability, token = scores.softmax(-1).sort(dim=-1, descending=True, stable=True)
    before = probability.cumsum(-1) - probability
    kept = torch.where(before < top_p, probability, 0.0)  # the first is always in
    kept[:, 0] = probability[:, 0]
    reached = kept.cumsum(-1)
    at = (reached <= uniform[:, None] * reached[:, -1:]).sum(-1)
    last = (kept > 0).sum(-1) - 1
    return token.gather(1, torch.minimum(at, last)[:, None])[:, 0]


def _one_by_one(session: Session, end: int, longest: int, processors: Sequence[Processor], choose: Choose) -> Tensor:
    said: Tensor | None = None
    for time in range(longest):
        logits = session.logits()
        if said is None:
            rows = torch.arange(session.size, device=logits.device)
            said = torch.zeros((session.size, 0), dtype=torch.int64, device=logits.device)
            ended = torch.zeros_like(rows, dtype=torch.bool)
        scores = processed(logits, said, rows, processors) if processors else logits  # either choice is of any scale
        last = torch.where(ended, end, choose(scores, time))
        said, ended = torch.cat([said, last[:, None]], dim=1), ended | (last == end)
        if bool(ended.all()):
            break
        session.append(last)
    assert said is not None
    return said
