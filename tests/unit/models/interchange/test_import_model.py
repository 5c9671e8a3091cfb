"""Imported models: the vectors that the library they come from gives."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_encoders import SHOWN, theirs

from pairwright.components.errors import ModelError
from pairwright.components.models.formats import load_model
from pairwright.components.models.interchange import openers
from pairwright.components.models.interchange.import_model import import_model
from pairwright.components.models.interchange.open_clip_names import from_open_clip, to_open_clip

WRITTEN = Path(__file__).parent / "open_clip"  # by open_clip itself, see write.py there


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WRITTEN, tmp_path / "source"))


def said_by_open_clip() -> tuple[Any, list[str], Any, Any]:
    with np.load(WRITTEN / "vectors.npz") as found:
        return found["pictures"], [str(text) for text in found["texts"]], found["image"], found["text"]


def test_a_checkpoint_that_open_clip_wrote_gives_open_clips_vectors(source: Path, tmp_path: Path) -> None:
    pictures, texts, image, text = said_by_open_clip()
    import_model(source, tmp_path / "mine")
    model = load_model(tmp_path / "mine", "dual_encoder")
    assert np.allclose(model.encode_image(list(pictures)), image, atol=1e-5)
    assert np.allclose(model.encode_text(texts), text, atol=1e-5)
    assert (image[0] @ image[1]) < 0.999  # two pictures' vectors are two
    assert model.crops


def test_a_file_alone_with_its_configuration_is_the_same(source: Path, tmp_path: Path) -> None:
    _, texts, _, text = said_by_open_clip()
    (source / "open_clip_config.json").rename(tmp_path / "sizes.json")
    sizes = json.loads((tmp_path / "sizes.json").read_text())
    (tmp_path / "sizes.json").write_text(json.dumps(sizes["model_cfg"]))  # as open_clip's model_configs are
    weights = source / "open_clip_model.safetensors"
    model = import_model(weights, tmp_path / "mine", config=tmp_path / "sizes.json", tokenizer=source)
    assert np.allclose(model.encode_text(texts), text, atol=1e-5)
    with pytest.raises(ModelError, match="--config FILE"):
        import_model(weights, tmp_path / "else")


def test_the_names_of_a_custom_text_side_are_known(source: Path, tmp_path: Path) -> None:
    _, texts, _, text = said_by_open_clip()
    file = source / "open_clip_model.safetensors"
    beyond = ("visual.", "logit_")
    save_file({n if n.startswith(beyond) else f"text.{n}": v for n, v in load_file(file).items()}, file)
    assert np.allclose(import_model(source, tmp_path / "mine").encode_text(texts), text, atol=1e-5)


def test_names_there_and_back_are_the_same_tensors() -> None:
    tensors = load_file(WRITTEN / "open_clip_model.safetensors")
    back = to_open_clip(from_open_clip(tensors))
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_a_transformers_folder_gives_its_librarys_vectors(family: str, tmp_path: Path) -> None:
    from pairwright.components.models.interchange.as_transformers import write_transformers

    write_transformers(theirs(family, tmp_path / "tower"), tmp_path / "source")
    model = import_model(tmp_path / "source", tmp_path / "mine")
    image, text = openers.by_transformers(
        str(tmp_path / "source"), list(model.pixels(SHOWN.pictures)), list(SHOWN.texts)
    )
    assert np.allclose(model.encode_image(SHOWN.pictures), image, atol=1e-5)
    assert np.allclose(model.encode_text(SHOWN.texts), text, atol=1e-5)


@pytest.mark.parametrize(
    ("where", "setting", "value", "told"),
    [
        ("vision_cfg", "pool_type", "avg", "vision_cfg.pool_type is 'avg'"),
        ("vision_cfg", "timm_model_name", "vit_base_patch16_siglip_224", "timm_model_name"),
        ("text_cfg", "hf_model_name", "roberta-base", "hf_model_name"),
        ("text_cfg", "no_causal_mask", True, "no_causal_mask"),
        ("vision_cfg", "layers", [3, 4, 6, 3], "ResNet"),
        ("vision_cfg", "width", 24, "the configuration says"),
    ],
)
def test_what_is_no_plain_clip_is_refused_by_its_setting(
    where: str, setting: str, value: Any, told: str, source: Path, tmp_path: Path
) -> None:
    path = source / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"][where][setting] = value
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError) as refused:
        import_model(source, tmp_path / "mine")
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "mine").exists()


def test_settings_of_training_and_defaults_change_nothing(source: Path, tmp_path: Path) -> None:
    pictures, _, image, _ = said_by_open_clip()
    path = source / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["vision_cfg"] |= {"patch_dropout": 0.5, "ls_init_value": None, "attentional_pool": False}
    path.write_text(json.dumps(config))
    assert np.allclose(import_model(source, tmp_path / "mine").encode_image(list(pictures)), image, atol=1e-5)


def test_a_tensor_too_many_a_missing_tokenizer_and_no_model_are_one_line(source: Path, tmp_path: Path) -> None:
    file = source / "open_clip_model.safetensors"
    save_file(load_file(file) | {"visual.attn_pool.query": torch.zeros(2)}, file)
    with pytest.raises(ModelError, match=r"visual\.attn_pool\.query"):
        import_model(source, tmp_path / "mine")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (source / name).unlink()
    with pytest.raises(ModelError, match="--tokenizer DIR"):
        import_model(source, tmp_path / "mine")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="neither"):
        import_model(tmp_path / "empty", tmp_path / "mine")
    with pytest.raises(ModelError, match="does not exist"):
        import_model(tmp_path / "nowhere", tmp_path / "mine")
