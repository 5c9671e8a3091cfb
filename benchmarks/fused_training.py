"""Do fused captions teach better than the alt-text they are made of? Dual encoders on both, at equal steps and seeds.

    python -m benchmarks.fused_training                      # both corpora; writes the lines in docs/recaption.md
    python -m benchmarks.fused_training --place DIR --no-write

Declared before the run: t2i R@5, heads on locked towers as every claim of docs/systems.md has them, five seeds, fused
captions alone against alt-text alone. On composed scenes the alt-text is the name of one thing and boxes are the truth,
so that what is tried is the fusion and the colours, not a detector; judged are scenes of other things in other
sentences. On the demo corpus it is fused by rules with what offline experts see, ImageNet tags and colours; judged are
the clean stamps of `test`. Intervals are over seeds and groups of items together.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import ROOT, machine_facts
from benchmarks.systems.claim import CONFIDENCE, Sides, difference
from benchmarks.systems.place import TEXT, Place, Steps, features, heads
from benchmarks.systems.scene_facts import labels_of
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.pairs import caption_of
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.pretrain.reward.evidence import captions_of
from pairwright.components.recaption.captioners.fuse import FuseSettings

SEEDS = range(5)
SHARED = ROOT / "workspace" / "benchmarks" / "systems"
PAGE = ROOT / "docs" / "recaption.md"
BEGIN, END = "<!-- what fused captions teach -->", "<!-- end of what fused captions teach -->"
SEEN_BY_TAGS: Steps = {
    "tags": ("imagenet_tags", {"features": "image_features.vector"}),
    "colours": ("colours", {}),
    "fused": (
        "fuse",
        {"source": "alt", "tags": "tags.tags", "probabilities": "tags.probabilities", "colours": "colours.names"},
    ),
}
SEEN_IN_BOXES: Steps = {
    "boxes": ("regions", {}),
    "painted": ("region_colours", {"boxes": "boxes.boxes"}),
    "named": ("label_caption", {"template": "{subject}"}),
    "fused": (
        "fuse",
        {
            "source": "named",
            "spare_sources": [],
            "labels": "boxes.labels",
            "label_scores": "boxes.scores",
            "attributes": "painted.names",
        },
    ),
}


def corpora(place: Place) -> dict[str, tuple[Dataset, Dataset, str, Steps]]:
    """Name -> what is learnt from, what is judged on, the source of the alt-text, the steps that fuse it."""
    scenes, other_scenes = place.scenes()
    return {
        "composed scenes, true boxes": (scenes, other_scenes, "named", SEEN_IN_BOXES),
        "demo corpus, tags and colours": (place.corpus("raw"), place.corpus("test"), "alt", SEEN_BY_TAGS),
    }


def found_on(place: Place, learnt: Dataset, judged: Dataset, alt: str, steps: Steps) -> dict[str, Any]:
    """Figures of one corpus."""
    texts = {f"text_{one}": ("text_features", {"tower": TEXT, "source": one}) for one in (alt, "fused")}
    view = place.view(learnt, {**features(), **steps, **texts})
    sides = []
    for seed in SEEDS:
        fused, plain = (
            place.measure(place.train("dual_encoder", heads(source), view, seed), "retrieval", judged).items
            for source in ("fused", alt)
        )
        sides.append(Sides(np.asarray(fused["t2i_r5"]), np.asarray(plain["t2i_r5"]), list(fused["groups"])))
    gain = difference(sides)
    low, high = gain.interval(CONFIDENCE)
    return {
        "fused": float(np.mean([one.ours.mean() for one in sides])),
        "alt": float(np.mean([one.baseline.mean() for one in sides])),
        "gain": [gain.value, low, high],
        "could_have_seen": gain.detectable(CONFIDENCE),
        "items": len(sides[0].ours),
        "groups": gain.groups,
        **added(view, alt),
    }


def added(view: ColumnsView, alt: str) -> dict[str, float]:
    """Share of the captions that fusion changed, and the words it added to each of those."""
    pairs = [(a, f) for a, f in zip(captions_of(view, alt), captions_of(view, "fused"), strict=True) if a and f]
    more = [len(fused.split()) - len(plain.split()) for plain, fused in pairs if fused != plain]
    return {"changed": len(more) / max(len(pairs), 1), "words_added": float(np.mean(more)) if more else 0.0}


def seen_by_experts(place: Place) -> dict[str, float]:
    """What the offline experts add to the demo corpus, and how often their classes are right where truth is known."""
    least, shares, right = FuseSettings().min_probability, {}, []
    clean = [
        caption_of(row["captions"], "alt") or ""
        for _, table in place.corpus("test").iter_sidecars()
        for row in table.to_pylist()
    ]
    scenes, crawl = place.scenes()[0], place.corpus("raw")
    for dataset in (scenes, crawl):
        view = place.view(dataset, {**features(), **SEEN_BY_TAGS})
        tags, probabilities = (view.column(f"tags.{one}").to_pylist() for one in ("tags", "probabilities"))
        sure = [[t for t, p in zip(a or [], b or [], strict=True) if p >= least] for a, b in zip(tags, probabilities)]
        shares["with_class"] = float(np.mean([bool(some) for some in sure]))
        colours = view.column("colours.names").to_pylist()
        shares["with_colour"] = float(np.mean([bool(some) for some in colours]))
        if dataset is scenes:
            rows = [row for _, table in scenes.iter_sidecars(["labels"]) for row in table.to_pylist()]
            for labels, some in zip(map(labels_of, rows), sure, strict=True):
                there = set(f"{labels['subject']} {labels['object']}".lower().split())
                right += [bool(there & set(tag.lower().replace(",", " ").split())) for tag in some]
    known = {colour for some in colours for colour in some or []}
    shares["told"] = float(np.mean([bool(known & set(re.findall(r"\w+", text.lower()))) for text in clean if text]))
    return shares | {"classes": len(right), "right": float(np.mean(right))}


def why(seen: dict[str, float]) -> str:
    return (
        f"On composed scenes the alt-text names one thing and the boxes are true. To the demo corpus the offline "
        f"experts add colours ({seen['with_colour']:.0%} of the captions; {seen['told']:.0%} of its clean ones tell "
        f"one) and ImageNet's classes ({seen['with_class']:.0%}). Of classes that are as sure of composed scenes "
        f"({seen['classes']:.0f}), {seen['right']:.0%} share a word with a thing that is there. A detector that knows "
        f"the pictures is a folder in the recipe."
    )


def lines(found: dict[str, dict[str, Any]], machine: dict[str, Any]) -> str:
    """The table in Markdown, and what it comes to."""
    rows = [
        "| corpus | captions changed | words added | fused | alt-text | gain, 95% | items, groups |",
        "| --- | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    for name, one in found.items():
        gain, low, high = one["gain"]
        rows.append(
            f"| {name} | {one['changed']:.0%} | {one['words_added']:.1f} | {one['fused']:.3f} | {one['alt']:.3f} "
            f"| {gain:+.3f} [{low:+.3f}, {high:+.3f}] | {one['items']}, {one['groups']} |"
        )
    told = [f"{name}: {verdict(one)}." for name, one in found.items()]
    where = f"{machine['cpus']} cores of {machine['cpu']}, commit {machine['commit']}"
    return "\n".join([*rows, "", f"t2i R@5, {len(SEEDS)} seeds; {where}. " + " ".join(told)])


def verdict(one: dict[str, Any]) -> str:
    """In words that go no further than the interval."""
    _, low, high = one["gain"]
    if low > 0:
        return "fused captions teach better"
    if high < 0:
        return "fused captions teach worse"
    return f"the two are not told apart (a difference of {one['could_have_seen']:.3f} would have been seen)"


def write(text: str, page: Path) -> None:
    """Put the lines between the page's marks."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--place", default=str(SHARED), help="of corpora, columns and models, shared with the claims")
    parser.add_argument("--no-write", action="store_true", help="print, and leave docs/ as it is")
    wish = parser.parse_args()
    place = Place(wish.place)
    found = {name: found_on(place, *those) for name, those in corpora(place).items()}
    text = f"{lines(found, machine_facts(('torch', 'numpy')))}\n\n{why(seen_by_experts(place))}"
    print(text)
    if not wish.no_write:
        write(text, PAGE)


if __name__ == "__main__":
    main()
