"""PDQ: a 256-bit perceptual hash of a picture, and Hamming distances between many.

    bits, quality = pdq_hash(image)                 # (32,) uint8, 0..100
    near = hamming(hashes, hashes) <= NEAR          # (n, n)

PDQ (Davis and Rosen, Facebook, 2019): luma, two passes of a box ("Jarosz") filter, 64 x 64 samples,
the 16 x 16 low frequencies of their DCT without the constant, one bit each for "above the median".
Pictures within 31 of 256 bits show the same thing resized, recompressed or lightly edited.

Everything up to the median is linear and separable, and only 64 x 64 of the filter's outputs are
kept. So each axis is a sum of a few weighted gathers, whose indices and weights are made once a
length; the result is the reference implementation's, bit for bit up to ties
(tests/unit/dataset/media/test_pdq.py holds it to the `pdqhash` package).
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

NEAR = 31  # of 256 bits; PDQ's published threshold for "the same picture"
FEATURELESS = 5  # quality at or below which a hash says nothing
SIDE = 64
BITS = 16
BYTES = BITS * BITS // 8
LENGTHS = 1024  # sides whose filter is kept, 12 bytes a tap and sample: some 10 MB at most


def pdq_hash(image: np.ndarray) -> tuple[np.ndarray, int]:
    """PDQ hash of one picture.

    Args:
        image: (h, w, 3) uint8 RGB, or (h, w) uint8 luma; any size from 1 x 1.

    Returns:
        The hash, (32,) uint8, and its quality, 0 (featureless: the hash means nothing) to 100.
    """
    rows = _shrink(_luma(image))
    samples = _shrink(np.ascontiguousarray(rows.T)).T
    transform = _dct()
    frequencies = (transform @ samples @ transform.T).ravel()
    median = np.partition(frequencies, 127)[127]  # PDQ's median is the lower of the middle two
    # The bits stand in the order of the reference implementation: highest frequency first.
    return np.packbits((frequencies > median)[::-1]), _quality(samples)


def hamming(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Bits that differ between every row of `a`, (n, 32) uint8, and of `b`, (m, 32): (n, m) int32.

    Needs about 13 n m bytes; callers with many hashes go in blocks.
    """
    left = np.ascontiguousarray(a, dtype=np.uint8).view(np.uint64)
    right = np.ascontiguousarray(b, dtype=np.uint8).view(np.uint64)
    distance = np.zeros((len(left), len(right)), np.int32)
    for word in range(left.shape[1]):
        distance += np.bitwise_count(left[:, word, None] ^ right[None, :, word])
    return distance


def _luma(image: np.ndarray) -> np.ndarray:
    """(h, w) luma, uint8, or float32 where the filter averages too little for its rounding not to show."""
    if max(image.shape[:2]) <= 2 * SIDE:
        image = image.astype(np.float32)
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _shrink(values: np.ndarray) -> np.ndarray:
    """(n, m) to (64, m) float32: the filter and the samples along the first axis."""
    (index, weight), *rest = _taps(len(values))
    total = values.take(index, 0) * weight
    for index, weight in rest:
        total += values.take(index, 0) * weight
    return total


@functools.lru_cache(maxsize=LENGTHS)
def _taps(length: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Gathers, each (64,) indices and (64, 1) weights, whose sum is two box passes and 64 samples.

    The box is length / 128 wide, rounded up; at an edge it is cut off and its mean taken over the rest.
    """
    window = (length + 127) // 128
    ahead = (window + 2) // 2
    places = np.arange(length)
    first, last = np.maximum(0, places - (window - ahead)), np.minimum(length, places + ahead)
    centres = ((np.arange(SIDE) + 0.5) * length / SIDE).astype(int)
    width = min(2 * window - 1, length)
    start = np.minimum(first[first[centres]], length - width)
    weights = np.zeros((SIDE, width), np.float32)
    for sample, centre in enumerate(centres):
        for place in range(first[centre], last[centre]):  # the second pass averages these outputs of the first
            share = 1 / ((last[centre] - first[centre]) * (last[place] - first[place]))
            weights[sample, first[place] - start[sample] : last[place] - start[sample]] += share
    return tuple((start + tap, np.ascontiguousarray(weights[:, tap, None])) for tap in range(width))


@functools.cache
def _dct() -> np.ndarray:
    """(16, 64) float32: rows 1 to 16 of the 64-point DCT-II."""
    frequency = np.arange(1, BITS + 1)[:, None]
    position = np.arange(SIDE)[None, :] + 0.5
    return (np.sqrt(2 / SIDE) * np.cos(np.pi / SIDE * frequency * position)).astype(np.float32)


def _quality(samples: np.ndarray) -> int:
    """Summed gradient steps of at least 1/100 of the range, over 90, at most 100."""
    steps = samples * np.float32(100 / 255)
    total = int(np.abs(np.trunc(steps[1:] - steps[:-1])).sum())
    total += int(np.abs(np.trunc(steps[:, 1:] - steps[:, :-1])).sum())
    return min(total // 90, 100)
