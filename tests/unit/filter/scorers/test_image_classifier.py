"""The classifier scorer over real transformers classes with random weights, made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shapes import picture

from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import InvalidRecipe, ModelError
from pairwright.components.filter.scorers.image_classifier import ImageClassifier, ImageClassifierSettings

LABELS = ["drawing", "nsfw", "normal"]


def folder_of(root: Path, problem: str | None = None, labels: list[str] = LABELS) -> Path:
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(0)
    config = ViTConfig(
        image_size=32, patch_size=8, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        initializer_range=1.0, num_labels=len(labels), problem_type=problem,
        id2label=dict(enumerate(labels)), label2id={label: number for number, label in enumerate(labels)},
    )  # fmt: skip
    ViTForImageClassification(config).save_pretrained(root)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(root)
    return root


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("classes"))


def scorer(folder: Path, **options: object) -> ImageClassifier:
    model = {"reference": "x", "path": str(folder), "weights": "w"}
    component = ImageClassifier(ImageClassifierSettings.model_validate({"model": model, "size": 32} | options))
    component.setup("cpu")
    return component


def batch(n: int = 7) -> PairBatch:
    """Pictures of different sizes, one of them grey and one tall."""
    images = [np.asarray(picture(number, 40 + number)) for number in range(n - 1)]
    images.append(np.full((90, 33, 3), 128, np.uint8))
    return PairBatch(np.arange(n, dtype=np.int32), [str(i) for i in range(n)], [{}] * n, images=images)


def test_the_columns_are_the_models_own_softmax(classes: Path) -> None:
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    found = scorer(classes, label="normal").score(batch())
    model = AutoModelForImageClassification.from_pretrained(classes).eval()
    processor = AutoImageProcessor.from_pretrained(classes)
    for i, image in enumerate(batch().images):
        with torch.inference_mode():
            logits = model(**processor(Image.fromarray(image), return_tensors="pt")).logits[0]
        expected = logits.softmax(-1).numpy()
        assert found["label"][i] == LABELS[int(expected.argmax())]
        assert found["probability"][i] == pytest.approx(expected.max(), rel=1e-4)
        assert found["score"][i] == pytest.approx(expected[2], rel=1e-4)
    assert len(set(np.round(found["score"], 4))) > 3  # the pictures are told apart at all


@pytest.mark.parametrize("size", [1, 3, 100])
def test_what_stands_beside_a_picture_changes_nothing(classes: Path, size: int) -> None:
    whole = scorer(classes, label="nsfw", batch_size=100).score(batch())
    parts = scorer(classes, label="nsfw", batch_size=size).score(batch())
    assert parts["score"] == pytest.approx(whole["score"], abs=1e-5)
    assert list(parts["label"]) == list(whole["label"])


def test_without_a_label_the_score_is_that_of_the_likeliest_class(classes: Path) -> None:
    found = scorer(classes).score(batch())
    assert list(found["score"]) == list(found["probability"])


def test_a_regression_gives_its_number_and_no_label(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "regression", ["aesthetic"])
    found = scorer(folder).score(batch())
    assert found["label"] == [None] * 7
    assert found["probability"] == [None] * 7
    assert len(set(found["score"].tolist())) > 3
    assert not ((found["score"] >= 0) & (found["score"] <= 1)).all()  # no squashing
    with pytest.raises(InvalidRecipe, match="leave out label"):
        scorer(folder, label="aesthetic")


def test_labels_that_may_hold_together_are_not_made_to_sum_to_one(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "multi_label_classification")
    sums = sum(np.asarray(scorer(folder, label=label).score(batch())["score"]) for label in LABELS)
    assert not np.allclose(sums, 1, atol=0.05)


def test_a_label_the_model_lacks_and_a_folder_without_a_model_are_one_clear_line(classes: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match='did you mean "normal"'):
        scorer(classes, label="norml")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="holds no image classifier"):
        scorer(tmp_path)
