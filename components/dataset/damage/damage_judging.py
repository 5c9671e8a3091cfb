"""The kinds of damage that judge: what a selector or a reward is tested with, and nothing learns from.

swapped           another pair's caption
swapped_within    another pair's of the same category
truncated         the first fifth to three fifths of the words
boilerplate       what a site says instead of a caption
duplicated        one of few captions of the population, under very many pictures
wrong_language    a translation of the same caption
unrelated_fluent  a good English sentence about something else
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from pairwright.components.dataset.damage import damage_phrases
from pairwright.components.dataset.damage.damage_texts import Kernel, Made, Texts, differs, exchanged

ROWS_A_DUPLICATE = 50  # pairs that share one duplicated caption


def _swapped(texts: Texts, rows: list[int], rng: np.random.Generator) -> Made:
    return exchanged(texts, [row for row in rows if texts.plain[row]], rows, rng)


def _swapped_within(texts: Texts, rows: list[int], rng: np.random.Generator) -> Made:
    assert texts.categories is not None
    places: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        category = texts.categories[row]
        if category is not None and texts.plain[row]:
            places[category].append(row)
    given: dict[int, str | None] = {}
    for members in places.values():
        given |= dict(zip(members, exchanged(texts, members, members, rng), strict=True))
    return [given.get(row) for row in rows]


def _truncated(texts: Texts, rows: list[int], rng: np.random.Generator) -> Made:
    def cut(text: str) -> str:
        words, share = text.split(), float(rng.uniform(0.2, 0.6))
        if len(words) < 2:
            return text[: max(1, int(len(text) * share))]
        return " ".join(words[: min(len(words) - 1, max(1, int(len(words) * share)))]).rstrip(" ,.;:")

    return [cut(text) if (text := texts.captions[row]) else None for row in rows]


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
        others = [text for text in texts.translations[row] if differs(texts, row, text)]
        made.append(others[int(rng.integers(len(others)))] if others else None)
    return made


def _unrelated_fluent(texts: Texts, rows: list[int], rng: np.random.Generator) -> Made:
    return [damage_phrases.fluent(rng) for _ in rows]


KERNELS: dict[str, Kernel] = {
    "swapped": _swapped,
    "swapped_within": _swapped_within,
    "truncated": _truncated,
    "boilerplate": _boilerplate,
    "duplicated": _duplicated,
    "wrong_language": _wrong_language,
    "unrelated_fluent": _unrelated_fluent,
}
