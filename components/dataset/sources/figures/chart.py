"""A chart before it is drawn, and charts of how a dataset's labels fall: each is true of that dataset.

charts_of(open_dataset("data/emoji"))     # Chart("bar", "animal-mammal", "style", (("noto", 64), ...)), ...
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.pairs import caption_of

KINDS = ("bar", "line")
MOST_VALUES = 150  # of a label: one with more names each pair, and is nothing to count by
BARS = 5  # values shown at most, the commonest
FEWEST = 3
INITIAL = "initial"  # the first letter of a caption, which every dataset has


@dataclass(frozen=True)
class Chart:
    """How many pictures of one kind there are, by a label.

    Attributes:
        of: what is counted, a label's value. by: the name of the label it is counted by.
        values: (value, how many), the commonest first.
    """

    kind: str
    of: str
    by: str
    values: tuple[tuple[str, int], ...]

    @property
    def title(self) -> str:
        return f"{self.of} pictures"

    @property
    def top(self) -> tuple[str, int]:
        return self.values[0]

    @property
    def least(self) -> tuple[str, int]:
        return self.values[-1]

    @property
    def numbers(self) -> list[int]:
        return [count for _, count in self.values]


def charts_of(dataset: Dataset) -> Iterator[Chart]:
    """Every chart of one label's value by another label, in order; bars and lines by turns."""
    facts = [_facts(row) for _, table in dataset.iter_sidecars() for row in table.to_pylist() if not row["error"]]
    values: dict[str, set[str]] = {}
    for row in facts:
        for name, value in row.items():
            values.setdefault(name, set()).add(value)
    countable = sorted(name for name, some in values.items() if 1 < len(some) <= MOST_VALUES)
    kinds = itertools.cycle(KINDS)
    for name, by in itertools.permutations(countable, 2):
        if name == INITIAL:
            continue
        for value in sorted(values[name]):
            counts = Counter(row[by] for row in facts if row.get(name) == value and by in row)
            common = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
            # One value of each count, so that which is first and which last is never in doubt.
            shown = [one for at, one in enumerate(common) if not at or one[1] < common[at - 1][1]][:BARS]
            if len(shown) >= FEWEST:
                yield Chart(next(kinds), _plain(value), _plain(by), tuple((_plain(one), n) for one, n in shown))


def _facts(row: dict) -> dict[str, str]:
    facts = {one["name"]: one["value"] for one in row["labels"] or () if one["value"].isascii()}
    said = (caption_of(row["captions"], "alt") or "").strip()
    return facts | ({INITIAL: said[0].upper()} if said[:1].isascii() and said[:1].isalpha() else {})


def _plain(text: str) -> str:
    """A label's value as words: no number in it, so that every number of a figure is a count."""
    return " ".join("".join(letter if letter.isalpha() else " " for letter in text).split()) or "other"
