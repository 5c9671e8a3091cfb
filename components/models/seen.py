"""What a cross-fitted model was fitted on, known again by content: pictures and captions, and the fold of each.

    seen = Seen.of(features, folds, texts, text_folds, hashes)
    seen.fold_of(features, texts, hashes)      # (n,) the fold, -1 where fitting saw neither picture nor caption

Two pictures are the same if their features are, or if their PDQ hashes lie within its radius; two captions are
if they are once normalised. What splits are drawn by (components/dataset/splits.py) is what is known here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pairwright.components.dataset.media.pdq import BYTES, NEAR, hamming
from pairwright.components.dataset.splits import normalise

SEEN = "seen."  # before its tensors' names
UNSEEN = -1
BLOCK = 1 << 22  # distances held at once, some 50 MB
KINDS = ("features", "texts")


def _none() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(0, np.int64), np.zeros(0, np.int64)


@dataclass(frozen=True)
class Seen:
    """(ascending int64 digests, folds) of features, the same of captions with a bit a fold; (k, 32) uint8 PDQ hashes
    and their folds."""

    features: tuple[np.ndarray, np.ndarray] = field(default_factory=_none)
    texts: tuple[np.ndarray, np.ndarray] = field(default_factory=_none)
    hashes: tuple[np.ndarray, np.ndarray] = field(
        default_factory=lambda: (np.zeros((0, BYTES), np.uint8), np.zeros(0, np.int64))
    )

    @classmethod
    def of(
        cls,
        features: np.ndarray,
        folds: np.ndarray,
        texts: Sequence[str],
        text_folds: Sequence[int] | np.ndarray,
        hashes: Sequence[bytes | None] | None = None,
    ) -> Seen:
        """Pictures with their folds (and hashes, row for row), and captions with theirs.

        Features that stand in two folds are known in none; a caption may stand in several.
        """
        known = [row for row, one in enumerate(hashes or ()) if one is not None]
        bits = np.frombuffer(b"".join(hashes[row] or b"" for row in known) if hashes else b"", np.uint8)
        found = bits.reshape(-1, BYTES), np.asarray(folds, np.int64)[known]
        return cls(_table(_of_features(features), folds), _bit_table(_of_texts(texts), text_folds), found)

    def fold_of(
        self, features: np.ndarray, texts: Sequence[str], hashes: Sequence[bytes | None] | None = None
    ) -> np.ndarray:
        """(n,) int64: the fold of the picture if it was seen, else the only one of the caption, else UNSEEN."""
        fold = _looked_up(self.features, _of_features(features))
        if hashes is not None:
            fold = np.where(
                fold == UNSEEN, self._near([h if f == UNSEEN else None for h, f in zip(hashes, fold)]), fold
            )
        bits = self.text_folds(texts)
        alone = (bits > 0) & ((bits & (bits - 1)) == 0)
        return np.where((fold == UNSEEN) & alone, np.log2(np.maximum(bits, 1)).astype(np.int64), fold)

    def text_folds(self, texts: Sequence[str]) -> np.ndarray:
        """(n,) int64, bit k set where the caption stands in fold k; 0 where it was not seen."""
        return np.maximum(_looked_up(self.texts, _of_texts(texts)), 0)

    def _near(self, hashes: Sequence[bytes | None]) -> np.ndarray:
        fold = np.full(len(hashes), UNSEEN, np.int64)
        rows = np.array([row for row, one in enumerate(hashes) if one is not None], np.int64)
        members, folds = self.hashes
        if not len(members) or not len(rows):
            return fold
        asked = np.frombuffer(b"".join(one for one in hashes if one is not None), np.uint8).reshape(-1, BYTES)
        step = max(BLOCK // len(members), 1)
        for start in range(0, len(rows), step):
            distance = hamming(asked[start : start + step], members)
            nearest = distance.argmin(axis=1)
            close = distance[np.arange(len(nearest)), nearest] <= NEAR
            fold[rows[start : start + step][close]] = folds[nearest[close]]
        return fold

    def tensors(self) -> dict[str, Tensor]:
        """By name, for safetensors."""
        named = {kind: getattr(self, kind) for kind in (*KINDS, "hashes")}
        return {
            f"{SEEN}{kind}.{part}": torch.from_numpy(np.array(value))
            for kind, pair in named.items()
            for part, value in zip(("known", "fold"), pair, strict=True)
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Seen:
        """The inverse of `tensors`.

        Raises:
            KeyError: one is missing.
        """
        parts = {
            kind: (tensors[f"{SEEN}{kind}.known"].numpy(), tensors[f"{SEEN}{kind}.fold"].numpy())
            for kind in (*KINDS, "hashes")
        }
        return cls(**parts)


def _table(names: np.ndarray, folds: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ascending distinct names and their folds; UNSEEN where a name stands in two."""
    fold = np.asarray(folds, np.int64)
    known, first, place = np.unique(names, return_index=True, return_inverse=True)
    found = fold[first].copy() if len(known) else np.zeros(0, np.int64)
    np.put(found, place[fold != found[place]], UNSEEN)
    return known, found


def _bit_table(names: np.ndarray, folds: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ascending distinct names and the folds of each, a bit a fold."""
    known, place = np.unique(names, return_inverse=True)
    bits = np.zeros(len(known), np.int64)
    np.bitwise_or.at(bits, place, 1 << np.asarray(folds, np.int64))
    return known, bits


def _looked_up(table: tuple[np.ndarray, np.ndarray], names: np.ndarray) -> np.ndarray:
    known, fold = table
    if not len(known):
        return np.full(len(names), UNSEEN, np.int64)
    place = np.minimum(np.searchsorted(known, names), len(known) - 1)
    return np.where(known[place] == names, fold[place], UNSEEN)


def _of_features(features: np.ndarray) -> np.ndarray:
    """(n,) digests of (n, d) features in the half precision that columns hold."""
    return _digests(np.ascontiguousarray(row).tobytes() for row in np.asarray(features, np.float32).astype(np.float16))


def _of_texts(texts: Sequence[str]) -> np.ndarray:
    return _digests((normalise(text) or text).encode("utf-8", "replace") for text in texts)


def _digests(values: Iterable[bytes]) -> np.ndarray:
    """int64: the first eight bytes of each value's SHA-256."""
    return np.array([int.from_bytes(hashlib.sha256(v).digest()[:8], "little", signed=True) for v in values], np.int64)
