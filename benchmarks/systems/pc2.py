"""PC2 against the plain triplet where two captions in five are another's."""

from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.systems.claim import Claim, Sides
from benchmarks.systems.place import IMAGE, TEXT, Place, features, heads
from pairwright.components.dataset.shards.columns import ColumnsView, StepColumns

MOVED = 0.4


def with_moved_captions(view: ColumnsView, seed: int) -> tuple[ColumnsView, np.ndarray]:
    """Beside `text_alt.vector` a column `moved.vector`, in which two of five texts are another's; which are right."""
    vectors, draw = view.column("text_alt.vector"), np.random.default_rng(seed)
    order = np.arange(view.rows)
    some = draw.choice(view.rows, int(MOVED * view.rows), replace=False)
    order[some] = order[np.roll(some, 1)]
    step, start = StepColumns("moved_captions", f"moved-{MOVED}-{seed}"), 0
    taken = vectors.take(pa.array(order))
    for shard in view.dataset.shards:
        view.store.write(step, shard.digest, {"vector": taken.slice(start, shard.rows)}, shard.rows)
        start += shard.rows
    return ColumnsView(view.dataset, view.store, {**view.steps, "moved": step}), order == np.arange(view.rows)


def measure(place: Place, seed: int) -> Sides:
    whole, test = place.view(place.corpus("emoji"), features("alt")), place.corpus("emoji-test")
    view, _ = with_moved_captions(whole, seed)
    common: dict[str, Any] = {"batch_size": 128, "steps": 500, "clip_norm": 2.0}
    noisy = {"text_features": {"alt": "moved.vector"}}
    said = {"image_tower": IMAGE, "text_tower": TEXT, "text_features": "moved.vector", "lr": 1e-3, "warmup_steps": 20}
    triplet = {"uses": "dbl", "with": {"anchor": "frozen", "weight": 0.0}}
    wishes = {
        "PC2": ("pc2", common | said),
        "PC2 that borrows nothing": ("pc2", common | said | {"borrow": 0.0}),
        "the triplet": ("dual_encoder", heads("alt", **common, **noisy, objective=triplet)),
        "CLIP's loss": ("dual_encoder", heads("alt", **common, **noisy)),
    }
    items = {
        who: place.measure(place.train(task, wish, view, seed), "retrieval", test).items
        for who, (task, wish) in wishes.items()
    }
    also = {f"t2i R@1 of {who}": float(of["t2i_r1"].mean()) for who, of in items.items()}
    return Sides(items["PC2"]["t2i_r1"], items["the triplet"]["t2i_r1"], items["PC2"]["groups"], also)


CLAIM = Claim(
    system="pc2",
    paper="from noisy pairs two nets that tell each other which are clean, and have noisy pictures borrow captions, "
    "retrieve better than losses that trust every pair.",
    here="projections on locked towers; two captions of five are exchanged, another draw for each seed. Beside it: "
    "what the borrowed captions are worth, and CLIP's loss.",
    data="emoji, 5,555 pairs of which 40% have another's name, judged on emoji-test, 682",
    baseline="the hardest-negative triplet loss on all pairs, as many steps",
    metric="t2i R@1: share of captions whose first picture is a right one",
    measure=measure,
    seeds=(0, 1, 2),
)
