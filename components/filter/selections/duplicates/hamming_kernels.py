"""Loops over 256-bit hashes that numpy cannot run without copying: compiled by numba on first use.

    table = band_table(words, rows, first_bit=0, width=16)      # a bucket sort of one band
    link_earlier(table..., words, masks, radius, link, 0, 65536)

A hash is four uint64 words, rows of `words` (n, 4). In a band's table the members of bucket v stand at
starts[v]..starts[v + 1], with two of their words (from outside the band) beside them in the same order. A lower
bound on the distance from these two, popcount((a ^ a') | (b ^ b')), costs one popcount, runs in vector
instructions over a whole bucket, and is above 31 for all but a few in a million unrelated pairs;
what passes it is measured on all four words. Nothing here allocates per pair, and every function
releases the GIL, so that threads share the buckets of a band.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numba.extending import intrinsic

from pairwright.components.compiled import COMPILED

BLOCK = 512  # members looked at between two chances to stop early


@intrinsic
def popcount(_: Any, word: Any) -> Any:
    """Bits set in an unsigned word: the processor's own instruction, or LLVM's vector form of it."""

    def emit(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return word(word), emit


@njit(**COMPILED)
def distance(words, a, b):  # type: ignore[no-untyped-def]
    """Bits in which rows a and b differ, uint64."""
    return (
        popcount(words[a, 0] ^ words[b, 0])
        + popcount(words[a, 1] ^ words[b, 1])
        + popcount(words[a, 2] ^ words[b, 2])
        + popcount(words[a, 3] ^ words[b, 3])
    )


@njit(**COMPILED)
def reorder_bits(words, source, first, last):  # type: ignore[no-untyped-def]
    """Rewrite rows first..last in place: bit i of the new hash is bit source[i] of the old one."""
    for row in range(first, last):
        old = (words[row, 0], words[row, 1], words[row, 2], words[row, 3])
        for word in range(4):
            new = np.uint64(0)
            for bit in range(64):
                wanted = source[word * 64 + bit]
                new |= ((old[wanted >> 6] >> np.uint64(wanted & 63)) & np.uint64(1)) << np.uint64(bit)
            words[row, word] = new


@njit(**COMPILED)
def _band_value(words, row, first_bit, width):  # type: ignore[no-untyped-def]
    word, shift = first_bit >> 6, first_bit & 63
    value = words[row, word] >> np.uint64(shift)
    if shift + width > 64:
        value |= words[row, word + 1] << np.uint64(64 - shift)
    return np.int64(value & np.uint64((1 << width) - 1))


@njit(**COMPILED)
def bucket_sizes(words, rows, first_bit, width):  # type: ignore[no-untyped-def]
    """(2^width,) int32: how many rows have each value of the band."""
    sizes = np.zeros(1 << width, np.int32)
    for i in range(len(rows)):
        sizes[_band_value(words, rows[i], first_bit, width)] += 1
    return sizes


@njit(**COMPILED)
def neighbours(words, sample, first_bit, width, sizes, masks):  # type: ignore[no-untyped-def]
    """Over the sampled rows, how many others differ from each in the band by one of `masks`, summed."""
    total = -len(sample)  # itself
    for i in range(len(sample)):
        value = _band_value(words, sample[i], first_bit, width)
        for mask in masks:
            total += sizes[value ^ mask]
    return total


@njit(**COMPILED)
def _by_band(words, rows, first_bit, width):  # type: ignore[no-untyped-def]
    """(n,) uint64: band value and row in one word, sorted by value, stable: two rounds of a radix sort."""
    half, low = width // 2, np.uint64((1 << (width // 2)) - 1)
    packed, passed = np.empty(len(rows), np.uint64), np.empty(len(rows), np.uint64)
    small, large = np.zeros((1 << half) + 1, np.int64), np.zeros((1 << (width - half)) + 1, np.int64)
    for i in range(len(rows)):
        value = _band_value(words, rows[i], first_bit, width)
        packed[i] = (np.uint64(value) << np.uint64(32)) | np.uint64(rows[i])
        small[(value & np.int64(low)) + 1] += 1
        large[(value >> half) + 1] += 1
    small, large = small.cumsum(), large.cumsum()
    for i in range(len(rows)):
        digit = np.int64((packed[i] >> np.uint64(32)) & low)
        passed[small[digit]] = packed[i]
        small[digit] += 1
    for i in range(len(rows)):
        digit = np.int64(passed[i] >> np.uint64(32 + half))
        packed[large[digit]] = passed[i]
        large[digit] += 1
    return packed


@njit(**COMPILED)
def band_table(words, rows, first_bit, width):  # type: ignore[no-untyped-def]
    """Sort `rows` into buckets by their band's value; a bucket's members keep their order.

    Returns:
        starts (2^width + 1,) int32; members (n,) int32, rows in the order of their value; ones and
        twos (n,) uint64, two words of each member that hold no bit of the band.
    """
    packed = _by_band(words, rows, first_bit, width)
    starts, members = np.zeros((1 << width) + 1, np.int32), np.empty(len(rows), np.int32)
    ones, twos = np.empty(len(rows), np.uint64), np.empty(len(rows), np.uint64)
    left, right = ((first_bit >> 6) + 2) & 3, ((first_bit >> 6) + 3) & 3
    for i in range(len(rows)):
        row = np.int32(packed[i] & np.uint64(0xFFFFFFFF))
        members[i], ones[i], twos[i] = row, words[row, left], words[row, right]
        starts[np.int64(packed[i] >> np.uint64(32)) + 1] += 1
    for value in range(1 << width):
        starts[value + 1] += starts[value]
    return starts, members, ones, twos


@njit(**COMPILED)
def _maybe_near(ones, twos, start, stop, one, two, radius):  # type: ignore[no-untyped-def]
    """The first place in start..stop that two words do not rule out, or `stop`."""
    while start < stop:
        end = min(start + BLOCK, stop)
        left, right = ones[start:end], twos[start:end]
        passed = 0
        for j in range(len(left)):
            passed += np.int64(popcount((one ^ left[j]) | (two ^ right[j])) <= radius)
        if passed:
            for j in range(len(left)):
                if popcount((one ^ left[j]) | (two ^ right[j])) <= radius:
                    return start + j
        start = end
    return stop


@njit(**COMPILED)
def link_earlier(starts, members, ones, twos, words, masks, radius, link, first, last):  # type: ignore[no-untyped-def]
    """For each row in buckets first..last that has no link yet, find an earlier row within `radius`.

    Members of a bucket ascend. link: (rows,) int32, -1 or an earlier row; a row is written by the one
    caller that holds its bucket, so calls over disjoint buckets may run at once.
    """
    for value in range(first, last):
        low, high = starts[value], starts[value + 1]
        if low == high:
            continue
        for mask in masks:
            start, stop = starts[value ^ mask], starts[(value ^ mask) + 1]
            earlier = start
            for i in range(low, high):
                row = members[i]
                while earlier < stop and members[earlier] < row:
                    earlier += 1
                if earlier == start or link[row] >= 0:
                    continue
                j = _maybe_near(ones, twos, start, earlier, ones[i], twos[i], radius)
                while j < earlier:
                    if distance(words, row, members[j]) <= radius:
                        link[row] = members[j]
                        break
                    j = _maybe_near(ones, twos, j + 1, earlier, ones[i], twos[i], radius)


@njit(**COMPILED)
def find(parent, row):  # type: ignore[no-untyped-def]
    """The root of a row, halving its path on the way."""
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = parent[row]
    return row


@njit(**COMPILED)
def unite(parent, a, b):  # type: ignore[no-untyped-def]
    """Join two trees; the smaller row becomes the root."""
    a, b = find(parent, a), find(parent, b)
    if a < b:
        parent[b] = a
    elif b < a:
        parent[a] = b


@njit(**COMPILED)
def unite_all(parent, other):  # type: ignore[no-untyped-def]
    """Join each row with what `other` joins it with (-1: nothing)."""
    for row in range(len(other)):
        if other[row] >= 0:
            unite(parent, row, other[row])


@njit(**COMPILED)
def flatten(parent):  # type: ignore[no-untyped-def]
    """Point every row at its root."""
    for row in range(len(parent)):
        parent[row] = find(parent, row)


@njit(**COMPILED)
def label_runs(starts, members, label):  # type: ignore[no-untyped-def]
    """(n,) int32 labels of the members, and (n,) int32 where each one's run of equal labels in its bucket ends."""
    labels, ends = np.empty(len(members), np.int32), np.empty(len(members), np.int32)
    for value in range(len(starts) - 1):
        end = starts[value + 1]
        for i in range(starts[value + 1] - 1, starts[value] - 1, -1):
            labels[i] = label[members[i]]
            if i + 1 < starts[value + 1] and labels[i] != labels[i + 1]:
                end = i + 1
            ends[i] = end
    return labels, ends


