"""Concepts are found as the definition says, common ones are thinned to about t, rare ones stay whole."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from populations import view_of

from pairwright.components.errors import InvalidRecipe
from pairwright.components.filter.selections.concept_balance import (
    ConceptBalance,
    ConceptBalanceSettings,
    chances,
    draws,
)
from pairwright.components.filter.words.concept_lists import ConceptList, concepts_of, read_concepts
from pairwright.components.models.resolve import resolve_model

WORDS = st.lists(st.sampled_from(["red", "bus", "hot", "dog", "new", "york", "cheese", "cake"]), max_size=9)


@settings(max_examples=150, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=8), st.lists(WORDS.filter(bool), min_size=1, max_size=12))
def test_matches_are_those_of_padded_substrings(captions: list[list[str]], phrases: list[list[str]]) -> None:
    texts = [" ".join(words) for words in captions]
    concepts = ConceptList([" ".join(words[:4]) for words in phrases])
    row, concept = concepts.matches(pa.array(texts))
    found = set(zip(row.tolist(), concept.tolist(), strict=True))
    assert len(found) == len(row)
    expected = {
        (i, j) for i, text in enumerate(texts) for j, name in enumerate(concepts.names) if f" {name} " in f" {text} "
    }
    assert found == expected


def test_concepts_are_whole_words_however_they_are_written() -> None:
    concepts = ConceptList(["New York", "  hot-dog ", "CAT", "new   york", "", "café"])
    assert concepts.names == ["new york", "hot dog", "cat", "café"]
    row, concept = concepts.matches(pa.array(["a cat in new york", "category hot dogs", None, "", "café york new"]))
    assert list(zip(row.tolist(), concept.tolist(), strict=True)) == [(0, 0), (0, 2), (4, 3)]


def population(root: Path, texts: list[str | None], **options: Any) -> Any:
    captions = {str(i): text for i, text in enumerate(texts) if text is not None}
    return view_of(root, {"image.width": pa.array([100] * len(texts))}, captions=captions, **options)


def select(view: Any, **options: Any) -> dict[str, Any]:
    made = ConceptBalance(ConceptBalanceSettings(**options)).select(view)
    return {name: array.to_numpy(zero_copy_only=False) for name, array in made.items()}


def zipf_captions(seed: int, rows: int = 6000) -> tuple[list[str], np.ndarray]:
    """Captions that each name one concept, concept k with a frequency of about 1/k."""
    random = np.random.default_rng(seed)
    concept = np.minimum(random.zipf(1.6, rows), 60)
    return [f"the {chr(97 + c // 26)}{chr(97 + c % 26)}thing over there" for c in concept], concept


@pytest.mark.parametrize("seed", range(3))
def test_a_cap_flattens_the_head_and_leaves_the_tail_whole(tmp_path: Path, seed: int) -> None:
    texts, concept = zipf_captions(seed)
    found = select(population(tmp_path, texts, shards=3), cap=100, least=1, seed=seed)
    for number in np.unique(concept):
        mine = concept == number
        kept = int(found["keep"][mine].sum())
        if mine.sum() <= 100:
            assert kept == mine.sum()
        else:
            assert abs(kept - 100) <= 4 * np.sqrt(100)  # four deviations of a Poisson count
    before, after = (np.bincount(concept[which]) for which in (np.full(len(concept), True), found["keep"]))
    assert after.max() < before.max() / 5


def test_the_chance_is_that_of_the_papers_draws() -> None:
    """Algorithm 1, drawn: keep if any concept's coin falls below t / n."""
    rows, named = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 1, 2])
    counts, cap = np.array([50, 200, 5]), 20.0
    exact = chances(rows, named, counts, cap, 4)
    coins = np.random.default_rng(0).random((40_000, len(rows))) < np.minimum(1, cap / counts)[named]
    drawn = [coins[:, rows == row].any(axis=1).mean() for row in range(4)]
    assert np.allclose(exact, drawn, atol=0.01)
    assert exact[2] == 1
    assert exact[3] == 0


def test_share_finds_the_cap(tmp_path: Path) -> None:
    texts, _ = zipf_captions(0)
    found = select(population(tmp_path, texts), share=0.3, least=1)
    assert abs(found["keep"].mean() - 0.3) < 0.02
    assert abs(found["probability"].mean() - 0.3) < 0.005


