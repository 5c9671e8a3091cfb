"""Retrieval and zero-shot: chance, oracle, several positives, definitions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learning import features_view, tiny_model, tiny_settings
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pairwright.components.component import Metric
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.errors import DatasetError
from pairwright.components.evaluate.retrieval import Retrieval, RetrievalSettings, chance_recall, first_ranks
from pairwright.components.evaluate.split import features_of, positives_of
from pairwright.components.evaluate.zero_shot import ZeroShot, ZeroShotSettings, class_weights, spoken
from pairwright.components.models.dual_encoder import load_dual_encoder
from pairwright.components.models.encoder import DualEncoder
from pairwright.components.models.towers.untrained import new_dual_encoder


class Reader(DualEncoder):
    """An oracle on shapes: reads the colour and place off the picture, and the caption's words."""

    dim = 8
    image_size = 32

    def __init__(self, noise: bool = False) -> None:
        super().__init__()
        self.noise = noise
        self.log_scale = torch.nn.Parameter(torch.zeros(()))

    def image_features(self, images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        random = torch.Generator().manual_seed(5)
        if self.noise:
            return torch.randn(len(images), self.dim, generator=random)
        return torch.stack([torch.from_numpy(self._facts(image)) for image in images])

    @staticmethod
    def _facts(image: np.ndarray) -> np.ndarray:
        from shapes import COLOURS

        ground = image[0, 0].astype(int)
        ink = np.abs(image.astype(int) - ground).sum(-1) > 150
        y, x = (axis.mean() / len(image) - 0.5 for axis in np.nonzero(ink))
        place = [x < -0.1, x > 0.1, y < -0.1, y > 0.1]
        colour = np.median(image[ink], axis=0)
        distances = [np.abs(colour - np.array(rgb)).sum() for rgb in COLOURS.values()]
        return np.r_[np.eye(4)[int(np.argmin(distances))], np.array(place, float)].astype(np.float32)

    def text_features(self, texts: Sequence[str]) -> Tensor:
        from shapes import COLOURS, POSITIONS

        words = [*COLOURS, *POSITIONS]
        if self.noise:
            return torch.randn(len(texts), self.dim, generator=torch.Generator().manual_seed(6))
        return torch.tensor([[float(word in text.split()) for word in words] for text in texts])

    def project_image(self, features: Any) -> Tensor:
        return F.normalize(features.float(), dim=-1)

    project_text = project_image


def by_name(metrics: list[Metric]) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


@pytest.fixture
def split(shapes: Any) -> Dataset:
    return shapes(48, 2)


def test_an_oracle_finds_every_pair(split: Dataset) -> None:
    # 16 kinds of (colour, place) of 3 shapes each: the oracle does not see the shape, so first is 1 in 3 ...
    metrics = by_name(Retrieval(RetrievalSettings()).evaluate(Reader(), split))
    assert metrics["i2t_r5"].value == metrics["t2i_r5"].value == 1.0
    assert metrics["i2t_median_rank"].value <= 3
    # ... and identical scores are what a perfect model would give
    ranks = first_ranks(np.eye(48), np.eye(48, dtype=bool))
    assert (ranks == 1).all()


def test_a_random_model_scores_chance(split: Dataset) -> None:
    random = np.random.default_rng(0)
    positive = positives_of(features_of(Reader(), split))
    positive[:10, :10] = True
    for k in (1, 5, 10):
        found = np.mean([(first_ranks(random.random(positive.shape), positive) <= k).mean() for _ in range(400)])
        assert abs(found - chance_recall(positive, k)) < 0.01
    noisy = by_name(Retrieval(RetrievalSettings()).evaluate(Reader(noise=True), split))
    assert noisy["i2t_r1"].value < 0.15


def test_a_model_that_says_the_same_of_all_earns_nothing() -> None:
    ranks = first_ranks(np.zeros((20, 20)), np.eye(20, dtype=bool))
    assert (ranks == 20).all()


def test_identical_captions_and_groups_are_all_right_answers(shapes: Any) -> None:
    split = features_of(Reader(), shapes(96, 2))  # every kind twice: another picture, the same caption
    positive = positives_of(split)
    assert (positive.sum(axis=1) == 2).all()
    assert positive[0, 48]
    assert (positive == positive.T).all()


def test_every_metric_has_a_definition_a_size_and_an_interval(split: Dataset) -> None:
    model = Reader()
    for benchmark in (Retrieval(RetrievalSettings()), ZeroShot(ZeroShotSettings(label="colour"))):
        items = benchmark.evaluate_items(model, split)
        assert len(items["groups"]) == 48
        for metric in benchmark.evaluate(model, split):
            assert metric.low <= metric.value <= metric.high
            assert metric.n == 48 == len(items[metric.name])
            assert len(metric.definition) > 40
            if "median" not in metric.name:
                assert np.isclose(items[metric.name].mean(), metric.value)


def test_zero_shot_reads_the_colour_and_not_the_shape(split: Dataset) -> None:
    colour = by_name(ZeroShot(ZeroShotSettings(label="colour")).evaluate(Reader(), split))
    assert colour["accuracy"].value == colour["balanced_accuracy"].value == 1.0
    shape = by_name(ZeroShot(ZeroShotSettings(label="category")).evaluate(Reader(), split))
    assert shape["accuracy"].value == 0.0  # all classes tie, and a tie counts against
    with pytest.raises(DatasetError, match="no label"):
        ZeroShot(ZeroShotSettings(label="species")).evaluate(Reader(), split)


def test_prompts_are_averaged_and_normalised_again() -> None:
    model = new_dual_encoder(tiny_settings().image_tower, tiny_settings().text_tower, 16)
    benchmark = ZeroShot(ZeroShotSettings(templates=["{}", "a photo of {}"]))
    vectors = benchmark.class_vectors(model, ["red", "sea_lion"])
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(2), atol=1e-6)
    by_hand = model.encode_text(["sea lion", "a photo of sea lion"]).mean(0)
    assert torch.allclose(vectors[1], by_hand / by_hand.norm(), atol=1e-6)
    assert spoken("naturalForces/big_ones") == "natural forces big ones"