@njit(**COMPILED)
def join_groups(starts, members, ones, twos, labels, ends, words, masks, radius, link, parent, first, last):  # type: ignore[no-untyped-def]
    """Unite rows within `radius` whose labels differ, where one of them has a link.

    Members of a bucket ascend by label, so what is joined already is stepped over, a run at a time. parent: this
    caller's own trees.
    """
    for value in range(first, last):
        low, high = starts[value], starts[value + 1]
        if low == high:
            continue
        for mask in masks:
            start, stop = starts[value ^ mask], starts[(value ^ mask) + 1]
            own = start
            for i in range(low, high):
                if link[members[i]] < 0:
                    continue
                while own < stop and labels[own] < labels[i]:
                    own = ends[own]
                past = ends[own] if own < stop and labels[own] == labels[i] else own
                _join_range(ones, twos, labels, ends, members, words, radius, parent, i, start, own)
                _join_range(ones, twos, labels, ends, members, words, radius, parent, i, past, stop)


@njit(**COMPILED)
def _join_range(ones, twos, labels, ends, members, words, radius, parent, i, start, stop):  # type: ignore[no-untyped-def]
    j = _maybe_near(ones, twos, start, stop, ones[i], twos[i], radius)
    while j < stop:
        if distance(words, members[i], members[j]) <= radius:
            unite(parent, labels[i], labels[j])
            j = ends[j] - 1
        j = _maybe_near(ones, twos, j + 1, stop, ones[i], twos[i], radius)


