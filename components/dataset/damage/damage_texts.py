"""A population's captions as damage sees them: who may lend whom what, and when two texts say the same."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pairwright.components.dataset.captions.nouns import head_noun

Made = list[str | None]
REPAIRS = 50  # rounds in which a random permutation may mend its fixed points
_SPACE = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Texts:
    """A population's captions and what is known of its pairs, one entry a pair.

    Attributes:
        captions: None or "" where there is none; such a pair is neither damaged nor a donor.
        categories: for kinds that stay within one; None where it is unknown.
        translations: the same caption in other languages.
        groups: integers; pairs of one group (near-duplicates, variants) never lend each other captions.
    """

    captions: Sequence[str | None]
    categories: Sequence[str | None] | None = None
    translations: Sequence[Sequence[str]] | None = None
    groups: Sequence[int] | np.ndarray | None = None

    @cached_property
    def plain(self) -> list[str]:
        return [plain(text or "") for text in self.captions]

    @cached_property
    def labels(self) -> list[int]:
        """The group of each pair; its own number where groups are not given."""
        return list(range(len(self.captions))) if self.groups is None else [int(g) for g in self.groups]

    @cached_property
    def texts_of(self) -> dict[int, set[str]]:
        """Group -> the normalised captions of its pairs."""
        found: dict[int, set[str]] = defaultdict(set)
        for label, text in zip(self.labels, self.plain, strict=True):
            found[label].add(text)
        return found

    def take(self, rows: Sequence[int]) -> Texts:
        """These pairs alone; what they lend each other stays among them."""

        def pick(values: Sequence[Any] | None) -> list[Any] | None:
            return None if values is None else [values[row] for row in rows]

        labels = [self.labels[row] for row in rows]
        return Texts([self.captions[row] for row in rows], pick(self.categories), pick(self.translations), labels)

    def alike(self, one: int, other: int) -> bool:
        """Whether the second's caption may be true of the first's picture."""
        return self.labels[one] == self.labels[other] or self.plain[other] in self.texts_of[self.labels[one]]

    def rows(self) -> np.ndarray:
        """The pairs that have a caption with a letter or a digit."""
        return np.array([i for i, text in enumerate(self.plain) if text], dtype=np.int64)

    @cached_property
    def heads(self) -> dict[tuple[str | None, bool], list[str]]:
        """(category, plural) -> the captions' distinct head nouns; category None holds them all."""
        found: dict[tuple[str | None, bool], dict[str, None]] = defaultdict(dict)
        for i in self.rows():
            noun = head_noun(self.captions[i] or "")
            if noun is not None:
                category = self.categories[i] if self.categories is not None else None
                for key in {category, None}:
                    found[key, plural(noun.text)][noun.text.lower()] = None
        return {key: list(nouns) for key, nouns in found.items()}


def plain(text: str) -> str:
    """A text without case, accents' form, punctuation and doubled space: equal ones say the same."""
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def differs(texts: Texts, row: int, text: str) -> bool:
    said = plain(text)
    if said == texts.plain[row] or not said:
        return False
    return said not in texts.texts_of[texts.labels[row]]


def exchanged(texts: Texts, donors: list[int], rows: list[int], rng: np.random.Generator) -> Made:
    """A random permutation of the donors' captions without fixed points, where the groups allow one."""
    donor = [int(i) for i in rng.permutation(donors)]
    row_of = list(donors)
    for _ in range(REPAIRS):
        wrong = [i for i, (row, other) in enumerate(zip(row_of, donor)) if texts.alike(row, other)]
        if not wrong:
            break
        for i in wrong:
            j = int(rng.integers(len(donor)))
            # Only an exchange that leaves neither worse: so it ends, and spreads no conflict.
            if not texts.alike(row_of[i], donor[j]) and not texts.alike(row_of[j], donor[i]):
                donor[i], donor[j] = donor[j], donor[i]
    given = {row: None if texts.alike(row, d) else texts.captions[d] for row, d in zip(row_of, donor)}
    return [given.get(row) for row in rows]


def plural(word: str) -> bool:
    return word.lower().endswith("s") and not word.lower().endswith(("ss", "us", "is"))


Kernel = Callable[[Texts, list[int], np.random.Generator], Made]