def test_balanced_weights_give_each_class_the_same_say() -> None:
    truth = np.array([0, 0, 0, 1])
    weights = class_weights(truth)
    assert np.isclose(weights.mean(), 1)
    assert np.isclose((np.array([1, 1, 1, 0]) * weights).mean(), 0.5)


def test_models_of_one_tower_share_one_pass_of_it(split: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    from pairwright.components.models.towers.tiny import TinyImage

    passes = []
    forward = TinyImage.forward
    monkeypatch.setattr(TinyImage, "forward", lambda self, x: (passes.append(len(x)), forward(self, x))[1])
    settings = tiny_settings()
    models = [new_dual_encoder(settings.image_tower, settings.text_tower, 16, seed=seed) for seed in range(6)]
    scores = [Retrieval(RetrievalSettings()).evaluate(model, split)[3].value for model in models]
    assert sum(passes) == 48
    assert len(set(scores)) > 1
    trained = new_dual_encoder(settings.image_tower, settings.text_tower, 16, train_towers=True)
    features_of(trained, split)
    features_of(trained, split)
    assert sum(passes) == 48 * 3  # a tower trained with its model is never taken from the cache


@pytest.mark.slow
def test_training_on_shapes_beats_an_untrained_model_over_three_seeds(shapes: Any, tmp_path: Path) -> None:
    train_on, held_out = shapes(96, 1, name="train"), shapes(48, 1, name="held", start=480)
    view = features_view(train_on, tmp_path)
    for seed in range(3):
        folder = tiny_model(view, tmp_path / str(seed), steps=150, lr=1e-2, batch_size=48, seed=seed)
        trained = by_name(Retrieval(RetrievalSettings()).evaluate(load_dual_encoder(folder), held_out))
        settings = tiny_settings()
        fresh = new_dual_encoder(settings.image_tower, settings.text_tower, 16, seed=seed)
        before = by_name(Retrieval(RetrievalSettings()).evaluate(fresh, held_out))
        assert trained["t2i_r5"].low > before["t2i_r5"].value
