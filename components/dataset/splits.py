"""Evaluation splits by group: nothing in `dev` or `test` has a twin in training or in the other.

Two pairs are in one group if their pictures lie within PDQ's radius, their normalised captions are
the same, or they belong to one family (numbered variants of one motif in one folder), and so on
transitively. Whole groups are drawn, stratified by category; what is not drawn is for training, but
for pairs linked to a drawn one, which are left out altogether and counted.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pairwright.components.dataset.media.pdq import NEAR, hamming

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset

DRAWN_FROM = "drawn_from"  # of a split's facts: the digest of the data it was drawn from, where a run drew it
TRAIN, DEV, TEST, LEFT_OUT = "raw", "dev", "test", "left_out"
BLOCK = 1024  # hashes compared at a time: 1024 x n distances, some 100 MiB at n = 8,000
_APART = re.compile(r"[^\w]+|_+")
_LOOKS = re.compile("[\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")  # variation selectors, which are marks too
_ARTICLES = re.compile(r"^(?:an?|the|some)\s+")


@dataclass(frozen=True)
class Candidate:
    """What drawing needs to know of a pair.

    Attributes:
        drawable: whether it may be drawn for evaluation (a clean caption and a readable picture).
        caption: the caption it is evaluated with; None or "" links nothing.
        hash: (32,) uint8 PDQ hash, or None if there is no usable picture.
        family: name shared by variants of one motif, or None.
        stored: hash of the picture as stored, where compressing it may have changed its hash.
    """

    key: str
    category: str
    drawable: bool
    caption: str | None
    hash: np.ndarray | None
    family: str | None = None
    stored: np.ndarray | None = None


@dataclass(frozen=True)
class DrawSettings:
    """How much is drawn.

    Attributes:
        pairs: wanted in each split; whole groups are drawn, so a few more or less come.
        largest_group: pairs; larger groups stay in training, where repetition does least harm.
        capped: categories and the largest share of a split that each may have.
    """

    pairs: int = 200
    largest_group: int = 4
    capped: tuple[tuple[str, float], ...] = ()
    seed: str = "pairwright"


@dataclass(frozen=True)
class Splits:
    """Where each candidate goes, its group, and why some were left out, in candidates' order."""

    split: list[str]
    group: list[str]
    reason: list[str | None]  # "picture:KEY", "caption:KEY" or "family:KEY" of the evaluation pair, where left out

    def composition(self, candidates: Sequence[Candidate]) -> dict[str, Any]:
        """Counts to publish: pairs by split and category, groups, shared captions, what was left out."""
        by_split: dict[str, Counter[str]] = defaultdict(Counter)
        groups: dict[str, set[str]] = defaultdict(set)
        captions: dict[str, Counter[str]] = defaultdict(Counter)
        for candidate, split, group in zip(candidates, self.split, self.group, strict=True):
            by_split[split][candidate.category] += 1
            groups[split].add(group)
            captions[split][normalise(candidate.caption)] += 1
        return {
            "pairs": {split: dict(sorted(counts.items())) for split, counts in sorted(by_split.items())},
            "groups": {split: len(names) for split, names in sorted(groups.items()) if split != LEFT_OUT},
            "captions_shared": {
                split: sum(n for text, n in counts.items() if text and n > 1)
                for split, counts in sorted(captions.items())
            },
            "left_out": dict(Counter(reason.partition(":")[0] for reason in self.reason if reason)),
        }


def drawn_elsewhere(split: Dataset, data: Dataset) -> bool:
    """Whether a split's manifest records a draw that the data was no part of, so that it says nothing of that data.

    A draw leaves its `composition` in the facts of every dataset it makes, and `export` carries it on. A split
    without one was made and named by hand: it is whoever names it who says what it is of.
    """
    if DRAWN_FROM in split.facts:  # by components/dataset/own_splits.py
        return bool(split.facts[DRAWN_FROM] != data.digest)
    drawn = split.facts.get("composition")
    return drawn is not None and drawn != data.facts.get("composition")


def normalise(caption: str | None) -> str:
    """A caption without case, accents' encoding, punctuation and leading article.

    A mark belongs to the letter before it (the vowels of Hindi and Thai), so that words which differ in marks alone
    stay different; one that follows no letter, or asks for an emoji's look, says nothing.
    """
    text = unicodedata.normalize("NFKC", caption or "").casefold()
    words = _APART.sub(" " if text.isascii() else _between, text).strip()
    return _ARTICLES.sub("", words)


def _between(match: re.Match[str]) -> str:
    """What takes the place of a run without letters: the marks it begins with, if a letter is before, and a space."""
    run = match.group()
    follows = match.start() > 0 and run[0] != "_" and match.string[match.start() - 1] != "_"
    marks = ""
    for character in run if follows else "":
        if unicodedata.category(character) not in ("Mn", "Mc") or _LOOKS.match(character):
            break
        marks += character
    return marks if len(marks) == len(run) else f"{marks} "


def near_pairs(hashes: np.ndarray, others: np.ndarray | None = None, radius: int = NEAR) -> Iterator[tuple[int, int]]:
    """Index pairs (i, j) within `radius` bits; i < j where only one array, (n, 32) uint8, is given."""
    right = hashes if others is None else others
    for start in range(0, len(hashes), BLOCK):
        rows, columns = np.nonzero(hamming(hashes[start : start + BLOCK], right) <= radius)
        for row, column in zip((rows + start).tolist(), columns.tolist(), strict=True):
            if others is not None or row < column:
                yield row, column


