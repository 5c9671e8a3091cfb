"""1-to-K against one language drawn a step."""

from typing import Any

from benchmarks.systems.claim import Claim, Sides
from benchmarks.systems.place import Place, features, heads

LANGUAGES = {"en": "alt"} | {name: f"translation@{name}" for name in ("de", "es", "fr", "ja", "zh")}


def measure(place: Place, seed: int) -> Sides:
    sources = tuple(LANGUAGES.values())
    view, test = place.view(place.corpus("emoji"), features(*sources)), place.corpus("emoji-test")
    even = {"captions": dict.fromkeys(sources, 1 / len(sources)), "batch_size": 128, "steps": 300}
    one_to_k = {"uses": "one_to_k", "with": {"texts": list(sources)}}

    def items(objective: dict[str, Any]) -> dict[str, Any]:
        said = heads(*sources, **even, objective=objective)
        model = place.train("dual_encoder", said, view, seed)
        return place.measure(model, "multilingual_retrieval", test, languages=LANGUAGES).items

    ours, baseline = items(one_to_k), items({"uses": "clip"})
    recall = [sum(float(of[f"{name}_t2i_recall"].mean()) for name in LANGUAGES) / 6 for of in (ours, baseline)]
    also = {"mean t2i recall of 1-to-K": recall[0], "of one language a step": recall[1]}
    return Sides(ours["t2i_mrv"], baseline["t2i_mrv"], ours["groups"], also)


CLAIM = Claim(
    system="one_to_k_ccrk",
    paper="a picture contrasted with its texts in all languages at once is found at more equal ranks whichever "
    "language asks (mean rank variance, MRV) than by contrasting one language at a time.",
    here="heads on locked towers, names in six languages; MiniLM reads English, so the others are hard.",
    data="emoji, 5,555 pairs in six languages, judged on emoji-test",
    baseline="CLIP's loss with one of the six languages drawn for each pair and epoch",
    metric="t2i MRV: variance over languages of the right picture's rank",
    measure=measure,
    higher_is_better=False,
)
