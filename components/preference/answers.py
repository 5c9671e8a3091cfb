"""An answer: how one labeller ranked one picture's captions, and the judgements it implies.

    {"tiers": {"preference": [[2], [0, 1]]}, "rejected": [3], "flags": {"object": [1]}, "picture": null}

says that caption 2 is best, 0 and 1 are as good as each other, 3 is no caption of this picture, and 1
names a wrong object. Captions are numbered as the item stores them, whatever order the page showed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

from pairwright.components.dataset.judgements import HUMAN
from pairwright.components.errors import PairwrightError
from pairwright.components.preference.candidates import Candidate
from pairwright.components.preference.criteria import Criteria

REJECTED = "rejected"


class BadAnswer(PairwrightError):
    """An answer that does not fit its item; nothing of it was kept."""


@dataclass(frozen=True)
class Answer:
    """Captions by number. `tiers`: criterion -> places, best first, each a tie of one or more captions.

    A picture that is `rejected` (unusable, whatever the captions) carries no ranking.
    """

    tiers: Mapping[str, tuple[tuple[int, ...], ...]]
    rejected: tuple[int, ...] = ()
    flags: Mapping[str, tuple[int, ...]] | None = None
    picture: str | None = None
    seconds: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "tiers": {name: [list(tier) for tier in tiers] for name, tiers in self.tiers.items()},
            "rejected": list(self.rejected),
            "flags": {name: list(which) for name, which in (self.flags or {}).items()},
            "picture": self.picture,
            "seconds": self.seconds,
        }

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Answer:
        return cls(
            {name: tuple(tuple(tier) for tier in tiers) for name, tiers in said["tiers"].items()},
            tuple(said["rejected"]),
            {name: tuple(which) for name, which in said["flags"].items()},
            said["picture"],
            said["seconds"],
        )


def checked_answer(said: Mapping[str, Any], order: Sequence[int], criteria: Criteria) -> Answer:
    """What the page sent, its positions (in the order shown) turned into caption numbers.

    Raises:
        BadAnswer: a caption is missing or placed twice, a criterion is unknown or unanswered.
    """
    if said.get("picture") not in (None, REJECTED):
        raise BadAnswer(f'picture is {said["picture"]!r}; send "{REJECTED}" or null')
    seconds = said.get("seconds")
    if seconds is not None and not (isinstance(seconds, (int, float)) and not isinstance(seconds, bool)):
        raise BadAnswer("seconds is no number; send how long the answer took, or null")
    if said.get("picture") == REJECTED:
        return Answer({}, picture=REJECTED, seconds=seconds, flags={})
    rejected = _numbers(said.get("rejected", []), order, "rejected")
    rankings, asked = said.get("rankings"), [one.name for one in criteria.asked]
    if not isinstance(rankings, Mapping) or sorted(rankings) != sorted(asked):
        raise BadAnswer(f"rankings must hold {', '.join(asked)} and nothing else")
    tiers = {name: _tiers(rankings[name], rejected, order, name) for name in asked}
    flags = said.get("flags") or {}
    known = {flag.name for flag in criteria.flags}
    if not isinstance(flags, Mapping) or not set(flags) <= known:
        raise BadAnswer(f"flags must be among {', '.join(sorted(known))}")
    marked = {name: _numbers(flags[name], order, f"flags.{name}") for name in sorted(flags)}
    return Answer(tiers, rejected, {n: w for n, w in marked.items() if w}, None, seconds)


def _tiers(ranking: Any, rejected: Sequence[int], order: Sequence[int], name: str) -> tuple[tuple[int, ...], ...]:
    if not isinstance(ranking, Sequence) or isinstance(ranking, str):
        raise BadAnswer(f"{name}: a ranking is a list of places, best first")
    tiers = tuple(_numbers(tier, order, name) for tier in ranking)
    placed = [number for tier in tiers for number in tier] + list(rejected)
    if sorted(placed) != sorted(order) or not all(tiers):
        raise BadAnswer(f"{name}: every caption must stand on one place, or be rejected")
    return tiers


def _numbers(positions: Any, order: Sequence[int], name: str) -> tuple[int, ...]:
    if not isinstance(positions, Sequence) or isinstance(positions, str):
        raise BadAnswer(f"{name}: captions are given as a list of their positions")
    for position in positions:
        if not isinstance(position, int) or isinstance(position, bool) or not 0 <= position < len(order):
            raise BadAnswer(f"{name}: there is no caption {position!r}; positions are 0 to {len(order) - 1}")
    if len(set(positions)) != len(positions):
        raise BadAnswer(f"{name}: a caption is named twice")
    return tuple(sorted(order[position] for position in positions))


def implied_judgements(candidates: Sequence[Candidate], answer: Answer, by: str) -> list[dict[str, Any]]:
    """Every pairwise judgement (components/dataset/judgements.py) an answer implies, in a fixed order.

    A place beats every later place and whatever was rejected; captions on one place tie; two rejected
    captions are not compared. Under a flag's name, an unmarked caption beats a marked one.
    """

    def judged(a: int, b: int, kind: str, tie: bool = False) -> dict[str, Any]:
        better, worse = candidates[a], candidates[b]
        return {
            "better": better.text,
            "worse": worse.text,
            "tie": tie,
            "better_source": better.source,
            "worse_source": worse.source,
            "kind": kind,
            "by": by,
            "origin": HUMAN,
        }

    found = []
    for kind, tiers in answer.tiers.items():
        for tier in tiers:
            found += [judged(a, b, kind, tie=True) for a, b in combinations(tier, 2)]
        places = [*tiers, answer.rejected]
        for above, below in combinations(places, 2):
            found += [judged(a, b, kind) for a, b in product(above, below)]
    for flag, marked in (answer.flags or {}).items():
        sound = [number for number in range(len(candidates)) if number not in marked]
        found += [judged(a, b, flag) for a, b in product(sound, marked)]
    return found


def places(answer: Answer, kind: str, count: int) -> list[float] | None:
    """Each caption's place under a criterion, 1 the best, ties sharing their mean place; None if it was not ranked."""
    if kind not in answer.tiers:
        return None
    found, before = [0.0] * count, 0
    for tier in (*answer.tiers[kind], answer.rejected):
        for number in tier:
            found[number] = before + (len(tier) + 1) / 2
        before += len(tier)
    return found
