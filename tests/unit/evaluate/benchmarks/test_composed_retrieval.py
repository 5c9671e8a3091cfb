"""Composed retrieval: an oracle, a constant and a random scorer on scenes; either side alone; a folder's round trip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from composed import TINY, Scorer
from knowing import Knowing, pictures_by_bytes, vector_of
from shapes import shapes_dataset
from things import scenes_datasets

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.facts import facts_of
from pairwright.components.errors import InvalidRecipe, ModelError
from pairwright.components.evaluate.benchmarks.composed_retrieval import (
    ComposedRetrieval,
    ComposedRetrievalSettings,
    first_ranks,
)
from pairwright.components.evaluate.metrics.searched import split_pictures
from pairwright.components.models.composed.combiner import Combiner
from pairwright.components.models.composed.composer import Composer
from pairwright.components.models.composed.net import ComposedNet
from pairwright.components.models.composed.qformer import QFormer
from pairwright.components.models.composed.retriever import ComposedRetriever
from pairwright.components.models.formats import load_model
from pairwright.components.models.towers.patches import grid_patches
from pairwright.components.models.towers.pixels import squash
from pairwright.components.models.towers.towers import load_image_tower, load_text_tower

Row = dict[str, Any]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return scenes_datasets(tmp_path_factory.mktemp("scenes"), 6, 60)[1]


def values(model: Any, dataset: Dataset) -> dict[str, float]:
    measured = ComposedRetrieval(ComposedRetrievalSettings()).measure(model, dataset)
    for metric in measured.metrics:
        assert metric.low <= metric.value <= metric.high
        assert metric.n == len(measured.items[metric.name]) == len(measured.items["groups"]) == 60
    return {metric.name: metric.value for metric in measured.metrics}


def reader(dataset: Dataset) -> Any:
    rows = pictures_by_bytes(dataset)
    return lambda picture: rows[picture.tobytes()]


def test_an_oracle_of_references_and_texts_finds_every_target_and_one_of_either_alone_does_not(scenes: Dataset) -> None:
    def score(reference: Row | None, text: str | None, gallery: list[Row]) -> list[float]:
        return [
            float(reference is not None and one["labels"]["family"] == reference["labels"]["family"])
            + float(text is not None and one["texts"]["modification"] == text)
            for one in gallery
        ]

    found = values(Scorer(score, reader(scenes)), scenes)
    assert found["both_r1"] == found["both_r10"] == found["both_subset_r1"] == 1.0
    assert found["image_r1"] == 0.0  # five of a family tie, and ties count against
    assert found["image_r5"] == 1.0
    assert found["text_r1"] < 1.0


def test_a_constant_scorer_finds_nothing_and_a_random_one_chance(scenes: Dataset) -> None:
    same = values(Scorer(lambda r, t, gallery: [0.1] * len(gallery)), scenes)
    assert same["both_r10"] == same["both_subset_r1"] == 0.0
    draw = np.random.default_rng(0)
    runs = [values(Scorer(lambda r, t, gallery: draw.random(len(gallery))), scenes) for _ in range(5)]
    assert np.mean([run["both_subset_r1"] for run in runs]) == pytest.approx(1 / 5, abs=0.06)
    assert np.mean([run["both_r10"] for run in runs]) == pytest.approx(10 / 59, abs=0.06)


def test_a_dual_encoder_asks_by_the_average_of_both(scenes: Dataset) -> None:
    rows = pictures_by_bytes(scenes)
    model = Knowing(lambda p: vector_of(rows[p.tobytes()]["labels"]["family"]), vector_of)
    pictures = split_pictures(scenes, 128).images[:7]
    gallery = model.index(pictures)
    numbers, scores = model.search(gallery, 3, texts=["x"] * 2, images=pictures[:2])
    both = torch.nn.functional.normalize(model.encode_image(pictures[:2]) + model.encode_text(["x", "x"]), dim=-1)
    best = (both @ gallery.T).topk(3)
    assert np.array_equal(numbers, best.indices.numpy())
    assert np.allclose(scores, best.values.numpy())
    with pytest.raises(ValueError, match="needs texts or images"):
        model.search(gallery, 3)


def test_ranks_count_ties_against_and_leave_out_what_is_no_answer() -> None:
    scores = np.array([[0.9, 0.5, 0.5, -np.inf], [0.1, 0.2, 0.3, 0.4], [-np.inf, 0.2, 0.1, 0.0]])
    right = np.array([[False, True, False, False], [False, False, False, True], [True, False, False, False]])
    assert first_ranks(scores, right).tolist() == [3, 1, 5]


def test_data_without_references_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match=r'label "reference".*composed scenes have both'):
        ComposedRetrieval(ComposedRetrievalSettings()).check_data(facts_of(shapes_dataset(tmp_path, 6, 1)))


def nets(width: int = 64) -> list[ComposedNet]:
    torch.manual_seed(0)
    small = {"dim": 8, "width": 16, "layers": 1, "heads": 2, "most_words": 12}
    return [
        Combiner(width, width, dim=8, hidden=16),
        QFormer(width, width, queries=2, grid=2, **small),
        Composer(width, width, **small),
    ]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_folder_gives_the_same_answers_and_the_same_bytes(tmp_path: Path, scenes: Dataset, place: int) -> None:
    towers = load_image_tower(TINY["image_tower"]), load_text_tower(TINY["text_tower"])
    model = ComposedRetriever(*towers, nets()[place]).eval()
    model.save(tmp_path / "a", "# Card\n")
    model.save(tmp_path / "b", "# Card\n")
    for file in sorted((tmp_path / "a").iterdir()):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    loaded = load_model(tmp_path / "a", "retriever")
    pictures = split_pictures(scenes, 32).images[:6]
    texts = [f"make it {word}" for word in ("red", "blue", "two", "small", "a cat", "")]
    for asked in ({"texts": texts}, {"images": pictures}, {"texts": texts, "images": pictures}):
        first, second = (one.search(one.index(pictures), 6, **asked) for one in (model, loaded))
        assert np.array_equal(first[0], second[0])
        assert np.array_equal(first[1], second[1])
    with pytest.raises(ValueError, match="as many of one as of the other"):
        loaded.search(loaded.index(pictures), 1, texts=texts[:2], images=pictures)
    (tmp_path / "a" / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="is damaged"):
        load_model(tmp_path / "a", "retriever")


def test_patches_average_to_the_towers_features_and_more_than_there_are_is_one_line() -> None:
    pictures = list(np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), np.uint8))
    tower = load_image_tower(TINY["image_tower"])
    squares = torch.from_numpy(squash(pictures, tower.side))
    assert grid_patches(tower, squares, 2).shape == (3, 4, 64)
    assert torch.allclose(grid_patches(tower, squares, 4).mean(1), tower.features(pictures), atol=1e-5)
    with pytest.raises(ModelError, match="16 patches of a picture, not 5 x 5"):
        grid_patches(tower, squares, 5)
    vectors, real = load_text_tower(TINY["text_tower"]).word_vectors(["ab", "c"])
    assert (vectors.shape, real.tolist()) == ((2, 2, 64), [[True, True], [True, False]])


def test_efficientnets_patches_average_to_its_features() -> None:
    tower = load_image_tower("builtin:efficientnet-lite0")
    pictures = list(np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8))
    whole = grid_patches(tower, torch.from_numpy(squash(pictures, tower.side)), 7).detach()
    assert whole.shape == (2, 49, 1280)
    assert torch.allclose(whole.mean(1), tower.features(pictures), atol=1e-3)
