"""The chosen caption has the smallest rank variance over the rotations: the kernel, both scorers, the captioner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from populations import view_of
from scans import png, scan, scored, write
from shapes import picture

from pairwright.components.dataset.shards.columns import to_numpy
from pairwright.components.filter.scorers.rotation_stability import chosen_columns
from pairwright.components.filter.selections.crossfit_rotation_stability import (
    CrossfitRotationStability,
    CrossfitRotationStabilitySettings,
)
from pairwright.components.filter.selections.rank_stability import ROTATIONS, most_stable, rank_variance
from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.towers.towers import load_image_tower
from pairwright.components.models.towers.untrained import new_dual_encoder

SCORES = st.integers(1, 6).flatmap(
    lambda k: st.lists(
        st.lists(st.one_of(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5]), st.floats(-1, 1)), min_size=k, max_size=k),
        min_size=4,
        max_size=4,
    )
)


def plain_ranks(row: list[float]) -> list[float]:
    """Mid-ranks by sorting, best first from 1."""
    ordered = sorted(row, reverse=True)
    return [np.mean([place + 1 for place, value in enumerate(ordered) if value == mine]) for mine in row]


@given(SCORES)
def test_the_chosen_has_the_smallest_rank_variance_and_of_equals_the_higher_mean(rows: list[list[float]]) -> None:
    scores = np.array(rows, np.float64)
    variance = np.var([plain_ranks(row) for row in rows], axis=0)
    assert rank_variance(scores) == pytest.approx(variance)
    winner = most_stable(scores)
    assert variance[winner] == pytest.approx(variance.min())
    equals = np.flatnonzero(np.isclose(variance, variance.min()))
    assert scores[:, winner].mean() == pytest.approx(scores[:, equals].mean(axis=0).max())


@given(SCORES, st.integers(1, 6))
def test_a_shortlist_ranks_its_own_alone(rows: list[list[float]], shortlist: int) -> None:
    scores = np.array(rows, np.float64)
    best = np.argsort(-scores.mean(axis=0), kind="stable")[:shortlist]
    winner = most_stable(scores, shortlist)
    assert winner in best
    inside = rank_variance(scores[:, best])
    assert inside[list(best).index(winner)] == inside.min()


def test_a_caption_that_is_steadily_the_worst_wins_only_without_a_shortlist() -> None:
    scores = np.array([[0.9, 0.8, 0.7, 0.1], [0.8, 0.9, 0.7, 0.1], [0.7, 0.8, 0.9, 0.1], [0.9, 0.7, 0.8, 0.1]])
    assert most_stable(scores) == 3
    assert most_stable(scores, shortlist=3) != 3
    told = chosen_columns(scores[None], ("a", "b", "c", "d"), 3)
    winner = most_stable(scores, 3)
    assert told["source"] == ["abcd"[winner]]
    assert told["variance"] == [rank_variance(scores[:, :3])[winner]]  # as ranked among the three


@given(SCORES, st.integers(0, 5), st.randoms(use_true_random=False))
def test_absent_candidates_take_no_place_and_order_decides_nothing(
    rows: list[list[float]], absent: int, random: Any
) -> None:
    scores = np.array(rows, np.float64)
    if absent < scores.shape[1]:
        scores[random.randrange(4), absent] = np.nan
    present = np.flatnonzero(~np.isnan(scores).any(axis=0))
    assert rank_variance(scores)[present] == pytest.approx(rank_variance(scores[:, present]))
    winner = most_stable(scores)
    if not len(present):
        assert winner == -1
        return
    assert winner in present
    order = random.sample(range(scores.shape[1]), scores.shape[1])
    again = order[most_stable(scores[:, order])]
    assert rank_variance(scores)[again] == rank_variance(scores)[winner]
    assert scores[:, again].mean() == pytest.approx(scores[:, winner].mean())


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("encoder")
    image, text = (resolve_model(f"builtin:tiny-{side}") for side in ("image", "text"))
    new_dual_encoder(image, text, 16, seed=3).save(folder)
    return resolve_model(str(folder))


def planted(root: Path) -> Any:
    pairs: dict[str, Any] = {
        f"{n}": (png(np.asarray(picture(n, 40))), f"caption {n}", {"second": f"another {n * 7}", "third": f"x{n}"})
        for n in range(12)
    }
    pairs["lone"] = png(np.asarray(picture(50, 40))), "the only caption", {"second": " "}
    pairs["silent"] = png(np.asarray(picture(51, 40))), None
    pairs["broken"] = b"x", "a caption", {"second": "b"}
    return write(root, pairs)


def test_the_scorer_chooses_by_the_models_own_cosines(encoder: Any, tmp_path: Path) -> None:
    sources = ["alt", "second", "third"]
    options = {"model": encoder.model_dump(mode="json"), "sources": sources}
    found = scored(tmp_path, planted(tmp_path), ("rotation_stability", options))
    model = load_dual_encoder(encoder)
    chosen = found["rotation_stability.source"]
    for n in range(12):
        image = np.asarray(picture(n, 40))
        texts = model.encode_text([f"caption {n}", f"another {n * 7}", f"x{n}"])
        turned = model.encode_image([np.ascontiguousarray(np.rot90(image, k)) for k in range(4)])
        scores = (turned @ texts.T).numpy()
        variance = np.var([plain_ranks(row) for row in scores.tolist()], axis=0)
        winner = sources.index(chosen[n])
        assert variance[winner] == pytest.approx(variance.min())
        assert found["rotation_stability.variance"][n] == pytest.approx(variance.min(), abs=1e-6)
        assert found["rotation_stability.score"][n] == pytest.approx(scores[:, winner].mean(), abs=1e-5)
    assert len(set(chosen[:12])) > 1  # a scorer that always said the same would pass half of this
    assert chosen[12:] == ["alt", None, None]
    assert found["rotation_stability.candidates"] == [3] * 12 + [1, None, None]


def test_the_captioner_takes_the_chosen_ones_words_and_says_when_it_could_not(encoder: Any, tmp_path: Path) -> None:
    sources = ["alt", "second", "third"]
    options = {"model": encoder.model_dump(mode="json"), "sources": sources}
    choose = {"choice": "rotation_stability.source", "sources": sources}
    view = scan(tmp_path, planted(tmp_path), ("rotation_stability", options), ("chosen", choose))
    source, text, note = (
        view.column(n).to_pylist() for n in ("rotation_stability.source", "chosen.text", "chosen.note")
    )
    words = {"alt": "caption {}", "second": "another {}", "third": "x{}"}
    for n in range(12):
        assert text[n] == words[source[n]].format(n * 7 if source[n] == "second" else n)
    assert text[12:] == ["the only caption", None, "a caption"]
    assert note == [None] * 13 + [None, "no_choice"]


def test_turned_features_are_of_the_turned_picture_and_only_where_wanted(tmp_path: Path) -> None:
    pairs = {f"{n}": (png(np.asarray(picture(n, 32))), "a red bird" if n % 2 else "a fish") for n in range(6)}
    dataset = write(tmp_path, pairs | {"broken": (b"x", "a bird")})
    tower = resolve_model("builtin:tiny-image").model_dump(mode="json")
    named = ("domain_keywords", {"keywords": ["bird"]})
    rotated = ("rotated_image_features", {"tower": tower, "where": "domain_keywords.hit"})
    view = scan(tmp_path, dataset, named, rotated)
    for turns, name in enumerate(("r90", "r180", "r270"), 1):
        column = view.column(f"rotated_image_features.{name}")
        assert column.is_valid().to_pylist() == [False, True] * 3 + [False]
        views = [np.ascontiguousarray(np.rot90(np.asarray(picture(n, 32)), turns)) for n in (1, 3, 5)]
        expected = load_image_tower("builtin:tiny-image").features(views).half().numpy()
        assert np.abs(to_numpy(column)[[1, 3, 5]] - expected).max() < 2e-3


def vectors(values: np.ndarray, absent: tuple[int, ...] = ()) -> pa.Array:
    rows = [None if i in absent else row for i, row in enumerate(values.astype(np.float32).tolist())]
    return pa.array(rows, pa.list_(pa.float32(), values.shape[1]))


def test_cross_fitted_heads_find_the_caption_that_turning_leaves_alone(tmp_path: Path) -> None:
    """A picture means one thing upright and another turned; one candidate says what stays, one what goes."""
    random = np.random.default_rng(0)
    n, width = 120, 16
    stays, goes = random.normal(size=(2, n, 3))
    to_image, to_text = random.normal(size=(2, 6, width))

    def seen(second: np.ndarray) -> np.ndarray:
        return np.concatenate([stays, second], 1) @ to_image

    def said(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.concatenate([a, b], 1) @ to_text

    columns = {
        "image_features.vector": vectors(seen(goes)),
        "text_features.vector": vectors(said(stays, goes)),
        "near.group": pa.array(np.arange(n), pa.int64()),
        "steady.vector": vectors(said(2 * stays, 0 * goes), absent=(7,)),
        "fickle.vector": vectors(said(0 * stays, 2 * goes)),
        "poor.vector": vectors(said(*random.normal(size=(2, n, 3)))),
    }
    for name in ("r90", "r180", "r270"):
        columns[f"rotated.{name}"] = vectors(seen(random.normal(size=(n, 3))), absent=(9,))
    options = {
        "near": "near.group",
        "candidates": {name: f"{name}.vector" for name in ("fickle", "steady", "poor")},
        "shortlist": 2,
        "steps": 150,
        "dim": 8,
    }
    component = CrossfitRotationStability(CrossfitRotationStabilitySettings(**options))
    assert {"rotated.r90", "steady.vector", "near.group"} <= set(component.column_names())
    found = component.select(view_of(tmp_path, columns, shards=2))
    source = found["source"]
    known = [s for i, s in enumerate(source) if i not in (7, 9)]
    assert np.mean([s == "steady" for s in known]) > 0.6
    assert np.mean([s == "steady" for s in known]) > 2 * np.mean([s == "fickle" for s in known])
    assert source[9] is None
    assert source[7] in ("fickle", "poor")
    assert found["candidates"][7] == 2
    assert len(ROTATIONS) == 4
