"""Damage: captions made worse in a known way, to teach a reward and to test a selector.

    captions, mask = plant(captions, "swapped", 0.4, np.random.default_rng(0), categories=categories)
    worse = damaged(Texts(captions, groups=groups), "truncated", rows, rng)       # None: cannot be

A damaged text never equals its original, nor the caption of any pair of the same group, without
regard to case and punctuation: a "wrong" caption that is right would punish whoever sees so.

    swapped           another pair's caption
    swapped_within    another pair's of the same category
    truncated         the first fifth to three fifths of the words
    object_replaced   the head noun gives way to one from another caption, of the same category if it can
    file_name         a camera's file name, or the caption's own words as one
    boilerplate       what a site says instead of a caption
    duplicated        one of few captions of the population, under very many pictures
    wrong_language    a translation of the same caption
    unrelated_fluent  a good English sentence about something else
    shuffled          the same words in another order
    repeated          the caption over and over
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from components.dataset import damage_phrases
from components.dataset.nouns import head_noun, with_noun
from components.errors import InvalidRecipe, nearest

Made = list[str | None]
ROWS_A_DUPLICATE = 50  # pairs that share one duplicated caption
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
                    found[key, _plural(noun.text)][noun.text.lower()] = None
        return {key: list(nouns) for key, nouns in found.items()}


def plain(text: str) -> str:
    """A text without case, accents' form, punctuation and doubled space: equal ones say the same."""
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def damaged(texts: Texts, kind: str, rows: Sequence[int] | np.ndarray, rng: np.random.Generator) -> Made:
    """A damaged caption for each of these pairs; None where this kind is impossible for it.

    Raises:
        InvalidRecipe: no such kind, or it needs categories or translations that were not given.
    """
    if kind not in KERNELS:
        raise InvalidRecipe(f'no kind of damage is called "{kind}"{nearest(kind, KERNELS)}')
    if kind == "swapped_within" and texts.categories is None:
        raise InvalidRecipe("damage swapped_within needs categories; give them, or use swapped")
    if kind == "wrong_language" and texts.translations is None:
        raise InvalidRecipe("damage wrong_language needs translations; give them, or use another kind")
    index = [int(row) for row in rows]
    made = KERNELS[kind](texts, index, rng)
    return [text if text is not None and _differs(texts, row, text) else None for row, text in zip(index, made)]


def plant(
    captions: Sequence[str | None],
    kind: str,
    rate: float,
    rng: np.random.Generator,
    categories: Sequence[str | None] | None = None,
    translations: Sequence[Sequence[str]] | None = None,
    groups: Sequence[int] | np.ndarray | None = None,
) -> tuple[list[str | None], np.ndarray]:
    """Captions of which a share `rate` (of those that are not empty) is damaged, and which: (n,) bool.

    Swaps permute the damaged pairs' own captions, so no caption is lost or doubled but at the edges.
    Where too few pairs can be damaged this way, fewer are; the mask tells.

    Raises:
        InvalidRecipe: an unknown kind, a rate outside [0, 1], or a kind that lacks what it needs.
    """
    if not 0 <= rate <= 1:
        raise InvalidRecipe(f"a damage rate is a share in [0, 1], not {rate}; correct it")
    texts = Texts(captions, categories, translations, groups)
    order = rng.permutation(texts.rows())
    wanted = round(rate * len(order))
    out, mask = list(captions), np.zeros(len(captions), dtype=bool)
    while wanted and len(order):
        rows, order = order[:wanted], order[wanted:]
        for row, text in zip(rows, damaged(texts, kind, rows, rng), strict=True):
            if text is not None:
                out[row], mask[row] = text, True
                wanted -= 1
    return out, mask


def _differs(texts: Texts, row: int, text: str) -> bool:
    said = plain(text)
    if said == texts.plain[row] or not said:
        return False
    return said not in texts.texts_of[texts.labels[row]]


def _swapped(texts: Texts, rows: list[int], rng: np.random.Generator) -> Made:
    return _exchanged(texts, [row for row in rows if texts.plain[row]], rows, rng)


def _swapped_within(texts: Texts, rows: list[int], rng: np.random.Generator) -> Made:
    assert texts.categories is not None
    places: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        category = texts.categories[row]
        if category is not None and texts.plain[row]:
            places[category].append(row)
    given: dict[int, str | None] = {}
    for members in places.values():
        given |= dict(zip(members, _exchanged(texts, members, members, rng), strict=True))
    return [given.get(row) for row in rows]


