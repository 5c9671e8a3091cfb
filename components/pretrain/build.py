"""The dual encoder that its settings describe, before training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pairwright.components.component import Objective
from pairwright.components.errors import ModelError
from pairwright.components.models.dual_encoders.encoder import DualEncoder
from pairwright.components.models.lora import ATTENTION_LAYERS, adapt
from pairwright.components.models.towers.untrained import new_dual_encoder
from pairwright.components.pretrain.settings import DualEncoderSettings


def build_model(settings: DualEncoderSettings, objectives: Sequence[Objective[Any]], device: Any) -> DualEncoder:
    """A model to train, its temperature and bias as the first objective that says so starts them."""
    bias = next((one.initial_bias for one in objectives if one.initial_bias is not None), None)
    log_scale = next((one.initial_log_scale for one in objectives if one.initial_log_scale is not None), None)
    model: DualEncoder
    if settings.tower is not None:
        model = _transformers(settings, bias, device)
    else:
        model = new_dual_encoder(
            settings.image_tower,
            settings.text_tower,
            settings.dim,
            train_towers=settings.trainable == "all",
            own_towers={*_changed(settings), *_started_from(settings)},
            seed=settings.seed,
            bias=bias,
            device=str(device),
        )
        for tower in (model.image_tower, model.text_tower):
            tower.config()  # one that no folder can hold says so now, not after the training
        model.get_submodule("text_tower").requires_grad_(settings.trainable in ("text", "all"))
    if settings.trainable == "lora":
        _adapt(model, settings)
    with torch.no_grad():
        if log_scale is not None:
            model.log_scale.fill_(log_scale)
        if bias is not None and model.logit_bias is not None:
            model.logit_bias.fill_(bias)
    return model


def _changed(settings: DualEncoderSettings) -> tuple[str, ...]:
    """Sides whose tower is adapted or trained alone."""
    return settings.lora.towers if settings.trainable == "lora" else ("text",) if settings.trainable == "text" else ()


def _started_from(settings: DualEncoderSettings) -> set[str]:
    """Sides whose tower was trained with the model of `init`, so that its weights are none that others share.

    Raises:
        ModelError: such a side is to be read as cached features, which are of the tower before it was trained.
    """
    if settings.init is None or settings.init.path is None:
        return set()
    config = Path(settings.init.path) / "config.json"
    said = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    found = {side for side in ("image", "text") if f"{side}_tower" in said and said[f"{side}_tower"]["weights"] is None}
    cached = {"image": settings.image_from_features, "text": settings.from_features}
    if side := next((side for side in sorted(found) if cached[side]), None):
        raise ModelError(
            f"init: {settings.init.reference} was trained with a {side} tower of its own, and cached features are of "
            f"another; read pictures and texts (trainable: lora or all), or start from a model on locked towers"
        )
    return found


def _transformers(settings: DualEncoderSettings, bias: float | None, device: torch.device) -> DualEncoder:
    from pairwright.components.models.dual_encoders.transformers_encoder import load_transformers_encoder

    assert settings.tower is not None
    if settings.tower.path is None:
        raise ModelError(f"{settings.tower.reference} is not resolved to a folder")
    model = load_transformers_encoder(settings.tower.path, str(device), seed=settings.seed, trainable=True)
    if (bias is None) != (model.logit_bias is None):
        wanted = "clip" if model.logit_bias is None else "siglip"
        raise ModelError(f"{settings.tower.reference} is trained with the objective {wanted}; name that one")
    if settings.trainable != "all":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("_projection" in name or "logit_" in name)
    return model


def _adapt(model: DualEncoder, settings: DualEncoderSettings) -> None:
    """Adapters in the towers the settings name; all else is as with `heads`."""
    wish = settings.lora
    if not wish.projections:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("_projection" not in name and parameter.requires_grad)
    for side in sorted(set(wish.towers)):
        if settings.tower is None:
            tower = model.get_submodule(f"{side}_tower")
        else:
            tower = model.get_submodule({"image": "net.vision_model", "text": "net.text_model"}[side])
        layers = wish.layers or ATTENTION_LAYERS
        adapt(tower, rank=wish.rank, alpha=wish.alpha, layers=layers, seed=settings.seed)
