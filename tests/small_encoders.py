"""Small dual encoders with random weights, of ours and of `transformers`, and what to show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from pairwright.components.models.dual_encoders.dual_encoder import TwoTower
from pairwright.components.models.dual_encoders.encoder import DualEncoder
from pairwright.components.models.dual_encoders.transformers_encoder import (
    TransformersEncoder,
    load_transformers_encoder,
)
from pairwright.components.models.interchange.export_model import Shown
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.towers.untrained import new_dual_encoder

TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def blurred(seed: int) -> np.ndarray:
    """A picture with large patches of colour, of a size of its own."""
    coarse = np.random.default_rng(seed).integers(0, 255, (5, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (90 + seed, 70), interpolation=cv2.INTER_LINEAR)


SHOWN = Shown([blurred(seed) for seed in range(18)], ["a red square", "été", "a longer caption " * 8, "x"])


def shaken(encoder: DualEncoder) -> DualEncoder:
    """With every weight moved, so that nothing is at the 0 or 1 it was drawn with."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in encoder.parameters():
            value.add_(0.05 * torch.randn(value.shape, generator=generator))
    return encoder


def ours(towers: tuple[str, str] = ("builtin:tiny-image", "builtin:tiny-text"), dim: int = 16) -> TwoTower:
    return shaken(new_dual_encoder(*map(resolve_model, towers), dim, train_towers=True)).eval()  # type: ignore[return-value]


def theirs(family: str, folder: Path, **vision: Any) -> TransformersEncoder:
    from transformers import CLIPConfig, SiglipConfig

    text = {"vocab_size": 300, "max_position_embeddings": 40, "bos_token_id": 0, "eos_token_id": 2, **TINY}
    cls, extra = (CLIPConfig, {"projection_dim": 24}) if family == "clip" else (SiglipConfig, {})
    both = {"image_size": 32, "patch_size": 8, **TINY} | vision
    cls(text_config=text, vision_config=both, **extra).save_pretrained(folder)
    return shaken(load_transformers_encoder(folder))  # type: ignore[return-value]
