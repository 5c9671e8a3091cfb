"""Retrieval and zero-shot: chance, oracle, several positives, definitions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learning import features_view, tiny_model, tiny_settings
from oracles import Reader
from shapes import caption_text, encoded, facts_of

from pairwright.components.component import Measured, Metric
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.pairs import captions_from
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.errors import DatasetError
from pairwright.components.evaluate.benchmarks.retrieval import Retrieval, RetrievalSettings
from pairwright.components.evaluate.benchmarks.zero_shot import ZeroShot, ZeroShotSettings, class_weights, spoken
from pairwright.components.evaluate.metrics.ranks import chance_recall
from pairwright.components.evaluate.split import features_of
from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder
from pairwright.components.models.formats import load_model
from pairwright.components.models.towers.untrained import new_dual_encoder
from pairwright.flows.stages.measure import groups_of, measure


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


def test_a_random_model_scores_chance(split: Dataset) -> None:
    metrics = by_name(Retrieval(RetrievalSettings()).evaluate(Reader(noise=True), split))
    pictures, captions = features_of(Reader(noise=True), split).positives().counts()
    for direction, right in (("i2t", pictures), ("t2i", captions)):
        for k in (1, 5, 10):
            chance = chance_recall(right, 48, k)
            assert abs(metrics[f"{direction}_r{k}"].value - chance) < 3.5 * np.sqrt(chance * (1 - chance) / 48)


def test_identical_captions_and_groups_are_all_right_answers(shapes: Any) -> None:
    split = features_of(Reader(), shapes(96, 2))  # every kind twice: another picture, the same caption
    pictures, captions = split.positives().counts()
    assert (pictures == 2).all()
    assert (captions == 2).all()
    picture, caption = split.positives().pairs(0, 1)
    assert picture.tolist() == [0, 0]
    assert caption.tolist() == [0, 48]


def test_every_metric_has_a_definition_a_size_and_an_interval(split: Dataset) -> None:
    model = Reader()
    for benchmark in (Retrieval(RetrievalSettings()), ZeroShot(ZeroShotSettings(label="colour"))):
        measured = benchmark.measure(model, split)
        items = measured.items
        assert len(items["groups"]) == 48
        for metric in measured.metrics:
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
    monkeypatch.setattr(
        TinyImage, "forward", lambda self, images: (passes.append(len(images)), forward(self, images))[1]
    )
    settings = tiny_settings()
    models = [new_dual_encoder(settings.image_tower, settings.text_tower, 16, seed=seed) for seed in range(6)]
    scores = [Retrieval(RetrievalSettings()).evaluate(model, split)[3].value for model in models]
    assert sum(passes) == 48
    assert len(set(scores)) > 1
    trained = new_dual_encoder(settings.image_tower, settings.text_tower, 16, train_towers=True)
    features_of(trained, split)
    features_of(trained, split)
    assert sum(passes) == 48 * 3  # a tower trained with its model is never taken from the cache


def described(root: Path, pairs: int, texts: Callable[[int], list[str]], name: str = "described") -> Dataset:
    """Shapes with the captions that `texts` gives each."""
    with ShardWriter(f"{root}/{name}", name, pairs_per_shard=pairs // 2) as writer:
        for number in range(pairs):
            colour, shape, _ = facts_of(number)
            writer.add(
                f"{number:06d}",
                [("image", "image", "jpg", encoded(number))],
                [caption(text, ordinal=i, lang="en") for i, text in enumerate(texts(number))],
                [("category", shape), ("colour", colour)],
                group=str(number // 2),
            )
    return writer.dataset


def test_several_captions_of_a_picture_are_several_right_answers(tmp_path: Path) -> None:
    dataset = described(tmp_path, 24, lambda n: [caption_text(n, wording) for wording in range(1 + n % 3)])
    split = features_of(Reader(), dataset)
    assert split.picture.tolist() == [n for n in range(24) for _ in range(1 + n % 3)]
    measured = Retrieval(RetrievalSettings()).measure(Reader(), dataset)
    found = by_name(measured.metrics)
    assert found["i2t_r5"].n == 24
    assert found["t2i_r5"].n == len(split.captions) == 48
    groups = {name: groups_of({f"b.{k}": v for k, v in measured.items.items()}, f"b.{name}") for name in found}
    assert all(len(groups[name]) == len(measured.items[name]) == found[name].n for name in found)
    assert groups["t2i_r1"].tolist() == [str(i // 2) for i in split.picture]
    # Both conventions of recall stand beside each other, by name.
    assert "recall per query" in found["i2t_r1"].definition
    assert "recall per caption" in found["i2t_share1"].definition
    own = 1 / split.positives().counts()[0]
    assert found["i2t_share1"].value == pytest.approx((measured.items["i2t_r1"] * own).mean()), (
        "one answer is one share"
    )
    assert found["i2t_share1"].value < found["i2t_r1"].value
    # A query is right if any one of its answers is: with more captions a picture is found no less often.
    assert found["i2t_r5"].value >= 0.9


def test_the_share_of_right_answers_is_told_only_where_pictures_have_several_captions(split: Dataset) -> None:
    assert not any("share" in name for name in by_name(Retrieval(RetrievalSettings()).evaluate(Reader(), split)))


def test_resize_filter_and_prompts_stand_beside_every_number(split: Dataset, tmp_path: Path) -> None:
    settings = tiny_settings()
    model = new_dual_encoder(settings.image_tower, settings.text_tower, 16)
    asked = ZeroShotSettings(label="colour", templates=["a {} thing", "{}"])
    metrics = measure(model, split, {"zero_shot": ZeroShot(asked)}, tmp_path)
    for metric in metrics:
        assert metric["resize"] == "whole, squashed to 32x32 by area averaging (OpenCV INTER_AREA)"
        assert metric["templates"] == ("a {} thing", "{}")
        assert metric["split"] == split.digest


def test_captions_in_other_languages_are_asked_for_by_name() -> None:
    said = [("alt", "a dog", "en"), ("alt", "ein Hund", "de"), ("alt", "", "en"), ("alt", "the dog", "en")]
    captions = [caption(text, source=source, lang=lang) for source, text, lang in said]
    assert captions_from(captions, "alt") == ["a dog", "the dog"]
    assert captions_from(captions, "alt@de") == ["ein Hund"]
    assert captions_from(captions, "keywords") == captions_from(None, "alt") == []


def test_zero_shot_needs_labels_and_no_captions(tmp_path: Path, split: Dataset) -> None:
    bare = described(tmp_path, 48, lambda n: [])
    benchmark = ZeroShot(ZeroShotSettings(label="colour"))
    with_captions, without = (by_name(benchmark.evaluate(Reader(), one)) for one in (split, bare))
    for name in ("accuracy", "top3", "balanced_accuracy"):
        assert with_captions[name].value == without[name].value
        assert without[name].n == 48
    with pytest.raises(DatasetError, match='no pair with a picture and a caption "alt"'):
        Retrieval(RetrievalSettings()).evaluate(Reader(), bare)


def test_a_loaded_model_sees_each_picture_once_whatever_is_asked_of_it(split: Dataset, tmp_path: Path) -> None:
    settings = tiny_settings()
    new_dual_encoder(settings.image_tower, settings.text_tower, 16, train_towers=True).save(tmp_path / "model")
    model = load_model(tmp_path / "model", "dual_encoder")
    assert model.image_key is None  # its tower is its own
    passes: list[int] = []
    features = model.image_features
    model.image_features = lambda images: (passes.append(len(images)), features(images))[1]
    benchmarks = {
        "retrieval": Retrieval(RetrievalSettings()),
        "keywords": Retrieval(RetrievalSettings(source="keywords")),
        "zero_shot": ZeroShot(ZeroShotSettings(label="colour")),
    }
    metrics = measure(model, split, benchmarks, tmp_path)
    assert sum(passes) == 48
    assert {m["name"].partition(".")[0] for m in metrics} == set(benchmarks)
    assert all(m["split"] == split.digest for m in metrics)


def test_a_benchmark_runs_once_a_model_and_split(split: Dataset, tmp_path: Path) -> None:
    runs = []

    class Counted(Retrieval):
        def measure(self, model: Any, dataset: Dataset) -> Measured:
            runs.append(dataset.name)
            return super().measure(model, dataset)

    measure(Reader(), split, {"retrieval": Counted(RetrievalSettings())}, tmp_path)
    assert runs == [split.name]
    with np.load(tmp_path / "items.npz") as items:
        assert len(items["retrieval.groups"]) == len(items["retrieval.t2i_r1"]) == 48


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
