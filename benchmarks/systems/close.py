"""CLOSE: a captioner of noised captions' vectors against one of the same vectors without noise."""

from __future__ import annotations

from benchmarks.systems.captions import DATA
from benchmarks.systems.claim import Claim, Sides
from benchmarks.systems.place import Place
from benchmarks.systems.text_captions import Spaced


def measure(place: Place, seed: int) -> Sides:
    tried, hits, also = Spaced(place, seed), {}, {}
    apart = (tried.vectors("pictures.vector") - tried.vectors("captions.vector")).norm(dim=1)
    also["distance of a picture from its name in the space"] = float(apart.mean())
    for w in (0.12, 0.0):
        model = tried.captioner(noise=w)
        hits[w], also[f"cosine with the name at w = {w:g}"] = tried.found(tried.captions(model))
        of_texts, _ = tried.found(tried.captions(model, "captions.vector"))
        also[f"R@5 where it is shown the name's own vector, w = {w:g}"] = float(of_texts.mean())
    return Sides(hits[0.12], hits[0.0], tried.groups, also)


CLAIM = Claim(
    system="close",
    paper="text embeddings with noise carry over to pictures: trained on captions alone it is within some 9 CIDEr of a "
    "model trained on pictures, and far above one without noise.",
    here="a captioner learns the emoji's names from their own vectors in a space that a dual encoder was taught, never "
    "seeing a picture; greedy captions of unseen emoji, with w = 0.12 and with none, search among their names, by a "
    "sentence encoder.",
    data=DATA,
    baseline="the same captioner without noise (w = 0)",
    metric="self-retrieval R@5: share of captions whose picture's own name is among the five nearest of all names",
    measure=measure,
    seeds=(0, 1, 2),
)
