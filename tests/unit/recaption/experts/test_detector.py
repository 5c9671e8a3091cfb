"""The detector over real classes of transformers: random ones, and one whose answer is planted in its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import ModelError
from pairwright.components.models.detector import load_detector
from pairwright.components.recaption.experts.detector import BoxDetector, DetectorSettings

LABELS = {0: "dog", 1: "cat", 2: "street sign"}
TINY: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def yolos(folder: Path, plant: bool) -> Path:
    """YOLOS with four queries; planted, each says "cat" with probability 0.8 at (0.5, 0.25), 0.4 wide and 0.3 high."""
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessor

    torch.manual_seed(1)
    config = YolosConfig(
        image_size=[32, 48], patch_size=8, num_detection_tokens=4, use_mid_position_embeddings=False, **TINY
    )
    config.id2label, config.label2id = LABELS, {name: number for number, name in LABELS.items()}
    model = YolosForObjectDetection(config)
    if plant:
        chances = torch.tensor([0.05, 0.8, 0.05, 0.1])  # the last is "nothing"
        for head, bias in (
            (model.class_labels_classifier, chances.log()),
            (model.bbox_predictor, torch.tensor([0.5, 0.25, 0.4, 0.3]).logit()),
        ):
            head.layers[-1].weight.data.zero_()
            head.layers[-1].bias.data.copy_(bias)
    model.save_pretrained(folder)
    YolosImageProcessor(size={"shortest_edge": 32, "longest_edge": 64}).save_pretrained(folder)
    return folder


def detr(folder: Path) -> Path:
    from transformers import DetrConfig, DetrForObjectDetection, DetrImageProcessor, ResNetConfig

    torch.manual_seed(2)
    backbone = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic", out_features=["stage2"]
    )
    width = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    config = DetrConfig(
        backbone_config=backbone,
        use_timm_backbone=False,
        backbone=None,
        use_pretrained_backbone=False,
        num_queries=5,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        id2label=LABELS,
        **width,
    )
    DetrForObjectDetection(config).save_pretrained(folder)
    DetrImageProcessor(size={"shortest_edge": 32, "longest_edge": 64}).save_pretrained(folder)
    return folder


def noise(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def scored(folder: Path, *images: np.ndarray, **wish: Any) -> dict[str, Any]:
    reference = {"reference": str(folder), "path": str(folder), "weights": "w"}
    step = BoxDetector(DetectorSettings.parse({"model": reference} | wish, "test"))
    step.setup("cpu")
    keys = [str(i) for i in range(len(images))]
    return dict(step.score(PairBatch(np.arange(len(images)), keys, [{} for _ in images], images=list(images))))


def test_a_planted_thing_is_found_with_its_name_its_probability_and_its_corners(tmp_path: Path) -> None:
    found = scored(yolos(tmp_path, plant=True), noise(1, 40, 60), most=1)
    assert found["labels"] == [["cat"]]
    assert found["scores"][0] == pytest.approx([0.8], abs=1e-5)
    assert found["boxes"][0][0] == pytest.approx([0.3, 0.1, 0.7, 0.4], abs=1e-5)  # corners of what was a centre


def test_what_is_not_sure_enough_is_left_out_and_the_surest_stand_first(tmp_path: Path) -> None:
    folder = yolos(tmp_path, plant=True)
    assert len(scored(folder, noise(1, 40, 60), min_score=0.79)["labels"][0]) == 4
    assert scored(folder, noise(1, 40, 60), min_score=0.81) == {"boxes": [[]], "labels": [[]], "scores": [[]]}


@pytest.mark.parametrize("make", [detr, lambda folder: yolos(folder, plant=False)], ids=["detr", "yolos"])
def test_boxes_are_shares_of_the_picture_and_depend_on_no_picture_beside_it(make: Any, tmp_path: Path) -> None:
    folder = make(tmp_path)
    images = [noise(1, 40, 60), noise(2, 60, 40), noise(3, 40, 60)]
    together = scored(folder, *images, min_score=0.0)
    for position, image in enumerate(images):
        alone = scored(folder, image, min_score=0.0)
        assert together["labels"][position] == alone["labels"][0]
        np.testing.assert_allclose(together["boxes"][position], alone["boxes"][0], atol=1e-4)
        assert set(alone["labels"][0]) <= set(LABELS.values())
        assert alone["scores"][0] == sorted(alone["scores"][0], reverse=True)
        corners = np.array(alone["boxes"][0])
        assert len(corners)
        assert (corners >= 0).all()
        assert (corners <= 1).all()
        assert (corners[:, :2] < corners[:, 2:]).all()


def test_a_folder_without_a_detector_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no object detector"):
        load_detector(tmp_path)
