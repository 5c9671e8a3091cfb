"""Ranks in blocks are those of the whole matrix, at any block; chance is k/n, an oracle is first, memory is bounded."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.evaluate.metrics.positives import Positives, normalised
from pairwright.components.evaluate.metrics.ranks import BLOCK_BYTES, chance_recall, retrieval_ranks, retrieval_shares


def matrix_of(captions: list[str], picture: np.ndarray, groups: list[str]) -> np.ndarray:
    """bool (n, m), by the words of the definition, a pair at a time."""
    texts = [normalised(text) for text in captions]
    own = [{texts[j] for j in np.flatnonzero(picture == i)} for i in range(len(groups))]
    return np.array(
        [[g == groups[picture[j]] or t in own[i] for j, t in enumerate(texts)] for i, g in enumerate(groups)]
    )


def first_ranks(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """1 + the negatives that score at least as high as the best positive, from the whole matrix: (n, m) -> (n,)."""
    best = np.where(positive, scores, -np.inf).max(axis=1, keepdims=True)
    return ((scores >= best) & ~positive).sum(axis=1) + 1


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@st.composite
def splits(draw: st.DrawFn) -> tuple[list[str], np.ndarray, list[str]]:
    """Captions, one to four a picture, that recur; groups of one or several pictures."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=12))
    words = st.sampled_from(["A dog", "a dog.", "cat", "a  red boat", "tree", "sun", "moon", "fish"])
    captions = draw(st.lists(words, min_size=sum(sizes), max_size=sum(sizes)))
    groups = draw(st.lists(st.sampled_from("abcdefghij"), min_size=len(sizes), max_size=len(sizes)))
    return captions, np.repeat(np.arange(len(sizes)), sizes), groups


@settings(deadline=None)
@given(splits(), st.data())
def test_right_answers_are_those_of_the_definition(split: tuple[list[str], np.ndarray, list[str]], data: st.DataObject):
    captions, picture, groups = split
    right, expected = Positives.of(captions, picture, groups), matrix_of(captions, picture, groups)
    start = data.draw(st.integers(0, len(groups) - 1))
    stop = data.draw(st.integers(start + 1, len(groups)))
    found = np.zeros_like(expected)
    found[right.pairs(start, stop)] = True
    assert (found[start:stop] == expected[start:stop]).all()
    assert not found[:start].any()
    assert not found[stop:].any()
    pictures, of_captions = right.counts()
    assert (pictures == expected.sum(axis=1)).all()
    assert (of_captions == expected.sum(axis=0)).all()


@settings(deadline=None)
@given(splits(), st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 2000))
def test_ranks_are_those_of_the_whole_matrix_ties_and_groups_and_all(
    split: tuple[list[str], np.ndarray, list[str]], seed: int, levels: int, block_bytes: int
):
    captions, picture, groups = split
    random = np.random.default_rng(seed)
    # Few levels make many ties; eighths are summed without rounding, so the matrix is exact in any order.
    image, text = (
        random.integers(-levels, levels + 1, (size, 6)).astype(np.float32) / 8 for size in (len(groups), len(captions))
    )
    positive = matrix_of(captions, picture, groups)
    scores = image @ text.T
    i2t, t2i = retrieval_ranks(image, text, Positives.of(captions, picture, groups), block_bytes)
    assert i2t.tolist() == first_ranks(scores, positive).tolist()
    assert t2i.tolist() == first_ranks(scores.T, positive.T).tolist()