def _exchanged(texts: Texts, donors: list[int], rows: list[int], rng: np.random.Generator) -> Made:
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


def _truncated(texts: Texts, rows: list[int], rng: np.random.Generator) -> Made:
    def cut(text: str) -> str:
        words, share = text.split(), float(rng.uniform(0.2, 0.6))
        if len(words) < 2:
            return text[: max(1, int(len(text) * share))]
        return " ".join(words[: min(len(words) - 1, max(1, int(len(words) * share)))]).rstrip(" ,.;:")

    return [cut(text) if (text := texts.captions[row]) else None for row in rows]


def _object_replaced(texts: Texts, rows: list[int], rng: np.random.Generator) -> Made:
    return [_replace(texts, row, rng) for row in rows]


def _replace(texts: Texts, row: int, rng: np.random.Generator) -> str | None:
    text = texts.captions[row] or ""
    noun = head_noun(text)
    if noun is None:
        return None
    category = texts.categories[row] if texts.categories is not None else None
    own = set(texts.plain[row].split())
    for key in (category, None):
        others = [word for word in texts.heads.get((key, _plural(noun.text)), ()) if plain(word) not in own]
        if others:
            return with_noun(text, noun, others[int(rng.integers(len(others)))])
    return None


def _plural(word: str) -> bool:
    return word.lower().endswith("s") and not word.lower().endswith(("ss", "us", "is"))


def _file_name(texts: Texts, rows: list[int], rng: np.random.Generator) -> Made:
    def name(row: int) -> str | None:
        words = texts.plain[row].split()
        if not words:
            return None
        if rng.random() < 0.5:
            return damage_phrases.camera_name(rng)
        joiner = "_-"[int(rng.integers(2))]
        return f"{joiner.join(words[:5])}{joiner}{int(rng.integers(1, 100)):02d}.jpg"

    return [name(row) for row in rows]


def _boilerplate(texts: Texts, rows: list[int], rng: np.random.Generator) -> Made:
    return [damage_phrases.boilerplate(rng) for _ in rows]


def _duplicated(texts: Texts, rows: list[int], rng: np.random.Generator) -> Made:
    donors = rng.permutation(texts.rows())[: max(2, -(-len(rows) // ROWS_A_DUPLICATE))]

    def donated(row: int) -> str | None:
        fitting = [int(d) for d in donors if not texts.alike(row, int(d))]
        return texts.captions[fitting[int(rng.integers(len(fitting)))]] if fitting else None

    return [donated(row) for row in rows]


def _wrong_language(texts: Texts, rows: list[int], rng: np.random.Generator) -> Made:
    assert texts.translations is not None
    made: Made = []
    for row in rows:
        others = [text for text in texts.translations[row] if _differs(texts, row, text)]
        made.append(others[int(rng.integers(len(others)))] if others else None)
    return made


def _unrelated_fluent(texts: Texts, rows: list[int], rng: np.random.Generator) -> Made:
    return [damage_phrases.fluent(rng) for _ in rows]


def _shuffled(texts: Texts, rows: list[int], rng: np.random.Generator) -> Made:
    def mixed(row: int) -> str | None:
        words = (texts.captions[row] or "").split()
        for _ in range(10):
            other = [words[i] for i in rng.permutation(len(words))]
            if plain(" ".join(other)) != texts.plain[row]:
                return " ".join(other)
        return None

    return [mixed(row) for row in rows]


def _repeated(texts: Texts, rows: list[int], rng: np.random.Generator) -> Made:
    return [" ".join([text] * int(rng.integers(3, 6))) if (text := texts.captions[row]) else None for row in rows]


KERNELS: dict[str, Callable[[Texts, list[int], np.random.Generator], Made]] = {
    "swapped": _swapped,
    "swapped_within": _swapped_within,
    "truncated": _truncated,
    "object_replaced": _object_replaced,
    "file_name": _file_name,
    "boilerplate": _boilerplate,
    "duplicated": _duplicated,
    "wrong_language": _wrong_language,
    "unrelated_fluent": _unrelated_fluent,
    "shuffled": _shuffled,
    "repeated": _repeated,
}
KINDS = tuple(KERNELS)
