"""SAIL-VL: stages of rising quality and falling quantity against as many steps, at the same rates, on the bulk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.systems.captions import SMALL
from benchmarks.systems.claim import Claim, Sides
from benchmarks.systems.place import Place, of_recipe
from benchmarks.systems.subsets import JUDGED, found_in_tests, kept_by, pairs_of
from pairwright.flows.recipes import load_recipe

BEFORE = ("image", "caption_text", "exact_hash", "pdq", "image_features", "tags", "colours", "fused")
AFTER = ("told", "told_text", "told_features", "near_duplicates", "align", "quality", "stages")
OCR = ("ocr", "ocr_confidence")  # half of the work, and few of these drawings hold words


def measure(place: Place, seed: int) -> Sides:
    recipe, raw = load_recipe("sail_vl"), place.corpus("raw")
    uses, fused = of_recipe("sail_vl", ["fused"])["fused"]
    seen = {**of_recipe("sail_vl", BEFORE), "fused": (uses, {k: v for k, v in fused.items() if k not in OCR})}
    captioner = place.train("captioner", SMALL | {"source": "fused", "image_dropout": 0.0}, place.view(raw, seen), seed)
    view = place.view(raw, {**seen, **of_recipe("sail_vl", AFTER, captioner=captioner)})
    rules = [{}, *({"stage": spec.data} for spec in list(recipe.train.values())[1:])]
    stages = [kept_by(view, {**recipe.filter.keep, **rule}) for rule in rules]

    def trained(rows: list[np.ndarray]) -> Path:
        """One run after the other, each from the last one's weights."""
        model: Path | None = None
        for spec, some in zip(recipe.train.values(), rows, strict=True):
            init = {} if model is None else {"init": str(model)}
            model = place.train("dual_encoder", spec.with_ | init, view, seed, pairs_of(place, view, some))
        assert model is not None
        return model

    ours, groups = found_in_tests(place, trained(stages))
    baseline, _ = found_in_tests(place, trained([stages[0]] * len(stages)))
    also = {f"pairs of stage {number}": float(len(rows)) for number, rows in enumerate(stages, start=1)}
    return Sides(ours, baseline, groups, also)


CLAIM = Claim(
    system="sail_vl",
    paper="after training on the bulk of captions that a trained captioner wrote, stages of rising quality and falling "
    "quantity tune a model better than as much data unsorted (21M, 12M, 3.5M; top average of 18 benchmarks at 2B).",
    here="a captioner learns what is known of each picture of the crawl (tags and colours fused with the alt-text) and "
    "recaptions it; heads on locked towers learn from the bulk for 300 steps and are tuned on the best 40% of its "
    "tokens for 100 and the best 10% for 50.",
    data=f"the demo corpus as it came, clip-art and stamps, 8,614 pairs; {JUDGED}",
    baseline="the same three runs, steps and rates, all on the bulk",
    metric="t2i R@5: share of captions with a right picture among the first five",
    measure=measure,
    seeds=(0, 1, 2),
)