@pytest.mark.parametrize("captions_each", [1, 5])
def test_ranks_of_unit_vectors_are_those_of_the_float32_matrix(captions_each: int):
    random = np.random.default_rng(3)
    picture = np.repeat(np.arange(200), captions_each)
    meant = random.normal(size=(200, 64))
    image = unit(meant + random.normal(size=meant.shape))
    text = unit(meant[picture] + 2 * random.normal(size=(len(picture), 64)))
    captions, groups = [f"caption {i % 150}" for i in range(len(picture))], [str(i // 2) for i in range(200)]
    positive, scores = matrix_of(captions, picture, groups), image @ text.T
    for block_bytes in (1, 100_000, BLOCK_BYTES):
        i2t, t2i = retrieval_ranks(image, text, Positives.of(captions, picture, groups), block_bytes)
        assert (i2t == first_ranks(scores, positive)).all()
        assert (t2i == first_ranks(scores.T, positive.T)).all()


def shares_of(scores: np.ndarray, positive: np.ndarray, k: int) -> np.ndarray:
    """Share of each row's right answers among its first k, ties putting the wrong ones first."""
    found = []
    for row, right in zip(scores, positive, strict=True):
        order = np.lexsort((right, -row))  # by score, the wrong before the right
        found.append(right[order][:k].sum() / right.sum())
    return np.array(found)


@pytest.mark.slow
@settings(deadline=None)
@given(splits(), st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 2000))
def test_shares_are_those_of_the_whole_matrix_ties_and_groups_and_all(
    split: tuple[list[str], np.ndarray, list[str]], seed: int, levels: int, block_bytes: int
):
    captions, picture, groups = split
    random = np.random.default_rng(seed)
    image, text = (
        random.integers(-levels, levels + 1, (size, 6)).astype(np.float32) / 8 for size in (len(groups), len(captions))
    )
    right, positive, scores = (
        Positives.of(captions, picture, groups),
        matrix_of(captions, picture, groups),
        image @ text.T,
    )
    found = retrieval_shares(image, text, right, (1, 3, 10), block_bytes)
    for one, ranks, side in zip(found, retrieval_ranks(image, text, right), (0, 1), strict=True):
        assert one.ranks.tolist() == ranks.tolist()
        for at, k in enumerate((1, 3, 10)):
            expected = shares_of((scores, scores.T)[side], (positive, positive.T)[side], k)
            assert np.allclose(one.shares[at], expected)
            assert ((one.shares[at] > 0) == (ranks <= k)).all(), "a hit is a share that is not nothing"


@pytest.mark.slow
@pytest.mark.parametrize("alike", [0.0, 0.9999, 1.0])
@pytest.mark.parametrize("block_bytes", [200_000, BLOCK_BYTES])
def test_shares_in_a_large_gallery_are_those_of_exact_arithmetic(alike: float, block_bytes: int):
    """Large enough to be searched by parts; vectors so alike that rounding decides; and all of them equal."""
    random = np.random.default_rng(7)
    picture = np.repeat(np.arange(1200), 5)
    one = random.normal(size=(1, 24))
    meant = alike * one + (1 - alike) * random.normal(size=(1200, 24))
    image = unit(meant)
    text = unit(meant[picture] + (1 - alike) * random.normal(size=(6000, 24)))
    right = Positives(picture, np.arange(6000) % 5000, np.arange(1200) // 2)
    scores = image.astype(np.float64) @ text.astype(np.float64).T
    positive = np.zeros(scores.shape, bool)
    positive[right.pairs(0, 1200)] = True
    scores = np.where(positive, scores - 1e-13, scores)  # a tie counts against
    found = retrieval_shares(image, text, right, (1, 5, 10), block_bytes)
    if alike == 1.0:
        assert all((one.shares == 0).all() for one in found)
    for one, side in zip(found, (0, 1), strict=True):
        for at, k in enumerate((1, 5, 10)):
            expected = shares_of((scores, scores.T)[side], (positive, positive.T)[side], k)
            assert np.allclose(one.shares[at], expected)


def test_what_float32_cannot_tell_apart_is_told_apart():
    # Both captions are the picture itself but for one bit of one value: float32's product may say either is ahead.
    random = np.random.default_rng(0)
    for _ in range(30):
        image = unit(random.normal(size=(1, 96)))
        text = np.repeat(image, 2, axis=0)
        place = int(np.abs(image[0]).argmax())
        text[1, place] = np.nextafter(text[1, place], np.float32(2) * np.sign(text[1, place]))
        exact = [
            sum(Fraction(float(a)) * Fraction(float(b)) for a, b in zip(image[0], row, strict=True)) for row in text
        ]
        assert exact[1] > exact[0]
        # A second picture, far away, owns the second caption: the first picture's own is beaten by a hair.
        both = np.concatenate([image, -image])
        i2t, _ = retrieval_ranks(both, text, Positives(np.arange(2), np.arange(2), np.arange(2)))
        assert i2t.tolist() == [2, 2]


@pytest.mark.parametrize("width", [3, 64, 512])
@pytest.mark.parametrize("block_bytes", [1, 5000, BLOCK_BYTES])
def test_a_model_that_says_the_same_of_all_earns_nothing(width: int, block_bytes: int):
    for vector in (np.ones((1, width)), np.random.default_rng(width).normal(size=(1, width))):
        image, text = np.repeat(unit(vector), 70, axis=0), np.repeat(unit(vector), 140, axis=0)
        right = Positives(np.repeat(np.arange(70), 2), np.arange(140), np.arange(70))
        i2t, t2i = retrieval_ranks(image, text, right, block_bytes)
        assert (i2t == 139).all()
        assert (t2i == 70).all()


@pytest.mark.slow
def test_an_oracle_is_first_and_a_random_model_is_chance():
    random = np.random.default_rng(1)
    picture = np.repeat(np.arange(400), 5)
    captions = [f"caption {i % 1900}" for i in range(2000)]
    right = Positives.of(captions, picture, [str(i // 2) for i in range(400)])
    image = unit(random.normal(size=(400, 48)))
    found = retrieval_ranks(
        image, image[picture], Positives.of([str(i) for i in range(2000)], picture, [*map(str, range(400))])
    )
    assert all((ranks == 1).all() for ranks in found)
    counts = right.counts()
    for k in (1, 5, 10, 100):
        means = np.array(
            [
                [(ranks <= k).mean() for ranks in retrieval_ranks(unit(random.normal(size=(400, 48))), text, right)]
                for text in (unit(random.normal(size=(2000, 48))) for _ in range(25))
            ]
        )
        for side, gallery in ((0, 2000), (1, 400)):
            chance = chance_recall(counts[side], gallery, k)
            assert abs(means[:, side].mean() - chance) < 4 * means[:, side].std(ddof=1) / 5
    assert np.isclose(chance_recall(np.ones(7, int), 50, 5), 5 / 50)


def test_what_ranking_allocates_does_not_grow_with_the_matrix():
    """Beyond vectors and answers, a block and what is told of it: not a quarter of the matrix, of bits or scores."""

    def peak(pictures: int) -> int:
        random = np.random.default_rng(0)
        image, text = unit(random.normal(size=(pictures, 8))), unit(random.normal(size=(5 * pictures, 8)))
        right = Positives(np.repeat(np.arange(pictures), 5), np.arange(5 * pictures), np.arange(pictures))
        right.pairs(0, 1)
        tracemalloc.start()
        retrieval_ranks(image, text, right, 1 << 20)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    small, large = peak(500), peak(2000)  # matrices of 5 and 80 MB of float32
    assert large < 6 << 20
    assert large < small + (3 << 20)


PEAK = """
from pathlib import Path
import numpy as np
from pairwright.components.evaluate.metrics.positives import Positives
from pairwright.components.evaluate.metrics.ranks import retrieval_ranks
random = np.random.default_rng(0)
image, text = (random.standard_normal((size, 16), np.float32) for size in (5_000, 25_000))
right = Positives(np.repeat(np.arange(5_000), 5), np.arange(25_000), np.arange(5_000))
retrieval_ranks(image[:50], text[:250], Positives(np.repeat(np.arange(50), 5), np.arange(250), np.arange(50)))

def kib(line):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(one for one in lines if one.startswith(line)).split()[1])

Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew at what is held now
before = kib("VmRSS:")
retrieval_ranks(image, text, right)
print(kib("VmHWM:") - before)
"""


@pytest.mark.slow
def test_5_000_pictures_and_25_000_captions_cost_a_block_a_thread_and_not_a_matrix():
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True, env=environment)
    assert BLOCK_BYTES < int(done.stdout) * 1024 < 3 * BLOCK_BYTES  # the matrix has 500 MB


class Failing(Positives):
    def pairs(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        raise ZeroDivisionError


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads_gives_the_same_ranks_and_stands_afterwards(threads: int):
    random = np.random.default_rng(0)
    image, text = (random.integers(-1, 2, (size, 6)).astype(np.float32) for size in (300, 900))  # many a tie
    right = Positives(np.repeat(np.arange(300), 3), np.arange(900) // 2, np.arange(300) // 2)
    before, expected = torch.get_num_threads(), retrieval_shares(image, text, right, (1, 5), 1)
    try:
        torch.set_num_threads(threads)
        found = retrieval_shares(image, text, right, (1, 5), 50_000)
        assert torch.get_num_threads() == threads
        with pytest.raises(ZeroDivisionError):
            retrieval_ranks(image, text, Failing(right.picture, right.text, right.group))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.ranks, other.ranks)
        assert np.array_equal(one.shares, other.shares)
