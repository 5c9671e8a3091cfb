"""A captioner with a vision tower of its own: it is shown pictures, not columns of features, and may tune the tower.

model = load_tower_captioner(folder)
model.generate({"image": model.shown(pictures)}, Decoding(search="beam", beams=3))
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.models.captioner.folder import load_captioner, save_captioner
from pairwright.components.models.captioner.prefix import Part
from pairwright.components.models.captioner.tokens import Tokens
from pairwright.components.models.captioner.vision_tower import VisionTower, load_vision_tower
from pairwright.components.models.model_folder import damage_named

TOWER, LAYER = "tower", "tower.json"
SHOWN = 32  # pictures at once


class TowerCaptioner(nn.Module):
    """The tower's patches are the vectors of the captioner's part `image`; all else is the captioner's."""

    def __init__(self, tower: VisionTower, captioner: Captioner) -> None:
        super().__init__()
        self.tower, self.captioner = tower, captioner

    @property
    def tokens(self) -> Tokens:
        return self.captioner.tokens

    @property
    def longest(self) -> int:
        return self.captioner.longest

    @property
    def parts(self) -> dict[str, Part]:
        return self.captioner.parts

    def logits(self, told: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
        return self.captioner.logits(told, tokens)

    def counted(self, tokens: Tensor) -> Tensor:
        return self.captioner.counted(tokens)

    def nats(self, logits: Tensor, tokens: Tensor) -> Tensor:
        return self.captioner.nats(logits, tokens)

    def generate(self, told: Mapping[str, Tensor], *how: Any) -> list[list[str]]:
        return self.captioner.generate(told, *how)

    @torch.no_grad()
    def shown(self, images: Sequence[np.ndarray]) -> Tensor:
        """Pictures of any size -> their patches (n, P, width)."""
        device = self.tower.mean.device
        blocks = [
            self.tower(torch.from_numpy(self.tower.squashed(images[at : at + SHOWN])).to(device))
            for at in range(0, len(images), SHOWN)
        ]
        return torch.cat(blocks)


def save_tower_captioner(model: TowerCaptioner, folder: Path, card: str) -> None:
    """A captioner's folder, with the tower in one within, as `transformers` writes it."""
    save_captioner(model.captioner, folder, card)
    model.tower.save(folder / TOWER)
    (folder / LAYER).write_text(json.dumps({"layer": model.tower.layer}) + "\n", encoding="utf-8")


def has_tower(folder: Path) -> bool:
    """Whether a captioner's folder holds a tower of its own."""
    return (folder / LAYER).is_file()


def load_tower_captioner(folder: str | Path, device: str = "cpu") -> TowerCaptioner:
    """The model in a folder, ready to caption.

    Raises:
        ModelError: the folder is missing, damaged, of a newer release or no captioner with a tower.
    """
    root = Path(folder)
    captioner = load_captioner(root, device)
    with damage_named(root):
        layer = json.loads((root / LAYER).read_text(encoding="utf-8"))["layer"]
    tower = load_vision_tower(root / TOWER, layer)
    return TowerCaptioner(tower.to(device).requires_grad_(False), captioner).eval()
