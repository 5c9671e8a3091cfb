"""Cross-fitting: no pair is scored by heads that saw its group, and misaligned captions score lower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from populations import view_of

from pairwright.components.filter.selections.caption_column import caption_column
from pairwright.components.filter.selections.caption_frequency import CaptionFrequency, CaptionFrequencySettings
from pairwright.components.filter.selections.crossfit_alignment import CrossfitAlignment, CrossfitAlignmentSettings
from pairwright.components.filter.selections.folds import balanced_folds

ROWS, WIDTH = 120, 16
OPTIONS = {"steps": 60, "dim": 8, "batch_size": 64}


def features(seed: int = 0, swapped: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and captions of one hidden meaning seen through two random maps; the first `swapped` captions rotate."""
    random = np.random.default_rng(seed)
    meaning = random.normal(size=(ROWS, 4)).astype(np.float32)
    image = meaning @ random.normal(size=(4, WIDTH)).astype(np.float32)
    text = meaning @ random.normal(size=(4, WIDTH)).astype(np.float32)
    text[:swapped] = np.roll(text[:swapped], 1, axis=0)
    return image, text


def vectors(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), pa.float32()), values.shape[1])


def population(root: Path, image: np.ndarray, text: np.ndarray, **options: Any) -> Any:
    near = options.pop("near", np.arange(ROWS))
    columns = {
        "image_features.vector": vectors(image),
        "text_features.vector": vectors(text),
        "near_duplicates.group": pa.array(near, pa.int64()),
    }
    return view_of(root, columns, shards=2, **options)


def select(view: Any, **settings: Any) -> dict[str, np.ndarray]:
    columns = CrossfitAlignment(CrossfitAlignmentSettings(**(OPTIONS | settings))).select(view)
    return {name: array.to_numpy(zero_copy_only=False) for name, array in columns.items()}


@pytest.mark.slow
def test_no_pair_is_scored_by_heads_that_saw_its_group(tmp_path: Path) -> None:
    """Change one group's features: in its own fold nothing but that group's own scores may move."""
    image, text = features()
    near = np.arange(ROWS) // 3 * 3
    before = select(population(tmp_path / "a", image, text, near=near))
    victim = near == near[40]
    image[victim], text[victim] = 7.0, -5.0
    after = select(population(tmp_path / "b", image, text, near=near))
    assert (before["fold"] == after["fold"]).all()
    own = before["fold"] == before["fold"][40]
    assert len(set(before["fold"][victim])) == 1
    assert (before["score"][own & ~victim] == after["score"][own & ~victim]).all()
    assert (before["score"][~own] != after["score"][~own]).mean() > 0.9


def test_no_group_of_any_kind_crosses_the_folds(tmp_path: Path) -> None:
    image, text = features()
    near = np.arange(ROWS)
    near[10:20] = 10
    captions = {str(i): f"caption {i}" for i in range(ROWS)} | {"20": "A  RED bus!", "90": "a red bus", "91": ""}
    found = select(
        population(tmp_path, image, text, near=near, captions=captions, groups={"19": "coins", "20": "coins", "5": "x"})
    )
    together = [*range(10, 20), 20, 90]
    assert len(set(found["group"][together])) == 1
    assert len(set(found["fold"][together])) == 1
    assert found["group"][91] == 91
    assert len(set(found["group"])) == ROWS - len(together) + 1


@pytest.mark.slow
def test_swapped_captions_score_lower_than_their_own(tmp_path: Path) -> None:
    image, text = features(swapped=30)
    score = select(population(tmp_path, image, text), steps=150)["score"]
    better = (score[30:, None] > score[None, :30]).mean()
    assert better > 0.85
    assert (np.abs(score) <= 1).all()


