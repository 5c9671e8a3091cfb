"""TL;DR: a quarter of the crawl, sampled by clusters of codes and complemented, against a random quarter of it."""

from __future__ import annotations

import numpy as np

from benchmarks.systems.claim import Claim, Sides
from benchmarks.systems.place import Place, heads, of_recipe
from benchmarks.systems.subsets import JUDGED, at_random, found_in_tests, kept_by, pairs_of
from pairwright.flows.recipes import load_recipe

BEFORE = (
    *("image", "caption_text", "exact_hash", "pdq", "image_features", "text_features"),
    *("near_duplicates", "align", "align_rank"),
)
AFTER = ("codes", "clusters", "sample", "generated", "refined", "refined_features")


def measure(place: Place, seed: int) -> Sides:
    recipe, raw = load_recipe("tldr"), place.corpus("raw")
    scored = of_recipe("tldr", BEFORE)
    codebook = place.train("codebook", recipe.filter.fit["codebook"].with_, place.view(raw, scored), seed)
    view = place.view(raw, {**scored, **of_recipe("tldr", AFTER, codebook=codebook)})
    usable = {name: rule for name, rule in recipe.filter.keep.items() if name != "representative"}
    every, sample = kept_by(view, usable), kept_by(view, recipe.filter.keep)
    drawn = at_random(every, len(sample), seed)

    def taught(rows: np.ndarray, source: str) -> tuple[np.ndarray, np.ndarray]:
        columns = {"alt": "text_features.vector", "refined": "refined_features.vector"}
        said = heads(source, text_features={source: columns[source]})
        return found_in_tests(place, place.train("dual_encoder", said, view, seed, pairs_of(place, view, rows)))

    (ours, groups), (baseline, _) = taught(sample, "refined"), taught(drawn, "alt")
    also = {"pairs of each": float(len(sample)), "usable pairs": float(len(every))}
    for who, rows, source in (
        ("the sample, captions as they came", sample, "alt"),
        ("the random quarter, complemented", drawn, "refined"),
        ("all usable pairs", every, "alt"),
    ):
        also[f"t2i R@5 of {who}"] = float(taught(rows, source)[0].mean())
    return Sides(ours, baseline, groups, also)


CLAIM = Claim(
    system="tldr",
    paper="a quarter of the pairs, sampled from clusters of learnt codes, weak captions complemented by a generated "
    "one, teaches as well as all of them or better (CC3M: 2.82M to 0.67M).",
    here="a codebook learnt by captioning clusters the crawl's usable pairs; heads on locked towers learn from a "
    "quarter of every cluster, the weakest three in ten captions complemented by the codebook's captioner.",
    data=f"the demo corpus as it came, clip-art and stamps, 8,614 pairs; {JUDGED}",
    baseline="as many of the usable pairs at random, captions as they came, for as many steps",
    metric="t2i R@5: share of captions with a right picture among the first five",
    measure=measure,
    seeds=(0, 1, 2),
)