def test_it_depends_on_seed_and_key_alone(tmp_path: Path) -> None:
    texts, _ = zipf_captions(1, 800)
    keys = [f"k{i}" for i in range(800)]
    order = np.random.default_rng(0).permutation(800)
    kept = []
    for name, which, seed in (("a", np.arange(800), 0), ("b", order, 0), ("c", np.arange(800), 1)):
        captions = {keys[i]: texts[i] for i in which}
        view = view_of(
            tmp_path / name, {"x.y": pa.array([0] * 800)}, keys=[keys[i] for i in which], captions=captions, shards=4
        )
        found = select(view, cap=30, least=1, seed=seed)["keep"]
        kept.append({keys[i] for i, keep in zip(which, found, strict=True) if keep})
    assert kept[0] == kept[1]
    assert kept[0] != kept[2]
    assert draws(keys, 0).min() >= 0
    assert draws(keys, 0).max() < 1
    assert abs(draws(keys, 0).mean() - 0.5) < 0.05


def test_the_populations_own_concepts_are_content_words_and_words_that_belong_together() -> None:
    texts = ["a red fire engine"] * 6 + ["the blue engine 42"] * 6 + ["a red ball", "fire on a hill", "once"] * 3
    concepts = concepts_of([pa.array(texts[:9]), pa.array(texts[9:])], least=5, least_information=0.5)
    assert set(concepts.names) == {"red", "fire", "engine", "blue", "red fire", "blue engine"}
    # engine is so common that fire engine says little more than chance: log2(6 * 21 / (9 * 12)) = 0.2 bits
    assert "fire engine" in concepts_of([pa.array(texts)], least=5, least_information=0.2).names
    assert not any(re.search(r"\b(a|the|on|42)\b", name) for name in concepts.names)


def test_a_caption_without_a_concept_goes_and_one_that_is_missing_is_null(tmp_path: Path) -> None:
    view = population(tmp_path, ["a red bus", "zzz", None, "a red bus"])
    found = select(view, least=2)
    assert found["keep"].tolist() == [True, False, None, True]
    assert found["concepts"][0] == 2
    assert found["rarest"].tolist() == ["red", None, None, "red"]


def test_a_file_of_concepts_is_read_and_an_empty_one_refused(tmp_path: Path) -> None:
    folder = tmp_path / "list"
    folder.mkdir()
    (folder / "concepts.txt").write_text("# colours\nred\n\nfire engine\n")
    view = population(tmp_path, ["a red fire engine", "an engine"])
    assert select(view, concepts=resolve_model(str(folder)))["concepts"].tolist() == [2, 0]
    (folder / "concepts.txt").write_text("# nothing\n")
    with pytest.raises(InvalidRecipe, match="names no concept"):
        read_concepts(str(folder / "concepts.txt"))
    with pytest.raises(InvalidRecipe, match="cannot be read"):
        read_concepts(str(tmp_path / "absent.txt"))


def test_only_pairs_that_pass_the_rules_are_counted(tmp_path: Path) -> None:
    texts = ["big dog"] * 40 + ["small cat"] * 10
    captions = {str(i): text for i, text in enumerate(texts)}
    width = pa.array([10] * 36 + [100] * 14)
    view = view_of(tmp_path, {"image.width": width}, captions=captions)
    found = select(view, cap=10, least=2, among={"large": "image.width > 64"})
    assert found["keep"].tolist() == [False] * 36 + [True] * 14


@pytest.mark.slow
def test_half_a_million_concepts_cost_little_more_than_a_thousand() -> None:
    import time

    random = np.random.default_rng(0)
    vocabulary = np.array([f"w{i}" for i in range(50_000)])
    texts = pa.array([" ".join(words) for words in vocabulary[random.integers(0, 50_000, (20_000, 10))]])
    seconds = []
    for size in (1_000, 500_000):
        drawn = vocabulary[random.integers(0, 50_000, (size, 2))]
        concepts = ConceptList([" ".join(words[: 1 + i % 2]) for i, words in enumerate(drawn)])
        start = time.perf_counter()
        concepts.matches(texts)
        seconds.append(time.perf_counter() - start)
    assert seconds[1] < 20 * seconds[0]
