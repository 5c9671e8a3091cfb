"""One model that captions and retrieves, against one that learns to retrieve alone."""

from __future__ import annotations

from typing import Any

from benchmarks.systems.claim import Claim, Sides
from benchmarks.systems.place import IMAGE, Place, features

SMALL: dict[str, Any] = {
    "image_tower": IMAGE,
    "image_features": "image_features.vector",
    "source": "alt",
    "visual": 1,
    "steps": 400,
    "batch_size": 128,
    "lr": 1e-3,
    "warmup_steps": 20,
}


def measure(place: Place, seed: int) -> Sides:
    view, test = place.view(place.corpus("emoji"), features("alt")), place.corpus("emoji-test")
    said = {"sources": ["alt", "keywords"], "longest": 128, "steps": 600, "batch_size": 128}
    language_model = str(place.train("language_model", said, view, seed))
    both = place.train("rs_capret", SMALL | {"decoder": language_model}, view, seed)
    alone = {"decoder": language_model, "captioning": 0.0, "retrieval_text": 0.0}
    retriever = place.train("rs_capret", SMALL | alone, view, seed)
    ours, baseline = (place.measure(model, "retrieval", test).items for model in (both, retriever))
    also = {f"t2i R@1 of {who}": float(of["t2i_r1"].mean()) for who, of in (("both", ours), ("retrieval", baseline))}
    return Sides(ours["t2i_r5"], baseline["t2i_r5"], ours["groups"], also)


CLAIM = Claim(
    system="rs_capret",
    paper="one frozen language model captions and retrieves, state of the art or competitive in both.",
    here="a small language model learnt from the emoji's names and keywords, then frozen; three matrices and [RET] "
    "learn to caption and to retrieve at once, or to retrieve alone.",
    data="emoji, 5,555 pairs, judged on emoji-test, 682",
    baseline="the same model with the contrast as its only loss, as many steps",
    metric="t2i R@5: share of captions one of whose first five pictures is a right one",
    measure=measure,
    seeds=(0, 1, 2),
    says="not worse",
    margin=0.05,
)