def group_roots(candidates: Sequence[Candidate], which: Sequence[int] | None = None) -> list[int]:
    """For each candidate of `which` (all by default), the first member of its group, as an index."""
    members = list(range(len(candidates))) if which is None else list(which)
    parent = {index: index for index in members}

    def find(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    def join(a: int, b: int) -> None:
        low, high = sorted((find(a), find(b)))
        parent[high] = low

    first: dict[tuple[str, str], int] = {}
    for index in members:
        for link in _links(candidates[index]):
            join(index, first.setdefault(link, index))
    hashed = [index for index in members if candidates[index].hash is not None]
    for a, b in near_pairs(_stack(candidates, hashed)):
        join(hashed[a], hashed[b])
    return [find(index) for index in members]


def draw(candidates: Sequence[Candidate], settings: DrawSettings) -> Splits:
    """Draw `dev` and `test` from the drawable candidates. A pure function of its arguments."""
    drawable = [index for index, candidate in enumerate(candidates) if candidate.drawable]
    grouped: dict[int, list[int]] = defaultdict(list)
    for index, root in zip(drawable, group_roots(candidates, drawable), strict=True):
        grouped[root].append(index)
    split = [TRAIN] * len(candidates)
    for name, root in _deal(candidates, grouped, len(drawable), settings):
        for index in grouped[root]:
            split[index] = name
    reason = _leave_out(candidates, split)
    kept = [index for index, name in enumerate(split) if name != LEFT_OUT]
    group = [""] * len(candidates)
    for index, root in zip(kept, group_roots(candidates, kept), strict=True):
        group[index] = candidates[root].key
    return Splits(split, group, reason)


def _deal(
    candidates: Sequence[Candidate], grouped: dict[int, list[int]], total: int, settings: DrawSettings
) -> Iterator[tuple[str, int]]:
    """(split, group root) drawn: each category's groups in hashed order, to the split further behind its quota."""
    caps = dict(settings.capped)
    sizes = Counter(candidates[root].category for root, members in grouped.items() for _ in members)
    capped = {name: min(size / total, caps.get(name, 1.0)) for name, size in sizes.items()}
    scale = settings.pairs / sum(capped.values())
    for category in sorted(sizes):
        quota = max(1, round(capped[category] * scale))
        quota = min(quota, int(caps.get(category, 1.0) * settings.pairs))
        roots = [root for root in grouped if candidates[root].category == category]
        drawn = {DEV: 0, TEST: 0}
        for root in sorted(roots, key=lambda root: _order(settings.seed, candidates[root].key)):
            size = len(grouped[root])
            name = min(drawn, key=lambda split: drawn[split])
            if size <= settings.largest_group and drawn[name] + size <= quota:
                drawn[name] += size
                yield name, root


def _leave_out(candidates: Sequence[Candidate], split: list[str]) -> list[str | None]:
    """Mark candidates linked to one of another split LEFT_OUT, in place; returns why."""
    drawn = [index for index, name in enumerate(split) if name in (DEV, TEST)]
    rest = [index for index, name in enumerate(split) if name == TRAIN]
    drawn_by: dict[tuple[str, str], str] = {}
    for index in drawn:
        for link in _links(candidates[index]):
            drawn_by.setdefault(link, candidates[index].key)
    reason: list[str | None] = [None] * len(candidates)
    for index in rest:
        for link in _links(candidates[index]):
            if link in drawn_by:
                reason[index] = f"{link[0]}:{drawn_by[link]}"
    for a, b in _near(candidates, rest, drawn):
        reason[a] = f"picture:{candidates[b].key}"
    # Groups are of pictures as they came; what is stored may have come nearer, and is what is evaluated on.
    dev, test = ([index for index in drawn if split[index] == name] for name in (DEV, TEST))
    for a, b in _near(candidates, dev, test):
        reason[a] = f"picture:{candidates[b].key}"
    for index, why in enumerate(reason):
        if why:
            split[index] = LEFT_OUT
    return reason


def _links(candidate: Candidate) -> list[tuple[str, str]]:
    """What puts a candidate into one group with others that have it too, but for its picture."""
    links = (("family", candidate.family or ""), ("caption", normalise(candidate.caption)))
    return [link for link in links if link[1]]


def _near(candidates: Sequence[Candidate], left: Sequence[int], right: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Candidates of `left` near ones of `right`, as they came or as stored."""
    for which in ("hash", "stored"):
        one, other = ([i for i in part if getattr(candidates[i], which) is not None] for part in (left, right))
        for a, b in near_pairs(_stack(candidates, one, which), _stack(candidates, other, which)):
            yield one[a], other[b]


def _stack(candidates: Sequence[Candidate], which: Iterable[int], hash: str = "hash") -> np.ndarray:
    hashes = [getattr(candidates[index], hash) for index in which]
    return np.stack(hashes) if hashes else np.zeros((0, 32), np.uint8)


def _order(seed: str, key: str) -> bytes:
    return hashlib.sha256(f"{seed}:{key}".encode()).digest()
