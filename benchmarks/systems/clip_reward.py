"""CLIP-S with the grammar term against CLIP-S alone: how much captions repeat themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.systems.captions import DATA, SMALL
from benchmarks.systems.claim import Claim, Sides
from benchmarks.systems.discritune import Asked
from benchmarks.systems.place import TEXT, Place, features, heads
from pairwright.components.models.captioner.folder import load_captioner

TUNED: dict[str, Any] = {"samples": 5, "steps": 200, "batch_size": 64, "lr": 1e-4, "source": "alt", "stop": {}}


def repeated_words(captions: list[str]) -> np.ndarray:
    """Of each caption the share of its words that it said before."""
    return np.array([1 - len(set(text.split())) / max(len(text.split()), 1) for text in captions])


def measure(place: Place, seed: int) -> Sides:
    view = place.view(place.corpus("emoji"), features("alt"))
    start = place.train("captioner", SMALL, view, seed)
    retriever = place.train("dual_encoder", heads("alt"), view, seed)
    head = place.train("grammar_head", {"source": "alt", "tower": TEXT, "steps": 200}, view, seed)
    clip_s = {"uses": "clip_s", "with": {"model": str(retriever)}}
    grammar = {"uses": "grammar", "with": {"model": str(head)}}
    asked, repeats, also = Asked(place, seed, view), {}, {}
    for name, more in (
        ("alone", {"rewards": [clip_s]}),
        ("with grammar", {"rewards": [clip_s, grammar], "weighting": "paper"}),
    ):
        tuned = place.train("self_critical", TUNED | more | {"init": str(start)}, view, seed)
        captions = asked.captions(load_captioner(tuned))
        repeats[name] = repeated_words(captions)
        also[f"R@1 among 100 by another retriever, {name}"] = float(asked.found(captions).mean())
        also[f"words, {name}"] = float(np.mean([len(text.split()) for text in captions]))
    before = asked.captions(load_captioner(start))
    also["R@1 among 100 by another retriever, start"] = float(asked.found(before).mean())
    also["repeated words, start"] = float(repeated_words(before).mean())
    return Sides(repeats["with grammar"], repeats["alone"], asked.groups, also)


CLAIM = Claim(
    system="clip_reward",
    paper="CLIP-S alone makes captions repeat words; the grammar term, which needs no reference, mends that.",
    here="a captioner of the emoji's names is tuned for CLIP-S by a retriever of the same pairs, with and without "
    "twice the probability of a grammar head on MiniLM's features; greedy captions of unseen emoji.",
    data=DATA,
    baseline="CLIP-S alone, at equal steps",
    metric="repeated words: share of a caption's words that it said before",
    measure=measure,
    seeds=(0, 1, 2),
    higher_is_better=False,
)
