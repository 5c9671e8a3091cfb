"""DBL against the same triplet loss without its boost."""

from benchmarks.systems.claim import Claim, Sides
from benchmarks.systems.place import Place, features, heads


def measure(place: Place, seed: int) -> Sides:
    view, test = place.view(place.corpus("emoji"), features("alt")), place.corpus("emoji-test")
    sides = []
    for weight in (1.0, 0.0):
        objective = {"uses": "dbl", "with": {"anchor": "branch", "boost": "absolute", "margin": 0.2, "weight": weight}}
        said = heads("alt", objective=objective, batch_size=128, clip_norm=2.0, steps=300)
        sides.append(place.measure(place.train("dual_encoder", said, view, seed), "retrieval", test).items)
    ours, baseline = sides
    also = {f"i2t R@1 of {who}": float(of["i2t_r1"].mean()) for who, of in (("DBL", ours), ("the triplet", baseline))}
    return Sides(ours["t2i_r1"], baseline["t2i_r1"], ours["groups"], also)


CLAIM = Claim(
    system="dbl",
    paper="a target branch that must beat an anchor branch by a margin retrieves better than the loss it is added "
    "to, whichever that is.",
    here="heads on locked towers learn from the hardest-negative triplet loss with and without the boost (anchor "
    "branch, absolute margin, weight 1).",
    data="emoji, 5,555 pairs, judged on emoji-test, 682",
    baseline="the triplet loss alone (the boost's weight 0)",
    metric="t2i R@1: share of captions whose first picture is a right one",
    measure=measure,
)
