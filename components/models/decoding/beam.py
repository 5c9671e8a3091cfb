"""Beam search, and diverse beam search: groups of beams that are drawn away from what earlier groups say.

    found = beam_search(session, end, longest=16, width=6, groups=3, diversity=0.5)
    found.tokens      # (n, 6, t): group by group, each group's best first

Vijayakumar et al., 2018, "Diverse beam search", with Hamming diversity: at its time t a token of group g loses
lambda times the number of beams in earlier groups that say it at t, the end included (said once, where it is said).
The penalty stays in the running score, which ranks a group's beams; the unpenalised sum is kept apart. Of G = 1 it is
plain beam search. No length is normalised unless asked for. A beam that ended keeps its place and its score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pairwright.components.models.decoding.processors import Processor, processed
from pairwright.components.models.decoding.session import Session

Schedule = Literal["staggered", "lock_step", "in_turn"]


@dataclass(frozen=True)
class Beams:
    """What was found, `width` texts an example, group by group.

    Attributes:
        tokens: (n, width, t) int64, the end's token from the end on.
        log_probability: (n, width), of the texts after processors, without any diversity penalty.
        ranking: (n, width), what ranked each within its group: with the penalty, and with length where asked for.

    Where processors leave a group fewer texts than beams, its best stands in the places left over, at -inf.
    """

    tokens: Tensor
    log_probability: Tensor
    ranking: Tensor


class Group:
    """`width` beams of each of n examples, and the session that goes on from them."""

    def __init__(self, session: Session, width: int, device: torch.device) -> None:
        self.examples, self.width = session.size, width
        self.rows = torch.arange(session.size, device=device).repeat_interleave(width)  # example of each beam
        self.session = session.select(self.rows)
        self.said = torch.zeros((len(self.rows), 0), dtype=torch.int64, device=device)
        self.log_probability = torch.full((session.size, width), -torch.inf, device=device)
        self.log_probability[:, 0] = 0  # all begin alike, so that one of them does
        self.running = self.log_probability.clone()

    def ended(self, end: int) -> Tensor:
        """(n * width,) bool."""
        return (self.said == end).any(1)

    def said_at(self, time: int, end: int, vocabulary: int) -> Tensor:
        """How many beams of each example say each token at this time, (n, vocabulary)."""
        counts = torch.zeros((self.examples, vocabulary), device=self.said.device)
        if time >= self.said.shape[1]:
            return counts
        still = ~(self.said[:, :time] == end).any(1)
        tokens = self.said[:, time].view(self.examples, self.width)
        return counts.scatter_add(1, tokens, still.view(self.examples, self.width).float())

    def step(self, scores: Tensor, penalty: Tensor, end: int) -> None:
        """One token more: log-probabilities (n * width, vocabulary), less `penalty` (n, vocabulary) in the ranking."""
        vocabulary, ended = scores.shape[1], self.ended(end)
        carried = torch.full_like(scores[0], -torch.inf)
        carried[end] = 0
        scores = torch.where(ended[:, None], carried, scores)
        lost = torch.where(ended[:, None], 0, penalty.repeat_interleave(self.width, dim=0))
        total = self.running.view(-1, 1) + scores - lost
        self.running, at = total.view(self.examples, -1).topk(self.width, dim=1)
        parents = (at // vocabulary + self.width * torch.arange(self.examples, device=at.device)[:, None]).flatten()
        tokens = (at % vocabulary).flatten()
        plain = self.log_probability.view(-1)[parents] + scores[parents, tokens]
        self.log_probability = plain.view(self.examples, self.width)
        self.said = torch.cat([self.said[parents], tokens[:, None]], dim=1)
        if self.width > 1:
            self.session = self.session.select(parents)
        self.session.append(tokens)


@torch.no_grad()
def beam_search(
    session: Session,
    end: int,
    longest: int,
    width: int,
    processors: Sequence[Processor] = (),
    *,
    groups: int = 1,
    diversity: float = 0.5,
    length_power: float = 0.0,
    schedule: Schedule = "staggered",
) -> Beams:
    """The best of `width` beams in `groups` equal groups; exactly width / groups texts a group.

    Args:
        diversity: lambda >= 0; at 0 all groups find the same.
        length_power: texts are ranked at last by score / tokens ** length_power, the end counted.
        schedule: `staggered`, as published: group g runs g - 1 steps late, so that it counts earlier groups' beams as
            they stood that many steps later; `lock_step`, as later re-implementations have it; `in_turn`, one group
            after another. With a beam a group all three find the same.

    Raises:
        ValueError: width is no multiple of groups, or there are fewer tokens than beams a group.
    """
    if width < 1 or width % groups:
        raise ValueError(f"{width} beams cannot be shared equally by {groups} groups")
    first = session.logits()
    if first.shape[1] < width // groups:
        raise ValueError(f"{width // groups} beams a group, and only {first.shape[1]} tokens to begin with")
    each = [Group(session, width // groups, first.device) for _ in range(groups)]
    for number, time in places(groups, longest, schedule):
        group = each[number]
        if time and bool(group.ended(end).all()):
            continue
        scores = processed(group.session.logits(), group.said, group.rows, processors)
        penalty = torch.zeros((group.examples, scores.shape[1]), device=scores.device)
        for earlier in each[:number]:
            penalty += diversity * earlier.said_at(time, end, scores.shape[1])
        group.step(scores, penalty, end)
    return _found(each, end, length_power)


def places(groups: int, longest: int, schedule: Schedule) -> Iterator[tuple[int, int]]:
    """(group, its time) in the order in which they are stepped."""
    if schedule == "in_turn":
        yield from ((group, time) for group in range(groups) for time in range(longest))
        return
    late = schedule == "staggered"
    for now in range(longest + (groups - 1 if late else 0)):
        for group in range(groups):
            time = now - group if late else now
            if 0 <= time < longest:
                yield group, time


def _found(each: Sequence[Group], end: int, length_power: float) -> Beams:
    length = max(group.said.shape[1] for group in each)
    tokens, plain, ranking = [], [], []
    for group in each:
        missing = (0, length - group.said.shape[1])
        said = torch.nn.functional.pad(group.said, missing, value=end).view(group.examples, group.width, -1)
        tokens_said = (said != end).sum(-1) + 1
        ranked, order = (group.running / tokens_said**length_power).sort(dim=1, descending=True, stable=True)
        best_first = said.gather(1, order[:, :, None].expand_as(said))
        tokens.append(torch.where(ranked.isinf()[:, :, None], best_first[:, :1], best_first))
        plain.append(group.log_probability.gather(1, order))
        ranking.append(ranked)
    return Beams(torch.cat(tokens, 1), torch.cat(plain, 1), torch.cat(ranking, 1))
