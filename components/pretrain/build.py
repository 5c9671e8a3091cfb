"""The parts of a run, from its settings."""

from __future__ import annotations

from typing import Any

import torch

from pairwright.components.component import Objective
from pairwright.components.errors import ModelError
from pairwright.components.models.encoder import DualEncoder
from pairwright.components.models.lora import ATTENTION_LAYERS, adapt
from pairwright.components.models.towers.untrained import new_dual_encoder
from pairwright.components.pretrain.config import TrainConfig
from pairwright.components.pretrain.loader import CaptionLoader, FeatureLoader, Loader, PictureLoader
from pairwright.components.pretrain.pairs import open_pairs
from pairwright.components.pretrain.settings import DualEncoderSettings
from pairwright.components.registry import named_component


def build_objective(settings: DualEncoderSettings, module: str = "") -> Objective[Any]:
    """The objective the settings name; `module` registers it, which saves importing every other.

    Raises:
        UnknownComponent: nobody registered it.
        InvalidRecipe: its settings are wrong.
    """
    made = named_component(settings.objective, module)
    assert isinstance(made, Objective)
    return made


def build_model(settings: DualEncoderSettings, objective: Objective[Any], device: torch.device) -> DualEncoder:
    """A model to train, its temperature and bias as the objective starts them."""
    bias = getattr(objective, "initial_bias", None)
    model: DualEncoder
    if settings.tower is not None:
        model = _transformers(settings, bias, device)
    else:
        model = new_dual_encoder(
            settings.image_tower,
            settings.text_tower,
            settings.dim,
            train_towers=settings.trainable == "all",
            own_towers=settings.lora.towers if settings.trainable == "lora" else (),
            seed=settings.seed,
            bias=bias,
            device=str(device),
        )
        for tower in (model.image_tower, model.text_tower):
            tower.config()  # one that no folder can hold says so now, not after the training
    if settings.trainable == "lora":
        _adapt(model, settings)
    with torch.no_grad():
        model.log_scale.fill_(getattr(objective, "initial_log_scale", float(model.log_scale)))
        if bias is not None and model.logit_bias is not None:
            model.logit_bias.fill_(bias)
    return model


def _transformers(settings: DualEncoderSettings, bias: float | None, device: torch.device) -> DualEncoder:
    from pairwright.components.models.transformers_encoder import load_transformers_encoder

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


def build_loader(config: TrainConfig, model: DualEncoder) -> Loader:
    """Cached features where the towers are locked, captions where the text tower alone is not, else pictures."""
    pairs = open_pairs(config)
    if config.settings.from_features:
        return FeatureLoader(pairs, config.settings)
    if config.settings.image_from_features:
        return CaptionLoader(pairs, config.settings)
    return PictureLoader(pairs, config.settings, model)
