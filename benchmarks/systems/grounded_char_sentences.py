"""The sum of a cyclic training's snapshots against one training of as many steps."""

from typing import Any

from benchmarks.systems.claim import Claim, Sides
from benchmarks.systems.place import IMAGE, Place, features

STEPS = 160


def measure(place: Place, seed: int) -> Sides:
    view, test = place.view(place.corpus("emoji"), features()), place.corpus("emoji-test")
    same: dict[str, Any] = {
        "image_tower": IMAGE,
        "text_tower": "builtin:characters",
        "trainable": "text",
        "objective": "hinge",
        "steps": STEPS,
        "batch_size": 64,
        "lr": 2e-3,
        "warmup_steps": 10,
        "weight_decay": 0.0,
        "final_lr": 0.01,
    }
    ours = place.train("snapshot_ensemble", same | {"schedule": "cyclic", "cycles": 4}, view, seed)
    baseline = place.train("dual_encoder", same, view, seed)
    items = [place.measure(model, "retrieval", test).items for model in (ours, baseline)]
    also = {}
    for who, model in (("the sum", ours), ("one", baseline)):
        probed = place.measure(model, "caption_pairs", test, first="alt", second="keywords").items["nearer"]
        also[f"name nearer to its own keywords, {who} (chance 0.5)"] = float(probed.mean())
    return Sides(items[0]["t2i_r5"], items[1]["t2i_r5"], items[0]["groups"], also)


CLAIM = Claim(
    system="grounded_char_sentences",
    paper="characters and pictures alone, without a word known beforehand, teach sentence vectors on a par with those "
    "that know words, and summing the embeddings of a cyclic training's snapshots helps.",
    here="characters by a GRU with attention for every dimension, against locked picture features, by the hinge; the "
    f"sum of four snapshots of {STEPS} steps.",
    data="emoji, 5,555 pairs, judged on emoji-test, 682",
    baseline="the same tower, loss and number of steps, the rate falling once, its last weights",
    metric="t2i R@5: share of captions with a right picture among the first five",
    measure=measure,
    seeds=(0, 1, 2),
)
