"""Judgements of a population as arrays: whose, of which pictures, over which texts, and in which fold.

A fold holds whole groups. Two judged pictures share one if they are near-duplicates, have one sidecar
group, or share a text that somebody preferred: so no held-out judgement holds a picture, or a caption
that was called good, of those a judge was fitted on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from pairwright.components.dataset.groups import held_out as held_out_pairs
from pairwright.components.dataset.groups import joined, labels_of, merged
from pairwright.components.dataset.judgements import HUMAN, SILVER
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.dataset.splits import normalise
from pairwright.components.errors import ColumnError, InvalidRecipe

COMMON = 8  # pictures under which a text may be rejected and still be taken for a caption of one
HELD_OUT = -1  # the fold of a pair kept for evaluation alone: no judge is fitted on it


@dataclass(frozen=True)
class Judged:
    """Judgements, one entry each, over numbered texts and pictures.

    Attributes:
        rows: (m,) population rows of the judged pictures, ascending.
        picture: (n,) position in `rows`; better, worse: (n,) position in `texts`; tie: (n,) bool.
        kind, origin: (n,) text.
        evaluation: (n,) bool, from a column that is for evaluation alone.
        group: (m,) labels of pictures that may not be parted.
        fold: (m,) 0..folds-1, or HELD_OUT.
        refused: origin -> judgements left out because `accept` does not name it.
    """

    texts: list[str]
    rows: np.ndarray
    picture: np.ndarray
    better: np.ndarray
    worse: np.ndarray
    tie: np.ndarray
    kind: np.ndarray
    origin: np.ndarray
    evaluation: np.ndarray
    group: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    fold: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    refused: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.picture)

    @property
    def fold_of(self) -> np.ndarray:
        """(n,) the fold of each judgement's picture."""
        return self.fold[self.picture]

    @property
    def group_of(self) -> np.ndarray:
        """(n,) the group of each judgement's picture."""
        return self.group[self.picture]

    def take(self, which: np.ndarray) -> Judged:
        """These judgements (positions or a mask), over the same texts and pictures."""
        names = ("picture", "better", "worse", "tie", "kind", "origin", "evaluation")
        return replace(self, **{name: getattr(self, name)[which] for name in names})

    def best_texts(self) -> tuple[np.ndarray, np.ndarray]:
        """Each judged picture and its text that won most over what it lost: (k,) positions in rows, (k,) in texts."""
        won: Counter[tuple[int, int]] = Counter()
        for picture, better, worse, tie in zip(self.picture, self.better, self.worse, self.tie, strict=True):
            won[picture, better] += 0 if tie else 1
            won[picture, worse] -= 0 if tie else 1
        best: dict[int, tuple[int, int]] = {}
        for (picture, text), score in sorted(won.items(), key=lambda item: (item[0][0], -item[1], item[0][1])):
            best.setdefault(picture, (text, score))
        return np.array(list(best), dtype=np.int64), np.array([text for text, _ in best.values()], dtype=np.int64)


def read_judged(
    view: ColumnsView,
    preferences: Sequence[str],
    *,
    accept: Sequence[str],
    held_out: Sequence[str] = (),
    kinds: Sequence[str] = (),
    seeable: np.ndarray | None = None,
) -> Judged:
    """The judgements in these columns, but for those of pairs that models are evaluated on.

    Args:
        accept: origins that are fitted on; judgements of others are counted in `refused` and left out. Those
            of `held_out` columns are for evaluation alone, whatever their origin.
        kinds: criteria or kinds of damage; all of them if empty.
        seeable: (rows,) bool, rows that have image features; judgements of the others are left out.

    Raises:
        ColumnError: an origin is neither human nor silver.
        InvalidRecipe: nothing is left to fit on.
    """
    texts: dict[str, int] = {}
    found: list[_Said] = []
    refused: Counter[str] = Counter()
    apart = held_out_pairs(view)
    for row, said, evaluation in _entries(view, preferences, held_out):
        if said["origin"] not in (HUMAN, SILVER):
            raise ColumnError(f'a judgement\'s origin is "{said["origin"]}"; it must say {HUMAN} or {SILVER}')
        if apart[row] or (kinds and said["kind"] not in kinds) or (seeable is not None and not seeable[row]):
            continue
        if said["better"] is None or said["worse"] is None or said["better"] == said["worse"]:
            continue
        if not evaluation and said["origin"] not in accept:
            refused[said["origin"]] += 1
            continue
        better, worse = (texts.setdefault(said[side], len(texts)) for side in ("better", "worse"))
        found.append(_Said(row, better, worse, bool(said["tie"]), said["kind"] or "", said["origin"], evaluation))
    if all(one.evaluation for one in found):
        left = ", ".join(f"{count} {origin}" for origin, count in refused.items())
        raise InvalidRecipe(
            f"{', '.join(preferences)} hold no judgement that accept: [{', '.join(accept)}] admits"
            f"{f' ({left} refused)' if left else ''}; label some pairs, or accept another origin"
        )
    return _as_arrays(found, list(texts), dict(refused))


class _Said(NamedTuple):
    row: int
    better: int
    worse: int
    tie: bool
    kind: str
    origin: str
    evaluation: bool


