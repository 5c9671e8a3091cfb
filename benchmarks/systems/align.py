"""Four times as many noisy pairs against clean ones."""

from benchmarks.systems.claim import Claim, Sides
from benchmarks.systems.place import Place, features, heads


def measure(place: Place, seed: int) -> Sides:
    view, test = place.view(place.corpus("emoji"), features("alt", "keywords")), place.corpus("emoji-test")
    said = {"objective": "align", "batch_size": 128, "steps": 300}
    every = [(shard.digest, row) for shard in view.dataset.shards for row in range(shard.rows)]
    ours = place.train("dual_encoder", heads("keywords", **said), view, seed, place.pairs(every))
    baseline = place.train("dual_encoder", heads("alt", **said), view, seed, place.pairs(every[seed % 4 :: 4]))
    items = [place.measure(model, "retrieval", test).items for model in (ours, baseline)]
    return Sides(items[0]["t2i_r5"], items[1]["t2i_r5"], items[0]["groups"])


CLAIM = Claim(
    system="align",
    paper="scale makes up for noise: of noisy pairs twice as many are not enough, four times as many teach more "
    "than clean ones (12M against CC3M's 3M: COCO image-to-text R@1 23.8 against 18.9).",
    here="heads on locked towers by ALIGN's loss: all pairs with their loose keywords, against a quarter of them with "
    "their clean names, asked by clean names.",
    data="emoji, 5,555 pairs with keywords, 1,389 with names; judged on emoji-test, 682",
    baseline="a quarter of the pairs, clean, for as many steps",
    metric="t2i R@5: share of captions with a right picture among the first five",
    measure=measure,
)
