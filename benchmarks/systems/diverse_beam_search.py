"""Six beams in three groups against six beams in one."""

from __future__ import annotations

import numpy as np

from benchmarks.systems.captions import DATA, Captioned
from benchmarks.systems.claim import Claim, Sides
from benchmarks.systems.place import Place

BEAMS = 6


def distinct(texts: list[str]) -> float:
    """Different words of a picture's captions over all their words (distinct-1; Li et al., 2016)."""
    words = [word for text in texts for word in text.split()]
    return len(set(words)) / len(words)


def measure(place: Place, seed: int) -> Sides:
    tried, found, also = Captioned(place, seed), [], {}
    for who, groups in (("diverse", 3), ("plain", 1)):
        captions = tried.captions(search="beam", beams=BEAMS, groups=groups, diversity=0.5)
        found.append(np.array([distinct(texts) for texts in captions]))
        near = np.stack(
            [
                tried.cosines([texts[beam] for texts in captions]).gather(1, tried.own)[:, 0].numpy()
                for beam in range(BEAMS)
            ]
        )
        also[f"cosine with the name, {who}"] = float(near.mean())
        also[f"cosine of the best of six, {who}"] = float(near.max(0).mean())
    return Sides(found[0], found[1], tried.groups, also)


CLAIM = Claim(
    system="diverse_beam_search",
    paper="beams in groups that are drawn apart say more different things than plain beams, and the best of them is "
    "better (more distinct n-grams, higher oracle scores).",
    here="six captions of each unseen emoji by one captioner: three groups of two beams, lambda 0.5, or six beams.",
    data=DATA,
    baseline="plain beam search, six beams, the same model",
    metric="distinct-1: different words of a picture's six captions over all their words",
    measure=measure,
    seeds=(0, 1, 2),
)