def _as_arrays(found: Sequence[_Said], texts: list[str], refused: Mapping[str, int]) -> Judged:
    rows, picture = np.unique(np.array([one.row for one in found], dtype=np.int64), return_inverse=True)
    return Judged(
        texts,
        rows,
        picture,
        better=np.array([one.better for one in found], dtype=np.int64),
        worse=np.array([one.worse for one in found], dtype=np.int64),
        tie=np.array([one.tie for one in found], dtype=bool),
        kind=np.array([one.kind for one in found], dtype=object),
        origin=np.array([one.origin for one in found], dtype=object),
        evaluation=np.array([one.evaluation for one in found], dtype=bool),
        refused=refused,
    )


def _entries(
    view: ColumnsView, preferences: Sequence[str], held_out: Sequence[str]
) -> Iterator[tuple[int, dict[str, Any], bool]]:
    """(population row, judgement, whether it is for evaluation alone)."""
    for name, evaluation in [*((name, False) for name in preferences), *((name, True) for name in held_out)]:
        column = view.column(name)
        for row in np.flatnonzero(column.is_valid().to_numpy()):
            for said in column[int(row)].as_py():
                yield int(row), said, evaluation


def with_folds(
    judged: Judged, view: ColumnsView, near: str | None, folds: int, seed: int, everyone: bool = False
) -> tuple[Judged, np.ndarray]:
    """The judgements with groups and folds, and the folds of the population's rows.

    Args:
        everyone: groups that nobody judged are spread over the folds, too.

    Returns:
        the judgements; (rows,) int64, the fold of each row that shares a group with a judged picture (or of each),
        HELD_OUT where that group is for evaluation, and -2 elsewhere.

    Raises:
        InvalidRecipe: the judged pictures make fewer groups than there are folds.
    """
    labellings = [labels_of(view.sidecar(["group"])["group"])]
    if near is not None:
        labellings.append(view.column(near).fill_null(-1).to_numpy().astype(np.int64))
    label = merged(joined(labellings), *_shared_texts(judged))
    group = label[judged.rows]
    apart = np.unique(group[judged.picture[judged.evaluation]])
    counts = Counter(group[judged.picture].tolist())
    fitted = [g for g in counts if g not in set(apart.tolist())]
    if len(fitted) < 2 * folds:
        raise InvalidRecipe(
            f"the judged pairs make {len(fitted)} groups of pictures that share nothing, too few for {folds} folds; "
            "judge more pairs, or ask for fewer folds"
        )
    fold_of = dict.fromkeys(apart.tolist(), HELD_OUT) | _balanced(fitted, counts, folds, seed)
    if everyone:
        sizes = Counter(label.tolist())
        fold_of |= _balanced([g for g in sizes if g not in fold_of], sizes, folds, seed)
        fold_of |= dict.fromkeys(label[held_out_pairs(view)].tolist(), HELD_OUT)
    everywhere = np.array([fold_of.get(int(g), -2) for g in label], dtype=np.int64)
    return replace(judged, group=group, fold=everywhere[judged.rows]), everywhere


def _shared_texts(judged: Judged) -> tuple[np.ndarray, np.ndarray]:
    """Edges between population rows under which the same text was preferred (or tied), or preferred and rejected.

    A text that was rejected under more than COMMON pictures ("image1.jpg") is no caption of any of them; were
    it to link them, one labeller's slip in preferring it once would join all pictures to one group.
    """
    good, bad = _pictures_of(judged, True), _pictures_of(judged, False)
    left, right = [], []
    for text, preferred in good.items():
        rejected = bad.get(text, set())
        everyone = sorted(preferred | (rejected if len(rejected) <= COMMON else set()))
        left.extend(everyone[:-1])
        right.extend(everyone[1:])
    return judged.rows[np.array(left, dtype=np.int64)], judged.rows[np.array(right, dtype=np.int64)]


def _pictures_of(judged: Judged, preferred: bool) -> dict[str, set[int]]:
    """Normalised text -> the pictures under which it was preferred (or tied), or rejected."""
    names = [normalise(text) or text for text in judged.texts]
    found: dict[str, set[int]] = {}
    for better, worse, picture, tie in zip(judged.better, judged.worse, judged.picture, judged.tie, strict=True):
        for text in (better, worse) if tie and preferred else (better if preferred else worse,):
            found.setdefault(names[text], set()).add(int(picture))
    return found


def _balanced(groups: Sequence[int], counts: Mapping[int, int], folds: int, seed: int) -> dict[int, int]:
    """Group -> fold: the largest first, each to the fold with the fewest judgements."""
    shuffled = np.random.default_rng(seed).permutation(np.array(sorted(groups), dtype=np.int64)).tolist()
    filled, fold_of = [0] * folds, {}
    for group in sorted(shuffled, key=lambda g: -counts[g]):
        fold_of[group] = int(np.argmin(filled))
        filled[fold_of[group]] += counts[group]
    return fold_of


def counts_of(judged: Judged) -> dict[str, int]:
    """Judgements fitted on, by origin, those refused and those kept for evaluation alone."""
    used = Counter(judged.origin[judged.fold_of >= 0].tolist())
    apart = Counter(judged.origin[judged.evaluation].tolist())
    found = {f"{origin}_judgements": used.get(origin, 0) for origin in (HUMAN, SILVER)}
    found |= {f"{origin}_refused": judged.refused.get(origin, 0) for origin in (HUMAN, SILVER)}
    return found | {f"{origin}_held_out": apart.get(origin, 0) for origin in (HUMAN, SILVER)}
