"""NoC: a captioner of the crawl that is told how well each caption fits, asked at the top, against one not told."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.systems.captions import SMALL, Judged
from benchmarks.systems.claim import Claim, Sides
from benchmarks.systems.place import Place, features, of_recipe
from benchmarks.systems.subsets import JUDGED, TESTS
from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.models.captioner.folder import load_captioner
from pairwright.components.models.decoding.settings import Decoding

STEPS = (
    *("image", "caption_text", "exact_hash", "pdq", "image_features", "text_features"),
    *("near_duplicates", "align", "level"),
)
PLAIN = SMALL | {"image_dropout": 0.0}
LEVELS = 8


class Pictures(Judged):
    """A test split's pictures, their captions held against its names."""

    def __init__(self, place: Place, name: str) -> None:
        view = place.view(place.corpus(name), features("alt"))
        self.images = torch.from_numpy(view.numpy("image_features.vector").astype(np.float32))
        self.of = name
        super().__init__(view)

    def retrieved(self, model: Captioner, level: int | None) -> np.ndarray:
        """Hits (n,) of greedy captions asked for at this level."""
        told = {"image": self.images} | ({} if level is None else {"control": torch.full((len(self.own),), level)})
        texts = [some[0] for some in model.generate(told, Decoding.parse({"least": 1}, "claim"))]
        return self.found(texts)[0]


def measure(place: Place, seed: int) -> Sides:
    view = place.view(place.corpus("raw"), of_recipe("noc", STEPS))
    tests = [Pictures(place, name) for name in TESTS]

    def hits(settings: dict[str, Any], level: int | None = None) -> np.ndarray:
        model = load_captioner(place.train("captioner", PLAIN | settings, view, seed))
        return np.concatenate([test.retrieved(model, level) for test in tests])

    control = {"control": "level.bin", "control_levels": LEVELS}
    ours, baseline = hits(control, LEVELS), hits({})
    also = {f"R@5 at level {level}": float(hits(control, level).mean()) for level in (6, 4, 1)}
    first = len(tests[0].own)
    for who, some in (("NoC", ours), ("no control", baseline)):
        also |= {f"of stamps, {who}": float(some[:first].mean()), f"of emoji, {who}": float(some[first:].mean())}
    groups = [f"{test.of}/{group}" for test in tests for group in test.groups]
    return Sides(ours, baseline, groups, also)


CLAIM = Claim(
    system="noc",
    paper="told how well each pair fits, a captioner learns from all of a noisy crawl and, asked for the top level, "
    "says captions that fit better than those of one that is not told, or of one trained on the filtered rest; no "
    "table was read.",
    here="a captioner learns the crawl's alt-texts from locked features, with each pair's cross-fitted cosine as one "
    "of 8 levels, and is asked at the 8th; greedy captions of unseen pictures search among their names, by a "
    "sentence encoder.",
    data=f"the demo corpus as it came, clip-art and stamps, 8,614 pairs; {JUDGED}",
    baseline="the same captioner of the same pairs, told no level",
    metric="self-retrieval R@5: share of captions whose picture's own name is among the five nearest of all names",
    measure=measure,
    seeds=(0, 1, 2),
)
