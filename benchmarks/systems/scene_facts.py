"""What a caption says of a composed scene that is not so: things that are not there, and colours that are another's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pairwright.components.dataset.sources.scenes.grammar import plural
from pairwright.components.dataset.sources.scenes.scene import COLOURS, PARTS

REACH = 3  # words before a thing's name that may be its own
OTHERS = frozenset(
    ("a", "an", "the", "two", "three", "of", "above", "below", "under", "on", "is", "are", "with", "and")
)


class Told(NamedTuple):
    """Facts of a caption (a thing, or its colour), how many are false, and how many of the scene's it tells."""

    facts: int
    false: int
    true: int

    @property
    def hallucinated(self) -> float:
        """Share of its facts that are false, 0 where it tells none (CHAIR_i of Rohrbach et al., 2018, with colours)."""
        return self.false / max(self.facts, 1)


class Names:
    """Finds things of these names in captions, in one or in several."""

    def __init__(self, names: Iterable[str]) -> None:
        self.of = {form: name for name in names for form in (plural(name), name)}
        longest = sorted(self.of, key=lambda form: -len(form))
        self.pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, longest))})\b", re.IGNORECASE)

    def told(self, caption: str, labels: Mapping[str, str]) -> Told:
        """Of a caption of the scene with these labels."""
        colour_of = {labels[part]: labels[f"{part}_colour"] for part in PARTS}
        facts, false, true = 0, 0, set()
        for mention in self.pattern.finditer(caption):
            thing = self.of[mention.group().lower()]
            facts += 1
            if thing not in colour_of:
                false += 1
                continue
            true.add((thing, ""))
            for colour in COLOURS.keys() & _before(caption[: mention.start()]):
                facts += 1
                false += colour != colour_of[thing]
                true |= {(thing, colour)} if colour == colour_of[thing] else set()
        return Told(facts, false, len(true))


def _before(text: str) -> set[str]:
    words: set[str] = set()
    for word in reversed(re.findall(r"\w+", text.lower())[-REACH:]):
        if word in OTHERS:
            break
        words.add(word)
    return words


def labels_of(row: Mapping[str, Any]) -> dict[str, str]:
    """A sidecar row's labels by name."""
    return {one["name"]: one["value"] for one in row["labels"]}
