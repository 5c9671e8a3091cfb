"""A dual encoder before its training: pretrained towers under fresh projections."""

from __future__ import annotations

from collections.abc import Collection

from pairwright.components.models.dual_encoders.dual_encoder import TwoTower
from pairwright.components.models.towers.towers import load_image_tower, load_text_tower
from pairwright.components.settings import ModelFolder


def new_dual_encoder(
    image_tower: ModelFolder,
    text_tower: ModelFolder,
    dim: int,
    *,
    train_towers: bool = False,
    own_towers: Collection[str] = (),
    seed: int = 0,
    bias: float | None = None,
    device: str = "cpu",
) -> TwoTower:
    """Pretrained towers under fresh projections; towers to be trained are copies of their own.

    Args:
        own_towers: "image", "text": towers that stay locked but will be adapted, so are not shared.
    """
    own = {"image", "text"} if train_towers else set(own_towers)
    image = load_image_tower(image_tower, device, shared="image" not in own)
    text = load_text_tower(text_tower, device, shared="text" not in own)
    model = TwoTower(image, text, dim, seed=seed, bias=bias).to(device)
    for side, tower in (("image", image), ("text", text)):
        tower.requires_grad_(train_towers)
        if side in own:
            tower.weights = None
    return model
