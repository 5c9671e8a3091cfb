"""Short synthetic captions mixed half with alt-text against those captions alone, at equal steps."""

from __future__ import annotations

from typing import Any

from benchmarks.systems.claim import Claim, Sides
from benchmarks.systems.place import TEXT, Place, features, heads

SEEN = {"tags": "tags.tags", "probabilities": "tags.probabilities", "colours": "colours.names"}
EXPERTS: dict[str, tuple[str, dict[str, Any]]] = {
    "tags": ("imagenet_tags", {"features": "image_features.vector"}),
    "colours": ("colours", {}),
    "short": ("caption_format", {"format": "short", **SEEN}),
    "text_short": ("text_features", {"tower": TEXT, "source": "short"}),
}
SHARES = (0.25, 0.5, 0.75)


def measure(place: Place, seed: int) -> Sides:
    view, test = place.view(place.corpus("raw"), features("alt") | EXPERTS), place.corpus("test")

    def items(share: float) -> dict[str, Any]:
        captions = {source: w for source, w in (("alt", share), ("short", 1 - share)) if w}
        model = place.train("dual_encoder", heads("alt", "short", captions=captions, mix="cycle"), view, seed)
        return dict(place.measure(model, "retrieval", test).items)

    found = {share: items(share) for share in (0.0, *SHARES, 1.0)}
    also = {f"t2i R@5 at {share:.0%} alt-text": float(of["t2i_r5"].mean()) for share, of in found.items()}
    return Sides(found[0.5]["t2i_r5"], found[0.0]["t2i_r5"], found[0.5]["groups"], also)


CLAIM = Claim(
    system="revisit_captions",
    paper="synthetic captions do not replace alt-text: CLIP does best on 40 to 50% short ones mixed with it.",
    here="heads on locked towers learn from short captions (rules on ImageNet tags), alone and mixed with alt-text, "
    "the share held exactly by turns, at equal steps.",
    data="the demo corpus as it came, clip-art and stamps, judged on the clean stamps of test",
    baseline="the short captions alone (no alt-text)",
    metric="t2i R@5: share of captions with a right picture among the first five",
    measure=measure,
)
