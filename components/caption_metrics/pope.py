"""POPE-style probing (Li et al., 2023): is this thing in the picture, of things that are and as many that are not.

    asked = probes(there, mode="adversarial", count=2, seed=0)     # Probe(picture, thing, there)
    answered(asked, said)                                          # accuracy, precision, recall, F1, share of yes

What is not there is drawn `random`ly among all things; or are the `popular` ones, most often there in other pictures;
or the `adversarial` ones, most often together with what is there. "Style" because a captioner is not put a question:
that its caption names the thing is its yes, or that it finds "there is a ..." likelier than not. A captioner that
assents to all has accuracy 1/2 and a share of yes of 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Mode = Literal["random", "popular", "adversarial"]
MODES: tuple[Mode, ...] = ("random", "popular", "adversarial")


@dataclass(frozen=True)
class Probe:
    """Is this thing in that picture, and is it."""

    picture: int
    thing: str
    there: bool


@dataclass(frozen=True)
class Answers:
    """Shares of the answers; precision and F1 are 0 where nothing is assented to."""

    accuracy: float
    precision: float
    recall: float
    f1: float
    yes: float


def probes(there: Sequence[Collection[str]], mode: Mode, count: int = 3, seed: int = 0) -> list[Probe]:
    """Up to `count` things of each picture and as many that are not in it, yes and no balanced in each picture.

    Args:
        there: the things in each picture; all of them together are those that are asked about.
    """
    often = Counter(thing for some in there for thing in sorted(set(some)))
    together: dict[str, Counter[str]] = {thing: Counter() for thing in often}
    for some in there:
        for thing in set(some):
            together[thing].update(set(some) - {thing})
    found = []
    for picture, some in enumerate(there):
        draw = np.random.default_rng([seed, picture])
        absent = [thing for thing in often if thing not in set(some)]
        order = [absent[int(i)] for i in draw.permutation(len(absent))]  # equals in order of chance
        if mode == "popular":
            order.sort(key=lambda thing: -often[thing])
        elif mode == "adversarial":
            order.sort(key=lambda thing: -sum(together[one][thing] for one in set(some)))
        own = sorted(set(some))
        own = [own[int(i)] for i in draw.permutation(len(own))]
        asked = min(count, len(own), len(order))
        found += [Probe(picture, thing, True) for thing in own[:asked]]
        found += [Probe(picture, thing, False) for thing in order[:asked]]
    return found


def answered(asked: Sequence[Probe], said: Sequence[bool] | np.ndarray, weight: np.ndarray | None = None) -> Answers:
    """What yes and no come to, each probe counted `weight` times.

    Raises:
        ValueError: nothing was asked, or there are more answers than probes.
    """
    if not len(asked) or len(asked) != len(said):
        raise ValueError(f"{len(said)} answers to {len(asked)} probes")
    times = np.ones(len(asked)) if weight is None else np.asarray(weight, np.float64)
    true, yes = np.array([one.there for one in asked]), np.asarray(said, bool)
    hits, assented, positive = (float(times @ one) for one in (true & yes, yes, true))
    total = float(times.sum())
    precision, recall = (hits / one if one else 0.0 for one in (assented, positive))
    f1 = 2 * hits / (assented + positive) if assented + positive else 0.0
    return Answers(float(times @ (true == yes)) / total, precision, recall, f1, assented / total)
