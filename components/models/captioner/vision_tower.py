"""A vision tower of `transformers` whose patches a captioner is told: of a layer within, not of the last.

    tower = load_vision_tower("./clip-vit-base-patch32", layer=-2)
    tower(pixels)                          # uint8 (n, side, side, 3) -> (n, P, width), with a gradient

LLaVA's reading (Liu et al., 2023), which ShareGPT4V follows: -1 is what the last block gives, -2 what goes into it. So
the last block takes no part: nothing of it is trained, and its gradient is exactly zero.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pairwright.components.errors import ModelError
from pairwright.components.models.towers.pixels import squash

PROCESSOR, WEIGHTS = "preprocessor_config.json", "model.safetensors"
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# model_type -> class of `transformers`, tokens before the patches, (mean, deviation) where the folder has no processor.
FAMILIES: dict[str, tuple[str, int, Any]] = {
    "clip": ("CLIPVisionModel", 1, CLIP),
    "clip_vision_model": ("CLIPVisionModel", 1, CLIP),
    "siglip": ("SiglipVisionModel", 0, HALF),
    "siglip_vision_model": ("SiglipVisionModel", 0, HALF),
    "vit": ("ViTModel", 1, HALF),
}


class VisionTower(nn.Module):
    """Patches of pictures.

    Attributes:
        side: of its pictures, in pixels. patches, width: what it gives of one.
        reached: how many of its blocks, the first ones, take part.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, net: Any, first: int, processor: dict[str, Any], layer: int) -> None:
        super().__init__()
        self.net, self.first, self.processor, self.layer = net, first, processor, layer
        config = net.config
        self.side, self.width = int(config.image_size), int(config.hidden_size)
        self.patches, blocks = (self.side // int(config.patch_size)) ** 2, int(config.num_hidden_layers)
        self.reached = layer if layer >= 0 else blocks + 1 + layer
        if not 0 <= self.reached <= blocks:
            raise ModelError(f"layer {layer} is none of a tower of {blocks} blocks; 0 is what goes into the first")
        self.register_buffer("mean", torch.tensor(processor["image_mean"]), persistent=False)
        self.register_buffer("deviation", torch.tensor(processor["image_std"]), persistent=False)

    def train(self, mode: bool = True) -> VisionTower:
        """Stays in evaluation mode, as every tower does."""
        return super().train(False)

    def unreached(self) -> list[str]:
        """Names of the parameters that no gradient can reach: blocks behind the layer, and what comes after them."""
        names, parameters = zip(*self.named_parameters(), strict=True)
        was = [one.requires_grad for one in parameters]
        with torch.enable_grad():
            self.requires_grad_(True)
            seen = self(torch.zeros((1, self.side, self.side, 3), dtype=torch.uint8, device=parameters[0].device))
            found = torch.autograd.grad(seen.sum(), parameters, allow_unused=True)
        for parameter, trained in zip(parameters, was, strict=True):
            parameter.requires_grad_(trained)
        return [name for name, gradient in zip(names, found, strict=True) if gradient is None]

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 (n, side, side, 3) -> (n, patches, width)."""
        values = ((pixels.float() / 255 - self.mean) / self.deviation).permute(0, 3, 1, 2)
        states = self.net(pixel_values=values, output_hidden_states=True).hidden_states
        found: Tensor = states[self.reached][:, self.first :]
        return found

    def squashed(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """RGB uint8 pictures of any size -> (n, side, side, 3)."""
        return np.ascontiguousarray(squash(images, self.side))

    def save(self, folder: Path) -> None:
        """As a folder of `transformers`."""
        self.net.save_pretrained(folder)
        (folder / PROCESSOR).write_text(json.dumps(self.processor, sort_keys=True) + "\n", encoding="utf-8")


def load_vision_tower(folder: str | Path, layer: int = -2, seed: int = 0) -> VisionTower:
    """The vision side of the CLIP, SigLIP or ViT in a folder; with random weights from `seed` where it holds none.

    Raises:
        ModelError: the folder is of another architecture, or a file is missing or damaged; there is no such layer.
    """
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    root = Path(folder)
    try:
        config = transformers.AutoConfig.from_pretrained(root, local_files_only=True)
        if config.model_type not in FAMILIES:
            raise ModelError(f"{root} is a {config.model_type}; a vision tower is one of {', '.join(FAMILIES)}")
        name, first, normal = FAMILIES[config.model_type]
        cls = getattr(transformers, name)
        if (root / WEIGHTS).exists():
            net = cls.from_pretrained(root, local_files_only=True, use_safetensors=True, dtype=torch.float32)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                net = cls(getattr(config, "vision_config", config))
    except (OSError, ValueError, RuntimeError) as error:
        problem = str(error).splitlines()[0]
        raise ModelError(f"{root} does not load as a vision tower ({problem}); restore the folder") from None
    said = json.loads((root / PROCESSOR).read_text(encoding="utf-8")) if (root / PROCESSOR).exists() else {}
    named = dict(zip(("image_mean", "image_std"), normal, strict=True))
    return VisionTower(net, first, {name: list(said.get(name, value)) for name, value in named.items()}, layer)
