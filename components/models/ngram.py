"""A small language model: byte n-grams with interpolated Kneser-Ney smoothing, in numpy.

    model = fit_ngrams(["A red bus on a bridge.", ...], order=6)
    model.mean_nll(["A red bus.", "sub der A."])     # nats a byte

Kneser & Ney (1995) in the interpolated form of Chen & Goodman (1999, eq. 4.31): with a(hw) the count of
an n-gram (at the highest order) or the number of different bytes seen before it (below),

    P(w|h) = max(a(hw) - D, 0) / a(h.) + D N(h.) / a(h.) P(w|h'),   D = n1 / (n1 + 2 n2)

down to the uniform distribution over the 256 bytes, so every text in every script has a probability and
the 256 of every context sum to 1. Counts are sorted arrays looked up by bisection: no training loop, the
same captions give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

VOCABULARY = 256
START, END = 2, 3  # control bytes, which `as_bytes` takes out of every text
MAX_ORDER = 8  # bytes that fit a 64-bit key
BLOCK = 4096  # texts scored at once


@dataclass(frozen=True)
class Order:
    """Counts of the n-grams of one length, sorted by their bytes read as one big-endian number.

    Attributes:
        grams: uint64 (g,). counts: int32 (g,).
        contexts: uint64 (c,), n-grams without their last byte. totals: int64 (c,), their counts' sums.
        distinct: int32 (c,), how many different bytes follow. discount: D.
    """

    grams: np.ndarray
    counts: np.ndarray
    contexts: np.ndarray
    totals: np.ndarray
    distinct: np.ndarray
    discount: float


@dataclass(frozen=True)
class NgramModel:
    """Orders 1..n; a byte is predicted from the n-1 before it."""

    orders: tuple[Order, ...]

    @property
    def order(self) -> int:
        return len(self.orders)

    def probability(self, keys: np.ndarray) -> np.ndarray:
        """P(last byte | bytes before it): uint64 (m,) keys of `order` bytes -> float64 (m,)."""
        found = np.full(len(keys), 1 / VOCABULARY)
        for length, order in enumerate(self.orders, 1):
            mine = keys & np.uint64((1 << (8 * length)) - 1)
            count = _looked_up(order.grams, order.counts, mine)
            context = mine >> np.uint64(8)
            total = _looked_up(order.contexts, order.totals, context)
            distinct = _looked_up(order.contexts, order.distinct, context)
            known = total > 0
            total = np.maximum(total, 1)
            seen = np.maximum(count - order.discount, 0) / total
            found = np.where(known, seen + order.discount * distinct / total * found, found)
        return found

    def mean_nll(self, texts: Sequence[str]) -> np.ndarray:
        """Mean negative log-probability of each text's bytes and its end, in nats: float64 (n,)."""
        means = [self._block_nll(texts[start : start + BLOCK]) for start in range(0, len(texts), BLOCK)]
        return np.concatenate(means) if means else np.zeros(0)

    def _block_nll(self, texts: Sequence[str]) -> np.ndarray:
        coded = [as_bytes(text) for text in texts]
        lengths = np.array([len(one) for one in coded])
        nll = -np.log(self.probability(window_keys(coded, self.order)))
        ends = np.cumsum(lengths)
        sums = np.add.reduceat(nll, ends - lengths)
        means: np.ndarray = sums / lengths
        return means

    def tensors(self) -> dict[str, np.ndarray]:
        """Arrays by name, for safetensors; keys as int64 of the same bits."""
        found: dict[str, np.ndarray] = {}
        for length, order in enumerate(self.orders, 1):
            found |= {
                f"{length}.grams": order.grams.view(np.int64),
                f"{length}.counts": order.counts,
                f"{length}.contexts": order.contexts.view(np.int64),
                f"{length}.totals": order.totals,
                f"{length}.distinct": order.distinct,
                f"{length}.discount": np.array([order.discount]),
            }
        return found


def from_tensors(tensors: Mapping[str, np.ndarray], order: int) -> NgramModel:
    """The inverse of `tensors`.

    Raises:
        KeyError: an array is missing.
    """
    return NgramModel(
        tuple(
            Order(
                tensors[f"{n}.grams"].view(np.uint64),
                tensors[f"{n}.counts"],
                tensors[f"{n}.contexts"].view(np.uint64),
                tensors[f"{n}.totals"],
                tensors[f"{n}.distinct"],
                float(tensors[f"{n}.discount"][0]),
            )
            for n in range(1, order + 1)
        )
    )


def fit_ngrams(texts: Sequence[str], order: int) -> NgramModel:
    """Count the texts; without any the model is uniform. `order` is 1..8 bytes."""
    assert 1 <= order <= MAX_ORDER, f"order {order} does not fit a 64-bit key"
    keys = window_keys([as_bytes(text) for text in texts], order)
    grams, counts = np.unique(keys, return_counts=True)
    orders = [_order(grams, counts)]
    for length in range(order - 1, 0, -1):
        # Continuation counts: each longer n-gram is one more byte seen before its ending.
        grams, counts = np.unique(grams & np.uint64((1 << (8 * length)) - 1), return_counts=True)
        orders.append(_order(grams, counts))
    return NgramModel(tuple(reversed(orders)))


def _order(grams: np.ndarray, counts: np.ndarray) -> Order:
    contexts, first = np.unique(grams >> np.uint64(8), return_index=True)
    totals = np.add.reduceat(counts, first) if len(first) else np.zeros(0)
    distinct = np.diff(np.append(first, len(grams)))
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    discount = once / (once + 2 * twice) if once and twice else 0.5  # too few texts to estimate it
    return Order(grams, counts.astype(np.int32), contexts, totals.astype(np.int64), distinct.astype(np.int32), discount)


def as_bytes(text: str) -> bytes:
    """The text's UTF-8 bytes, runs of space and control characters as one space, and END."""
    plain = "".join(" " if character < " " else character for character in text)
    return " ".join(plain.split()).encode("utf-8", "replace") + bytes([END])


def window_keys(coded: Sequence[bytes], order: int) -> np.ndarray:
    """For every byte of every text the `order` bytes that end with it, as one uint64; START before a text."""
    pad = bytes([START]) * (order - 1)
    joined = np.frombuffer(b"".join(pad + one for one in coded), np.uint8).astype(np.uint64)
    if not len(joined):
        return np.zeros(0, np.uint64)
    keys = np.zeros(len(joined) - order + 1, np.uint64)
    for place in range(order):
        keys = (keys << np.uint64(8)) | joined[place : len(joined) - order + 1 + place]
    lengths = np.array([len(one) for one in coded])
    starts = np.cumsum(lengths + order - 1) - (lengths + order - 1)
    own = np.concatenate([np.arange(start, start + length) for start, length in zip(starts, lengths, strict=True)])
    return keys[own]


def _looked_up(sorted_keys: np.ndarray, values: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """The value at each key, 0 where there is none."""
    if not len(sorted_keys):
        return np.zeros(len(keys), np.int64)
    place = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    return np.where(sorted_keys[place] == keys, values[place], 0)