@pytest.mark.slow
def test_heads_are_fitted_on_one_picture_and_may_score_another(tmp_path: Path) -> None:
    """`scored_image`, e.g. the picture without its text: where it is the same, so is the score, bit for bit."""
    image, text = features()
    masked = image.copy()
    masked[:20] = np.random.default_rng(9).normal(size=(20, WIDTH))
    columns = {
        "image_features.vector": vectors(image),
        "masked.vector": vectors(masked),
        "text_features.vector": vectors(text),
        "near_duplicates.group": pa.array(np.arange(ROWS), pa.int64()),
    }
    view = view_of(tmp_path, columns)
    plain, seen = select(view, steps=150), select(view, steps=150, scored_image="masked.vector")
    assert np.array_equal(plain["score"][20:], seen["score"][20:])
    assert (plain["score"] - seen["score"])[:20].mean() > 0.3


@pytest.mark.slow
def test_the_same_seed_gives_the_same_scores_and_another_does_not(tmp_path: Path) -> None:
    view = population(tmp_path, *features())
    assert (select(view)["score"] == select(view)["score"]).all()
    assert (select(view)["score"] != select(view, seed=1)["score"]).any()


def test_pairs_without_features_are_null_and_excluded_pairs_teach_nothing(tmp_path: Path) -> None:
    image, text = features()
    columns = {
        "image_features.vector": vectors(image),
        "text_features.vector": pa.array(
            [None if i < 4 else row for i, row in enumerate(text.tolist())], pa.list_(pa.float32(), WIDTH)
        ),
        "near_duplicates.group": pa.array(np.arange(ROWS), pa.int64()),
        "text.words": pa.array([1 if i % 2 else 5 for i in range(ROWS)], pa.int32()),
    }
    view = view_of(tmp_path / "a", columns)
    component = CrossfitAlignment(CrossfitAlignmentSettings(**OPTIONS, among={"long": "text.words >= 3"}))
    assert "text.words" in component.column_names()
    first = component.select(view)["score"].to_numpy(zero_copy_only=False)
    assert np.isnan(first[:4]).all()
    assert not np.isnan(first[4:]).any()
    taught = image.copy()
    taught[41] = 9.0  # row 41 is excluded: only its own score may change
    changed = view_of(tmp_path / "b", columns | {"image_features.vector": vectors(taught)})
    again = component.select(changed)["score"].to_numpy(zero_copy_only=False)
    others = np.arange(4, ROWS) != 41
    assert (first[4:][others] == again[4:][others]).all()


@given(st.lists(st.integers(0, 12), min_size=1, max_size=200))
def test_folds_keep_groups_whole_and_differ_by_at_most_the_largest(labels: list[int]) -> None:
    group = np.array(labels)
    fold = balanced_folds(group, np.ones(len(group), bool))
    for label in set(labels):
        assert len(set(fold[group == label])) == 1
    largest = max(labels.count(label) for label in set(labels))
    assert abs((fold == 0).sum() - (fold == 1).sum()) <= largest


def test_captions_are_compared_without_case_punctuation_and_space(tmp_path: Path) -> None:
    view = view_of(tmp_path, {"a.x": pa.array([1, 2, 3])}, shards=2, captions={"0": " A red—BUS. ", "2": "Ｅtude"})
    assert caption_column(view, "alt").to_pylist() == ["a red bus", None, "etude"]
    with pytest.raises(StopIteration):
        next(text for text in caption_column(view, "keywords").to_pylist() if text is not None)


def test_caption_frequency_counts_equal_captions_wherever_they_stand(tmp_path: Path) -> None:
    captions = {"0": "Etiquette Icons", "1": "A cat", "2": "etiquette  icons!", "4": "", "5": "ETIQUETTE ICONS"}
    view = view_of(tmp_path, {"a.x": pa.array(range(6))}, shards=3, captions=captions)
    found = CaptionFrequency(CaptionFrequencySettings()).select(view)
    assert found["count"].to_pylist() == [3, 1, 3, None, 1, 3]
    assert found["share"].to_pylist() == pytest.approx([3 / 6, 1 / 6, 3 / 6, None, 1 / 6, 3 / 6])
