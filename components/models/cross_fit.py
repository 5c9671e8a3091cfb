"""Cross-fitting: which of two fold models has never seen a pair.

    table = FoldTable.of(keys, groups, texts, folds)        # the population a fit saw
    table.unseen(keys, groups, texts)                       # (n,) 0 or 1, or -1: both have seen it

A population is split in two halves by group and a model is fitted on each; a pair is judged by the one
of the other half (2-fold cross-fitting, Chernozhukov et al., 2018). The halves travel with the model as
hashes of keys, groups and normalised captions, so the choice is a pure function of the pair: a
caption made later for a pair that was seen, or an old caption under a new picture, is known too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SEEN_BY_BOTH = -1
KINDS = ("keys", "groups", "texts")


@dataclass(frozen=True)
class FoldTable:
    """For each kind of name the sorted hashes, int64, and a bit set of the folds each stands in, uint8."""

    hashes: Mapping[str, np.ndarray]
    folds: Mapping[str, np.ndarray]

    @classmethod
    def of(
        cls,
        keys: Sequence[str | None],
        groups: Sequence[str | None],
        texts: Sequence[str | None],
        fold: np.ndarray,
    ) -> FoldTable:
        """The table of a population; `fold` is (n,) 0 or 1, names may be None."""
        hashes, folds = {}, {}
        for kind, names in zip(KINDS, (keys, groups, texts), strict=True):
            coded, known = hashed(names)
            unique, where = np.unique(coded[known], return_inverse=True)
            bits = np.zeros(len(unique), np.uint8)
            np.bitwise_or.at(bits, where, (1 << fold[known].astype(np.uint8)).astype(np.uint8))
            hashes[kind], folds[kind] = unique, bits
        return cls(hashes, folds)

    def unseen(
        self, keys: Sequence[str | None], groups: Sequence[str | None], texts: Sequence[str | None]
    ) -> np.ndarray:
        """The fold whose model has not seen a pair: int8 (n,), SEEN_BY_BOTH where there is none.

        A pair that neither has seen is judged by the one its caption's hash names.
        """
        seen = np.zeros(len(keys), np.uint8)
        for kind, names in zip(KINDS, (keys, groups, texts), strict=True):
            coded, known = hashed(names)
            if not len(self.hashes[kind]):
                continue
            place = np.minimum(np.searchsorted(self.hashes[kind], coded), len(self.hashes[kind]) - 1)
            found = known & (self.hashes[kind][place] == coded)
            seen |= np.where(found, self.folds[kind][place], 0).astype(np.uint8)
        free = np.array([0, 1, 0, SEEN_BY_BOTH], np.int8)[seen]
        chance = (hashed([text or "" for text in texts])[0] & 1).astype(np.int8)
        return np.where(seen == 0, chance, free).astype(np.int8)

    def tensors(self) -> dict[str, np.ndarray]:
        """Arrays by name, for safetensors."""
        named = {f"folds.{kind}.hashes": self.hashes[kind] for kind in KINDS}
        return named | {f"folds.{kind}.bits": self.folds[kind] for kind in KINDS}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> FoldTable:
        """The inverse of `tensors`.

        Raises:
            KeyError: an array is missing.
        """
        return cls(
            {kind: tensors[f"folds.{kind}.hashes"] for kind in KINDS},
            {kind: tensors[f"folds.{kind}.bits"] for kind in KINDS},
        )


def hashed(names: Sequence[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """(n,) int64 hashes, and (n,) bool where there is a name ("" is none)."""
    known = np.array([bool(name) for name in names], bool)
    digests = (hashlib.blake2b((name or "").encode("utf-8", "replace"), digest_size=8).digest() for name in names)
    return np.array([int.from_bytes(one, "big", signed=True) for one in digests], np.int64), known
