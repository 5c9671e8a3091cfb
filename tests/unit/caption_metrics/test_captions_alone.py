"""What needs no reference: distinct-n, repetition, entities kept, CLIPScore, self-retrieval."""

from __future__ import annotations

import numpy as np
import pytest

from pairwright.components.caption_metrics.clip_score import clip_score, ref_clip_score
from pairwright.components.caption_metrics.distinct import distinct_n, distinct_shares
from pairwright.components.caption_metrics.entities import entities_of, retained
from pairwright.components.caption_metrics.repetition import repetition
from pairwright.components.caption_metrics.self_retrieval import bags_of, self_ranks
from pairwright.components.errors import NotFinite

TEXTS = [text.split() for text in ("a dog runs", "a dog sits", "a cat", "")]


def test_distinct_n_is_different_runs_over_all() -> None:
    assert distinct_n(TEXTS, 1) == pytest.approx(5 / 8)
    assert distinct_n(TEXTS, 2) == pytest.approx(4 / 5)
    assert distinct_n([["a"]] * 100, 1) == pytest.approx(0.01)
    assert distinct_n(TEXTS[3:], 1) == 0, "who says nothing is not varied"


def test_each_captions_part_in_distinct_n_sums_to_it() -> None:
    for n in (1, 2):
        part, whole = distinct_shares(TEXTS, n)
        assert part.sum() / whole.sum() == pytest.approx(distinct_n(TEXTS, n))


def test_repetition_is_what_a_caption_has_said_before() -> None:
    assert repetition([["a", "b"] * 4, list("abcdefgh"), ["a"], []], n=2) == pytest.approx([1 - 2 / 7, 0, 0, 0])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("The Eiffel Tower in Paris, 1889", ["eiffel tower", "paris", "1889"]),
        ("Beautiful dog with the Queen of England. London is nice", ["queen of england"]),
        ("NASA sends McDonald to 3 moons", ["nasa", "mcdonald", "3"]),
        ("a dog runs", []),
        ("Dog", []),
        ("Photo by John F. Kennedy", ["john f kennedy"]),
        ("", []),
    ],
)
def test_names_are_told_by_their_capitals_but_for_a_sentences_first_word(text: str, names: list[str]) -> None:
    assert entities_of(text) == names


def test_an_entity_is_kept_where_it_stands_word_for_word() -> None:
    kept = retained([["paris", "eiffel tower", "18"], []], ["The EIFFEL tower, 1889: parisian", "nothing"])
    assert [one.tolist() for one in kept] == [[False, True, False], []]
    with pytest.raises(ValueError):
        retained([[]], [])


def unit(*rows: list[float]) -> np.ndarray:
    vectors = np.array(rows, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_clip_score_is_two_and_a_half_cosines_and_never_below_nothing() -> None:
    image, caption = unit([1, 0], [1, 0], [1, 0]), unit([1, 0], [1, 1], [-1, 0])
    assert clip_score(caption, image) == pytest.approx([2.5, 2.5 / 2**0.5, 0], abs=1e-6)
    found = ref_clip_score(caption, image, [unit([0, 1], [1, 1]), unit([1, 1]), unit([-1, 0])])
    a, b = 2.5, 0.5**0.5
    assert found == pytest.approx([2 * a * b / (a + b), 2 * 2.5 * b / (2.5 * b + 1), 0], abs=1e-6)


def test_a_caption_is_ranked_among_its_bag_and_ties_count_against_it() -> None:
    image = np.eye(6, dtype=np.float32)
    bags = [np.array([0, 1, 2]), np.array([3, 4])]
    assert self_ranks(image, image, bags).tolist() == [1, 1, 1, 1, 1, 0]
    same = np.ones((6, 6), np.float32) / 6**0.5
    assert self_ranks(same, image, bags).tolist() == [3, 3, 3, 2, 2, 0], "one caption for all is last"
    with pytest.raises(NotFinite):
        self_ranks(np.full((6, 6), np.nan), image, bags)


def test_a_bag_holds_no_two_pictures_of_one_group() -> None:
    groups = [f"g{i % 40}" for i in range(100)]
    bags = bags_of(groups, among=10)
    assert all(len(bag) == 10 and len({groups[i] for i in bag}) == 10 for bag in bags)
    every = np.concatenate(bags)
    assert len(set(every.tolist())) == len(every) == 100
    assert [len(bag) for bag in bags_of(groups[:25], among=100)] == [25], "of fewer groups than that, one bag"
    assert [bag.tolist() for bag in bags_of(groups, 10)] != [bag.tolist() for bag in bags_of(groups, 10, seed=1)]
