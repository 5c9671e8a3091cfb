"""Sub-captions at once, each grounded in patches, against a caption drawn a step."""

from dataclasses import replace

from benchmarks.systems.claim import Claim, Sides
from benchmarks.systems.place import IMAGE, Place, features, heads

SOURCES = ("alt", "keywords")
SHARDS = 2  # of 6: patches cost a pass of the image tower each


def measure(place: Place, seed: int) -> Sides:
    whole = place.corpus("emoji")
    some = replace(whole, shards=whole.shards[:SHARDS])
    patches = {"patches": ("patch_features", {"tower": IMAGE, "grid": 3})}
    view, test = place.view(some, features(*SOURCES) | patches), place.corpus("emoji-test")
    same = {
        "captions": dict.fromkeys(SOURCES, 0.5),
        "batch_size": 128,
        "steps": 200,
        "patch_features": "patches.vector",
    }
    items = {}
    for name, objective in {
        "grounded": {"uses": "dreamlip", "with": {"sources": SOURCES, "subcaptions": 2}},
        "ungrounded": {"uses": "dreamlip", "with": {"sources": SOURCES, "subcaptions": 2, "weight": 0}},
        "one caption": {"uses": "clip"},
    }.items():
        model = place.train("dual_encoder", heads(*SOURCES, **same, objective=objective), view, seed)
        items[name] = place.measure(model, "retrieval", test).items
    also = {f"t2i R@5, {name}": float(found["t2i_r5"].mean()) for name, found in items.items()}
    ours, baseline = items["grounded"], items["one caption"]
    return Sides(ours["t2i_r5"], baseline["t2i_r5"], ours["groups"], also)


CLAIM = Claim(
    system="dreamlip",
    paper="the parts of long captions as captions of their own, each grounded in the patches it speaks of, retrieve "
    "far better than one caption (CC3M, B/16: Flickr text retrieval 69.5 against 32.6).",
    here="heads on locked towers; an emoji's name and its keywords are its two sub-captions, its patches nine places.",
    data=f"emoji, {SHARDS} of 6 shards, judged on emoji-test, 682",
    baseline="CLIP's loss with one of the two drawn for each pair and epoch",
    metric="t2i R@5: share of captions with a right picture among the first five",
    measure=measure,
)
