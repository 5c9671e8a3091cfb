"""Let's Go Shopping: what its rules keep of a shop's pages against as many pages at random."""

from __future__ import annotations

import numpy as np

from benchmarks.systems.claim import Claim, Sides
from benchmarks.systems.place import ROOT, Place, of_recipe
from benchmarks.systems.subsets import at_random, kept_by, pairs_of
from pairwright.components.dataset.ingest import ingest
from pairwright.flows.recipes import load_recipe

STEPS = (
    *("image", "exact_hash", "pdq", "image_features", "text_features", "title_text", "text"),
    *("language", "fluency", "says", "scene", "exact_duplicates", "near_duplicates"),
)
READ = {"readable": "image.readable", "described": "text.words >= 1"}  # what the baseline's pages pass
FLAWED = 0.7  # of the pages: a crawl of shops holds more such than others


def measure(place: Place, seed: int) -> Sides:
    recipe = load_recipe("lets_go_shopping")
    assert recipe.pretrain is not None
    planted = {"defect_share": FLAWED, "seed": seed}
    shop = ingest("demo-shop", str(ROOT / "data" / "raw"), str(place.folder / f"shop-{seed}"), **planted)
    view = place.view(shop, of_recipe("lets_go_shopping", STEPS))
    kept = kept_by(view, recipe.filter.keep)
    every = kept_by(view, READ)
    said, items = recipe.pretrain.with_, {}
    for who, rows in {
        "kept": kept,
        "random": at_random(every, len(kept), seed),
        "all": every,
    }.items():
        model = place.train("dual_encoder", said, view, seed, pairs_of(place, view, rows))
        items[who] = place.measure(model, "retrieval", place.corpus("test")).items
    also = {"pages kept": float(len(kept)), "pages read": float(len(every))}
    also["t2i R@10 of all pages"] = float(np.mean(items["all"]["t2i_r10"]))
    return Sides(items["kept"]["t2i_r10"], items["random"]["t2i_r10"], items["kept"]["groups"], also)


CLAIM = Claim(
    system="lets_go_shopping",
    paper="shops' pages give clean, informative and fluent pairs, 15 million of them, which other models learn from "
    "as they stand; its rules are named, not tried one by one.",
    here="a shop made of the crawl's stamps, seven pages in ten with a planted defect, another shop for every seed: "
    "heads on locked towers learn from the pages that the recipe's rules keep, at its own settings.",
    data="the crawl's stamps as product pages, some 300 read and 140 kept; judged on the stamps of test, 196",
    baseline="as many of the pages that state a picture and a description, at random, for as many steps",
    metric="t2i R@10: share of captions with a right picture among the first ten",
    measure=measure,
)
