"""Damage: captions made worse in a known way, to teach a reward and to test a selector.

    captions, mask = plant(captions, "swapped", 0.4, np.random.default_rng(0), categories=categories)
    worse = damaged(Texts(captions, groups=groups), "shuffled", rows, rng)       # None: cannot be

A damaged text never equals its original, nor the caption of any pair of the same group, without
regard to case and punctuation: a "wrong" caption that is right would punish whoever sees so.

What taught a reward must not judge it, so the kinds are two lists that share no kind, no template
and no phrase of two words: TEACHING (damage_teaching.py) and JUDGING (damage_judging.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pairwright.components.dataset.damage import damage_judging, damage_teaching
from pairwright.components.dataset.damage.damage_texts import Made, Texts, differs
from pairwright.components.errors import InvalidRecipe, nearest

TEACHING, JUDGING = tuple(damage_teaching.KERNELS), tuple(damage_judging.KERNELS)
KERNELS = damage_teaching.KERNELS | damage_judging.KERNELS
KINDS = tuple(KERNELS)


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
    return [text if text is not None and differs(texts, row, text) else None for row, text in zip(index, made)]


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