@njit(**COMPILED)
def nearest_member(  # type: ignore[no-untyped-def]
    starts, members, ones, twos, seekers_starts, seekers, one, two, words, masks, nearest, bits, first, last
):
    """For each seeker in buckets first..last the nearest member (of equals the earliest).

    nearest (rows,) int32 and bits (rows,) uint8 hold the best so far: what is not nearer is passed over.
    """
    for value in range(first, last):
        low, high = seekers_starts[value], seekers_starts[value + 1]
        if low == high:
            continue
        for mask in masks:
            start, stop = starts[value ^ mask], starts[(value ^ mask) + 1]
            if start == stop:
                continue
            for i in range(low, high):
                row = seekers[i]
                j = _maybe_near(ones, twos, start, stop, one[i], two[i], np.uint64(bits[row]))
                while j < stop:
                    _take_nearer(words, row, members[j], nearest, bits)
                    j = _maybe_near(ones, twos, j + 1, stop, one[i], two[i], np.uint64(bits[row]))


@njit(**COMPILED)
def _take_nearer(words, row, member, nearest, bits):  # type: ignore[no-untyped-def]
    apart = distance(words, row, member)
    if apart < bits[row] or (apart == bits[row] and (nearest[row] < 0 or member < nearest[row])):
        nearest[row], bits[row] = member, apart


@njit(**COMPILED)
def nearest_directly(words, seekers, members, nearest, bits):  # type: ignore[no-untyped-def]
    """As `nearest_member`, comparing each seeker with each member."""
    for i in range(len(seekers)):
        for j in range(len(members)):
            _take_nearer(words, seekers[i], members[j], nearest, bits)


@njit(**COMPILED)
def keep_directly(words, rows, radius):  # type: ignore[no-untyped-def]
    """(n,) bool over ascending rows: no kept row before it is within `radius`."""
    kept = np.zeros(len(rows), np.bool_)
    places = np.empty(len(rows), np.int32)
    count = 0
    for i in range(len(rows)):
        free = True
        for k in range(count):
            if distance(words, rows[i], places[k]) <= radius:
                free = False
                break
        if free:
            kept[i] = True
            places[count] = rows[i]
            count += 1
    return kept


@njit(**COMPILED)
def first_equals(words, order, folded):  # type: ignore[no-untyped-def]
    """(n,) int32: the first row that equals each row, itself if none is before it.

    order: rows sorted by `folded` (a 64-bit fold of the hash), ascending among equal folds.
    """
    first = np.arange(len(order)).astype(np.int32)
    start = 0
    for i in range(1, len(order)):
        if folded[order[i]] != folded[order[start]]:
            start = i
            continue
        for j in range(start, i):
            if first[order[j]] == order[j] and distance(words, order[i], order[j]) == 0:
                first[order[i]] = order[j]
                break
    return first


@njit(**COMPILED)
def fold(words):  # type: ignore[no-untyped-def]
    """(n,) uint64: equal hashes fold to equal numbers, others hardly ever."""
    folded = np.empty(len(words), np.uint64)
    for row in range(len(words)):
        value = np.uint64(0)
        for word in range(4):
            value = (value ^ words[row, word]) * np.uint64(0x9E3779B97F4A7C15)
            value ^= value >> np.uint64(29)
        folded[row] = value
    return folded
