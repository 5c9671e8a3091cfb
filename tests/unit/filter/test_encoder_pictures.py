"""What a dual encoder is shown: pictures of its own side at least, and its own crop however they are turned."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scans import scored, write

from pairwright.components.dataset.media.decode import decode
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import ModelError
from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder
from pairwright.components.models.resolve import image_side, resolve_model
from pairwright.components.models.towers.towers import load_image_tower
from pairwright.components.models.towers.untrained import new_dual_encoder
from pairwright.components.registry import component_class
from pairwright.components.settings import ModelFolder

TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {  # scorer -> (its model's setting, what else it must be told)
    "alignment": ("model", {}),
    "masked_alignment": ("model", {"boxes": "ocr.boxes"}),
    "domain_prompts": ("model", {"positive": ["a map"], "negative": ["a dog"]}),
    "rotation_stability": ("model", {"sources": ["alt", "other"]}),
    "image_features": ("tower", {}),
    "rotated_image_features": ("tower", {}),
    "masked_image_features": ("tower", {"boxes": "ocr.boxes"}),
}


def encoder(folder: Path, family: str, side: int, *, crops: bool = False) -> Path:
    """A tiny random CLIP or SigLIP that reads squares of this side."""
    from transformers import CLIPConfig, SiglipConfig

    text = {"vocab_size": 300, "max_position_embeddings": 40, "bos_token_id": 0, "eos_token_id": 2, **TINY}
    vision = {"image_size": side, "patch_size": side // 4, **TINY}
    cls, extra = (CLIPConfig, {"projection_dim": 24}) if family == "clip" else (SiglipConfig, {})
    cls(text_config=text, vision_config=vision, **extra).save_pretrained(folder)
    load_dual_encoder(folder).save(folder)
    (folder / "preprocessor_config.json").write_text(f'{{"do_center_crop": {str(crops).lower()}}}')
    return folder


def component(name: str, model: ModelFolder, **options: Any) -> Any:
    setting, more = SETTINGS[name]
    cls = component_class("scorer", name)
    return cls(cls.settings_model().parse({setting: model.model_dump(), **more, **options}, name))


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encoder(tmp_path_factory.mktemp("siglip"), "siglip", 384)


@pytest.mark.parametrize("name", SETTINGS)
def test_pictures_are_decoded_to_the_encoders_own_side_at_least(name: str, siglip: Path, tmp_path: Path) -> None:
    image, text = (resolve_model(f"builtin:tiny-{side}") for side in ("image", "text"))
    new_dual_encoder(image, text, 16).save(tmp_path)
    registered = resolve_model("models:/public@champion", lambda _: (str(siglip), "w"))
    assert component(name, resolve_model(str(siglip))).pixels == 384
    assert component(name, registered).pixels == 384
    assert component(name, resolve_model(str(tmp_path))).pixels == 224
    if "masked" in name:
        assert component(name, registered, boxes=None, side=512).pixels == 512


def test_the_side_told_without_weights_is_what_the_tower_reads(siglip: Path, tmp_path: Path) -> None:
    clip = encoder(tmp_path / "clip", "clip", 336)
    builtin = [f"builtin:{name}" for name in ("tiny-image", "efficientnet-lite0")]
    new_dual_encoder(*map(resolve_model, ("builtin:tiny-image", "builtin:tiny-text")), dim=16).save(tmp_path / "ours")
    for reference in (str(siglip), str(clip), str(tmp_path / "ours"), *builtin):
        model = resolve_model(reference)
        assert image_side(model) == max(224, load_image_tower(model).side)


def test_an_encoder_of_no_one_input_size_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "siglip2"}')
    with pytest.raises(ModelError, match="name an encoder of one input size") as caught:
        image_side(resolve_model(str(tmp_path)))
    assert "\n" not in str(caught.value)


def test_a_lone_score_is_of_a_picture_that_was_not_enlarged(siglip: Path, tmp_path: Path) -> None:
    """A JPEG of 1200 px is decoded at 300 where 224 are asked for; this encoder reads 384."""
    random = np.random.default_rng(0)
    stream = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (1200, 1200, 3), dtype=np.uint8)).save(stream, "JPEG", quality=95)
    data, model = stream.getvalue(), resolve_model(str(siglip))
    found = scored(tmp_path, write(tmp_path, {"a": (data, "noise")}), ("alignment", {"model": model.model_dump()}))
    judge, picture = load_dual_encoder(model), decode(data, 384).image
    assert picture is not None
    assert min(picture.shape[:2]) >= 384
    expected = float((judge.encode_image([picture]) * judge.encode_text(["noise"])).sum())
    assert found["alignment.score"] == [pytest.approx(expected, abs=1e-6)]


def framed(height: int, width: int) -> np.ndarray:
    """A centre that looks the same from all four sides, between margins that do not."""
    side = min(height, width)
    whole = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    rings = np.minimum.outer(*[np.minimum(np.arange(side), np.arange(side)[::-1])] * 2)
    centre = np.repeat((4 * rings % 256).astype(np.uint8)[..., None], 3, axis=2)
    top, left = (height - side) // 2, (width - side) // 2
    whole[top : top + side, left : left + side] = centre
    return whole


@pytest.fixture(scope="module")
def cropping(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    return resolve_model(str(encoder(tmp_path_factory.mktemp("clip"), "clip", 32, crops=True)))


def pairs_of(*images: np.ndarray, **columns: list[Any]) -> PairBatch:
    count = len(images)
    return PairBatch(
        np.arange(count), [str(n) for n in range(count)], [{}] * count, list(images), columns=dict(columns)
    )


def lists(column: Any) -> np.ndarray:
    return np.array(column.to_pylist() if hasattr(column, "to_pylist") else column, np.float32)


def test_a_turned_picture_is_cropped_as_it_was_upright(cropping: ModelFolder) -> None:
    """Only turning may tell r90..r270 from `image_features`: here it changes nothing of what is read."""
    pairs = pairs_of(framed(64, 192), framed(256, 64))
    upright, turned = component("image_features", cropping), component("rotated_image_features", cropping)
    for one in (upright, turned):
        one.setup("cpu")
    vectors = lists(upright.score(pairs)["vector"])
    for column in turned.score(pairs).values():
        assert lists(column) == pytest.approx(vectors, abs=2e-3)
    squashed = turned.tower.features(pairs.squares(32)).numpy()
    assert np.abs(squashed - vectors).max() > 0.05  # what a crop must not be confused with


def test_text_outside_the_crop_changes_no_feature_when_it_is_masked(cropping: ModelFolder) -> None:
    pairs = pairs_of(framed(64, 192))
    upright, masked = component("image_features", cropping), component("masked_image_features", cropping)
    for one in (upright, masked):
        one.setup("cpu")
    vectors = upright.score(pairs)["vector"]
    corner = [0.02, 0.3, 0.2, 0.3, 0.2, 0.6, 0.02, 0.6]  # x, y of four corners, as shares of the picture
    pairs.columns |= {"ocr.boxes": [[corner]], "image_features.vector": list(vectors)}
    found = masked.score(pairs)
    assert found["lines"] == [1]
    assert lists(found["vector"]) == pytest.approx(lists(vectors), abs=1e-3)
