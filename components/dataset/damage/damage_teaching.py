"""The kinds of damage that teach: what a reward learns from, and no selector is ever judged by.

object_replaced  the head noun gives way to one from another caption, of the same category if it can
spliced          another caption's first half before this one's second
keyword_list     the caption's words in alphabetical order, with commas
file_name        a camera's file name, or the caption's own words as one
listing          what a shop says of an article: price, stock, number
shuffled         the same words in another order
repeated         the caption over and over
"""

from __future__ import annotations

import numpy as np

from pairwright.components.dataset.captions.nouns import head_noun, with_noun
from pairwright.components.dataset.damage import damage_phrases
from pairwright.components.dataset.damage.damage_texts import Kernel, Made, Texts, differs, plain, plural

DRAWS = 20  # donors or orders tried before a caption is given up as impossible to damage so


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
        others = [word for word in texts.heads.get((key, plural(noun.text)), ()) if plain(word) not in own]
        if others:
            return with_noun(text, noun, others[int(rng.integers(len(others)))])
    return None


def _spliced(texts: Texts, rows: list[int], rng: np.random.Generator) -> Made:
    donors = texts.rows()

    def spliced(row: int) -> str | None:
        own = (texts.captions[row] or "").split()
        for _ in range(DRAWS if own and len(donors) else 0):
            donor = int(donors[rng.integers(len(donors))])
            other = (texts.captions[donor] or "").split()
            said = " ".join([*other[: (len(other) + 1) // 2], *own[len(own) // 2 :]])
            if not texts.alike(row, donor) and differs(texts, row, said):
                return said
        return None

    return [spliced(row) for row in rows]


def _keyword_list(texts: Texts, rows: list[int], rng: np.random.Generator) -> Made:
    def listed(row: int) -> str | None:
        words = sorted(set(texts.plain[row].split()))
        return ", ".join(words) if len(words) > 1 and " ".join(words) != texts.plain[row] else None

    return [listed(row) for row in rows]


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


def _listing(texts: Texts, rows: list[int], rng: np.random.Generator) -> Made:
    return [damage_phrases.listing(rng) for _ in rows]


def _shuffled(texts: Texts, rows: list[int], rng: np.random.Generator) -> Made:
    def mixed(row: int) -> str | None:
        words = (texts.captions[row] or "").split()
        for _ in range(DRAWS):
            other = [words[i] for i in rng.permutation(len(words))]
            if plain(" ".join(other)) != texts.plain[row]:
                return " ".join(other)
        return None

    return [mixed(row) for row in rows]


def _repeated(texts: Texts, rows: list[int], rng: np.random.Generator) -> Made:
    return [" ".join([text] * int(rng.integers(3, 6))) if (text := texts.captions[row]) else None for row in rows]


KERNELS: dict[str, Kernel] = {
    "object_replaced": _object_replaced,
    "spliced": _spliced,
    "keyword_list": _keyword_list,
    "file_name": _file_name,
    "listing": _listing,
    "shuffled": _shuffled,
    "repeated": _repeated,
}
