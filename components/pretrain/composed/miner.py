"""GeneCIS's miner (Vaze et al., 2023): triplets of pictures and a condition, from the scene graphs of captions alone.

    triplets, refused = mine(tellings, count=10_000, seed=0, concreteness=None)

A subject that at least `least` pictures tell of, with two objects or more, is drawn with chance proportional to its
pictures; reference and target tell of it with different objects; the condition is the target's relation and object; a
distractor tells of the same object. A triplet stays if its six nouns' mean concreteness (Brysbaert et al., 2014: 1 to
5) is above the threshold, an unknown noun counting -1. As in github.com/facebookresearch/genecis, but that a target
is looked for at most TRIES times, and never is the reference for want of another.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from pairwright.components.dataset.captions.scene_graph import Triple
from pairwright.components.errors import InvalidRecipe

T = TypeVar("T")
UNKNOWN = -1.0
TRIES = 100


class Telling(NamedTuple):
    """What the caption of a picture (an example's number) tells."""

    picture: int
    told: Triple


class Triplet(NamedTuple):
    """Numbers of pictures, and what leads from the reference to the target. The distractor fits the condition alone."""

    reference: int
    target: int
    distractor: int
    condition: str


def mine(
    tellings: Sequence[Telling],
    count: int,
    seed: int = 0,
    *,
    least: int = 5,
    concreteness: Mapping[str, float] | None = None,
    threshold: float = 4.8,
) -> tuple[list[Triplet], int]:
    """At most `count` triplets, and how many were refused as too abstract; [] where no subject will do.

    Args:
        concreteness: rating of nouns; None: every triplet is concrete enough.
    """
    by_subject: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    by_object: dict[str, list[int]] = defaultdict(list)
    for place, one in enumerate(tellings):
        by_subject[one.told.subject][one.told.object].append(place)
        by_object[one.told.object].append(place)
    pictures = {
        subject: len({tellings[place].picture for some in objects.values() for place in some})
        for subject, objects in by_subject.items()
    }
    subjects = sorted(s for s, n in pictures.items() if n >= least and len(by_subject[s]) >= 2)
    if not subjects:
        return [], 0
    chance = np.array([pictures[s] for s in subjects], float)
    whole = [[place for some in by_subject[s].values() for place in some] for s in subjects]
    draw = np.random.default_rng(seed)
    found, refused = [], 0
    for subject in draw.choice(len(subjects), count, p=chance / chance.sum()):
        places = _pair(tellings, by_subject[subjects[int(subject)]], whole[int(subject)], draw)
        if places is None:
            continue
        reference, target = places
        distractor = _other(tellings, target, by_object[tellings[target].told.object], draw)
        chosen = [tellings[place] for place in (reference, target, distractor)]
        if concreteness is not None and mean_concreteness([one.told for one in chosen], concreteness) <= threshold:
            refused += 1
            continue
        condition = f"{chosen[1].told.relation} {chosen[1].told.object}"
        found.append(Triplet(chosen[0].picture, chosen[1].picture, chosen[2].picture, condition))
    return found, refused


def _pair(
    tellings: Sequence[Telling], objects: Mapping[str, list[int]], places: Sequence[int], draw: np.random.Generator
) -> tuple[int, int] | None:
    """Places of a reference, and of a target with another object in another picture; None if none was met."""
    reference = _any(places, draw)
    names = list(objects)
    for _ in range(TRIES):
        target = _any(objects[_any(names, draw)], draw)
        one, other = tellings[reference], tellings[target]
        if one.told.object != other.told.object and one.picture != other.picture:
            return reference, target
    return None


def _other(tellings: Sequence[Telling], target: int, places: Sequence[int], draw: np.random.Generator) -> int:
    """A place that tells of the target's object in another picture; the target where there is no such."""
    if all(tellings[place].picture == tellings[target].picture for place in places):
        return target
    while tellings[place := _any(places, draw)].picture == tellings[target].picture:
        continue
    return place


def _any(values: Sequence[T], draw: np.random.Generator) -> T:
    return values[int(draw.integers(len(values)))]


def mean_concreteness(told: Sequence[Triple], concreteness: Mapping[str, float]) -> float:
    """Over the subjects and objects; an unknown noun counts UNKNOWN, a plural as its singular."""

    def rating(noun: str) -> float:
        return concreteness.get(noun, concreteness.get(noun.removesuffix("s"), UNKNOWN))

    return float(np.mean([rating(noun) for one in told for noun in (one.subject, one.object)]))


def read_concreteness(path: str | Path) -> dict[str, float]:
    """Ratings by word of a table with a column `Word` and one `Conc.M`, as Brysbaert et al. publish it, tabs between.

    Raises:
        InvalidRecipe: it cannot be read, or has no such columns.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as stream:
            table = csv.DictReader(stream, delimiter="\t")
            return {row["Word"].lower(): float(row["Conc.M"]) for row in table}
    except (OSError, KeyError, ValueError, AttributeError, TypeError) as error:
        raise InvalidRecipe(f"{path} is no table of Word and Conc.M with tabs between ({error!r})") from None
