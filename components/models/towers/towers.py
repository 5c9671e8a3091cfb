"""Towers by what they read: a tower's own folder, or that side of a dual encoder's.

load_text_tower("builtin:minilm").features(["a red square"])     # (1, 384)
"""

from __future__ import annotations

from typing import cast

from pairwright.components.errors import ModelError
from pairwright.components.models.resolve import is_dual_encoder
from pairwright.components.models.towers.encoder_towers import encoder_images, encoder_texts
from pairwright.components.models.towers.shared_towers import load_tower, resolved, share
from pairwright.components.models.towers.tower import ImageTower, TextTower
from pairwright.components.settings import ModelFolder


def load_image_tower(model: ModelFolder | str, device: str = "cpu", *, shared: bool = True) -> ImageTower:
    """The image tower a reference names, or the image side of a dual encoder's folder, which stays locked."""
    if shared and is_dual_encoder(found := resolved(model)):
        assert found.weights is not None
        return cast(ImageTower, share(f"{found.weights} image", device, lambda: encoder_images(found, device)))
    tower = load_tower(model, device, shared=shared)
    if not isinstance(tower, ImageTower):
        raise ModelError(f"{_name(model)} is no image tower; name one, e.g. builtin:efficientnet-lite0")
    return tower


def load_text_tower(model: ModelFolder | str, device: str = "cpu", *, shared: bool = True) -> TextTower:
    """The text tower a reference names, or the text side of a dual encoder's folder, which stays locked."""
    if shared and is_dual_encoder(found := resolved(model)):
        assert found.weights is not None
        return cast(TextTower, share(f"{found.weights} text", device, lambda: encoder_texts(found, device)))
    tower = load_tower(model, device, shared=shared)
    if not isinstance(tower, TextTower):
        raise ModelError(f"{_name(model)} is no text tower; name one, e.g. builtin:minilm")
    return tower


def _name(model: ModelFolder | str) -> str:
    return model.reference if isinstance(model, ModelFolder) else model
