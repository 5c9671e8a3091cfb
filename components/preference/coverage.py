"""Diversity of what is labelled: k-center in the space of picture features, or of caption hashes.

Sener and Savarese (2018) choose a batch so that every unlabelled point is near a labelled one, by
Gonzalez's (1985) greedy k-center, whose radius is at most twice the best possible. Here each step takes
the point of greatest weight x distance, so uncertain and unlike the others comes first; with equal
weights it is Gonzalez's algorithm.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pairwright.components.dataset.shards.columns import to_numpy
from pairwright.components.preference.cheap_scores import words_of

HASHED_WIDTH = 256


def weighted_k_center(features: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """Positions of `count` points, in the order chosen, int64; ties go to the first.

    Args:
        features: (n, d) float; unit norm where distances should be angles.
        weights: (n,) in [0, 1].
    """
    chosen: list[int] = []
    distance = np.full(len(features), np.inf)
    free = np.ones(len(features), bool)
    lengths = (features * features).sum(axis=1)
    for _ in range(min(count, len(features))):
        gain = weights if not chosen else weights * distance
        if not (gain[free] > 0).any():  # all that is left repeats something chosen, or teaches nothing
            gain = weights
        best = int(np.flatnonzero(free)[np.argmax(gain[free])])
        chosen.append(best)
        free[best] = False
        squared = lengths + lengths[best] - 2 * (features @ features[best])
        distance = np.minimum(distance, np.sqrt(np.maximum(squared, 0)))
    return np.array(chosen, dtype=np.int64)


def caption_hashes(texts: Sequence[str]) -> np.ndarray:
    """(n, 256) float32 of unit norm: each text's words, hashed with a sign (Weinberger et al., 2009)."""
    features = np.zeros((len(texts), HASHED_WIDTH), np.float32)
    for row, text in enumerate(texts):
        for word in words_of(text) or [text]:
            digest = hashlib.blake2b(word.encode(), digest_size=4).digest()
            features[row, int.from_bytes(digest[:3], "little") % HASHED_WIDTH] += 1 if digest[3] & 1 else -1
    return unit(features)


def picture_features(column: pa.ChunkedArray) -> np.ndarray:
    """(n, d) float32 of unit norm, from embeddings or binary hashes (a bit a dimension); a null is zeros."""
    if pa.types.is_fixed_size_binary(column.type):
        width = column.type.byte_width
        data = b"".join(value.as_py() or bytes(width) for value in column)
        bits = np.unpackbits(np.frombuffer(data, np.uint8).reshape(-1, width), axis=1)
        return unit(bits.astype(np.float32) * 2 - 1)
    return unit(np.nan_to_num(to_numpy(column).astype(np.float32)))


def is_picture_feature(kind: pa.DataType) -> bool:
    """Whether a column of this type can say which pictures are alike."""
    if pa.types.is_fixed_size_list(kind):
        return bool(pa.types.is_floating(kind.value_type) and kind.list_size >= 16)
    return bool(pa.types.is_fixed_size_binary(kind) and kind.byte_width == 32)


def unit(features: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(norm > 0, norm, 1.0)
