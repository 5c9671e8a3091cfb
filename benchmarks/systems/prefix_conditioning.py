"""A learnt token before prompts and one before captions, against none."""

from benchmarks.systems.claim import Claim, Sides
from benchmarks.systems.place import IMAGE, Place, features

KINDS = {"noto": "class", "openmoji": "class", "twemoji": "caption", "fluent": "caption"}


def measure(place: Place, seed: int) -> Sides:
    view, test = place.view(place.corpus("emoji"), features()), place.corpus("emoji-test")
    sides = []
    for prefix in (1, 0):
        said = {
            "image_tower": IMAGE,
            "text_tower": "builtin:tiny-text",
            "prefix": prefix,
            "kind": "style",
            "kinds": KINDS,
            "label": "subgroup",
            "objective": "unicl",
            "steps": 120,
            "batch_size": 64,
            "lr": 2e-3,
        }
        model = place.train("prefix_conditioning", said, view, seed)
        sides.append({name: place.measure(model, name, test, **more).items for name, more in ASKED.items()})
    ours, baseline = sides
    also = {
        f"t2i R@5 of names, {who}": float(of["retrieval"]["t2i_r5"].mean())
        for who, of in (("with the token", ours), ("without", baseline))
    }
    return Sides(ours["zero_shot"]["accuracy"], baseline["zero_shot"]["accuracy"], ours["zero_shot"]["groups"], also)


ASKED = {"zero_shot": {"label": "subgroup"}, "retrieval": {}}

CLAIM = Claim(
    system="prefix_conditioning",
    paper="told by a learnt token which of two kinds of data a text is of, one model learns from labels and captions "
    "together and names classes better zero-shot than one that is not told (prompts read after the captions' token).",
    here="two artists' emoji with their subgroup in prompts, two artists' with their names; UniCL, batches of one "
    "artist, a small text tower from nothing on locked picture features.",
    data="emoji, 5,555 pairs, judged on emoji-test, 682",
    baseline="the same without a token",
    metric="zero-shot accuracy: share of pictures whose subgroup comes first",
    measure=measure,
)
