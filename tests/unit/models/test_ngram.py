"""The n-gram model is a probability distribution, and hand-counted cases come out as the formula says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.models.ngram import END, START, VOCABULARY, as_bytes, fit_ngrams, from_tensors, window_keys

CORPUS = ["a red bus on a bridge", "a red car", "the old bridge at night", "rouge € 赤", "aaaa", ""]


def keys_of(context: bytes, order: int) -> np.ndarray:
    """The context followed by each of the 256 bytes."""
    padded = (bytes([START]) * order + context)[-(order - 1) :] if order > 1 else b""
    head = int.from_bytes(padded, "big") << 8
    return np.array([head | byte for byte in range(VOCABULARY)], np.uint64)


@pytest.mark.parametrize("order", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("context", [b"", b"a", b"a re", b"zzzzzz", b"bridge", b"\xff\x00\xfe", b"aaa"])
def test_the_probabilities_of_every_context_sum_to_one(order: int, context: bytes) -> None:
    for texts in (CORPUS, [], ["x"]):
        probabilities = fit_ngrams(texts, order).probability(keys_of(context, order))
        assert probabilities.sum() == pytest.approx(1, abs=1e-12)
        assert (probabilities > 0).all()


@settings(deadline=None)
@given(st.lists(st.text(max_size=12), max_size=6), st.binary(max_size=6), st.integers(1, 8))
def test_they_sum_to_one_whatever_the_texts(texts: list[str], context: bytes, order: int) -> None:
    assert fit_ngrams(texts, order).probability(keys_of(context, order)).sum() == pytest.approx(1, abs=1e-9)


def test_a_bigram_probability_is_kneser_and_neys_by_hand() -> None:
    """ab, ab, ac: P(b|a) = (2 - D)/3 + D 2/3 P(b), with continuation counts below."""
    model = fit_ngrams(["ab", "ab", "ac"], 2)
    # Bigrams: START a 3, a b 2, a c 1, b END 2, c END 1: n1 = 2, n2 = 2, D = 2 / 6.
    high = 2 / 6
    assert model.orders[1].discount == pytest.approx(high)
    # Continuations: a 1, b 1, c 1, END 2 (after b and after c): total 5, distinct 4, n1 = 3, n2 = 1, D = 3 / 5.
    low = 3 / 5
    unigram_b = (1 - low) / 5 + low * 4 / 5 / VOCABULARY
    expected = (2 - high) / 3 + high * 2 / 3 * unigram_b
    assert model.probability(keys_of(b"a", 2))[ord("b")] == pytest.approx(expected)
    unseen = high * 2 / 3 * (low * 4 / 5 / VOCABULARY)
    assert model.probability(keys_of(b"a", 2))[ord("z")] == pytest.approx(unseen)


def test_a_texts_nll_is_the_mean_over_its_bytes_and_end() -> None:
    model = fit_ngrams(CORPUS, 3)
    text = "a red bus"
    by_hand, context = 0.0, b""
    for byte in as_bytes(text):
        by_hand -= math.log(model.probability(keys_of(context, 3))[byte])
        context += bytes([byte])
    assert model.mean_nll([text])[0] == pytest.approx(by_hand / len(as_bytes(text)))


def test_a_text_scores_the_same_whatever_stands_beside_it() -> None:
    model = fit_ngrams(CORPUS, 4)
    texts = [*CORPUS, "unseen words", "a", " \n "] * 3
    together = model.mean_nll(texts)
    assert together == pytest.approx([model.mean_nll([text])[0] for text in texts])


def test_the_empty_model_is_uniform() -> None:
    assert fit_ngrams([], 4).mean_nll(["abc"])[0] == pytest.approx(math.log(VOCABULARY))


def test_what_was_seen_is_likelier_than_what_was_not() -> None:
    model = fit_ngrams(CORPUS, 5)
    seen, unseen = model.mean_nll(["a red bus on a bridge", "zq vx kj ww"])
    assert seen < unseen - 2


def test_windows_do_not_look_into_the_text_before() -> None:
    two = window_keys([b"ab\x03", b"cd\x03"], 3)
    assert [key.item().to_bytes(3, "big") for key in two] == [
        bytes([START, START]) + b"a", bytes([START]) + b"ab", b"ab\x03",
        bytes([START, START]) + b"c", bytes([START]) + b"cd", b"cd\x03",
    ]  # fmt: skip


def test_tensors_bring_the_same_model_back() -> None:
    model = fit_ngrams(CORPUS, 8)
    again = from_tensors(model.tensors(), 8)
    assert np.array_equal(model.mean_nll(CORPUS), again.mean_nll(CORPUS))


@given(st.text(max_size=40))
def test_no_text_holds_the_marks_of_start_and_end(text: str) -> None:
    coded = as_bytes(text)
    assert START not in coded
    assert coded.count(END) == 1
    assert coded[-1] == END
