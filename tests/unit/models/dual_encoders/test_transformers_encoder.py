"""Whole CLIP and SigLIP models of transformers, tiny and random, as dual encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learning import features_view, tiny_config
from scans import scored

from pairwright.components.errors import ModelError
from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.towers.towers import load_text_tower
from pairwright.components.training.run import train

TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
PICTURES = [np.random.default_rng(i).integers(0, 255, (40, 50 + i, 3), dtype=np.uint8) for i in range(3)]
TEXTS = ["a red square", "", "a much longer caption, past what the model reads " * 3]


def configuration(family: str, folder: Path) -> Path:
    """A folder holding only `config.json`."""
    from transformers import CLIPConfig, SiglipConfig

    text = {"vocab_size": 300, "max_position_embeddings": 40, "bos_token_id": 0, "eos_token_id": 2, **TINY}
    vision = {"image_size": 32, "patch_size": 8, **TINY}
    cls, extra = (CLIPConfig, {"projection_dim": 24}) if family == "clip" else (SiglipConfig, {})
    cls(text_config=text, vision_config=vision, **extra).save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_a_configuration_trains_resumes_and_loads_in_transformers(family: str, shapes: Any, tmp_path: Path) -> None:
    from transformers import AutoModel

    folder = configuration(family, tmp_path / "tower")
    view = features_view(shapes(24, 1), tmp_path)
    changes = {"tower": resolve_model(str(folder)), "objective": family, "steps": 4, "checkpoint_every": 2, "lr": 1e-3}
    train(tiny_config(view, tmp_path, "whole", **changes), 0, 1, lambda m: None)
    stopped = tiny_config(view, tmp_path, "stopped", **changes)

    def stop(metrics: dict[str, Any]) -> None:
        if metrics["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(stopped, 0, 1, stop)
    train(stopped, 0, 1, lambda m: None)
    assert (tmp_path / "whole/model.safetensors").read_bytes() == (tmp_path / "stopped/model.safetensors").read_bytes()

    ours, theirs = load_dual_encoder(tmp_path / "whole"), AutoModel.from_pretrained(tmp_path / "whole")
    tokens = ours.tokens(TEXTS)
    mask = {"attention_mask": tokens["mask"].long()} if family == "clip" else {}
    with torch.no_grad():
        text = theirs.get_text_features(input_ids=tokens["ids"], **mask)
    text = getattr(text, "pooler_output", text)
    cosines = torch.nn.functional.cosine_similarity(ours.encode_text(TEXTS), text)
    assert cosines.min() > 0.9999
    assert ours.encode_image(PICTURES).shape == (3, ours.dim)


def test_the_objective_must_be_the_towers_own(shapes: Any, tmp_path: Path) -> None:
    folder = configuration("siglip", tmp_path / "tower")
    view = features_view(shapes(24, 1), tmp_path)
    with pytest.raises(ModelError, match="siglip"):
        train(tiny_config(view, tmp_path, tower=resolve_model(str(folder)), objective="clip"), 0, 1, lambda m: None)


def test_another_architecture_is_one_line(tmp_path: Path) -> None:
    from transformers import BertConfig

    BertConfig(**TINY).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="no dual encoder"):
        load_dual_encoder(tmp_path)


def test_clip_crops_its_centre_where_its_processor_says_so(tmp_path: Path) -> None:
    folder = configuration("clip", tmp_path)
    (folder / "preprocessor_config.json").write_text(
        '{"do_center_crop": true, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}'
    )
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 32:64] = 200
    pixels = load_dual_encoder(folder).pixels([wide])
    assert (pixels == 200).all()


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_its_features_are_columns_whose_cosine_is_its_score(family: str, shapes: Any, tmp_path: Path) -> None:
    """So any public dual encoder serves where a builtin tower does: selections, rewards, compression curves."""
    folder = configuration(family, tmp_path / "encoder")
    load_dual_encoder(folder).save(folder)
    (folder / "preprocessor_config.json").write_text(f'{{"do_center_crop": {str(family == "clip").lower()}}}')
    tower = resolve_model(str(folder)).model_dump()
    columns = scored(
        tmp_path,
        shapes(24, 1),
        ("image_features", {"tower": tower}),
        ("text_features", {"tower": tower}),
        ("alignment", {"model": tower}),
    )
    image, text = (
        torch.tensor(np.stack(columns[f"{side}_features.vector"]).astype(np.float32)) for side in ("image", "text")
    )
    cosines = torch.nn.functional.cosine_similarity(image, text)
    assert torch.allclose(cosines, torch.tensor(columns["alignment.score"]), atol=2e-3)
    assert cosines.std() > 1e-3


def test_one_side_is_no_tower_of_another_model(tmp_path: Path) -> None:
    folder = configuration("clip", tmp_path)
    load_dual_encoder(folder).save(folder)
    with pytest.raises(ModelError, match="name the whole"):
        load_text_tower(str(folder)).config()
