"""Towers by name, built once a process: models that share a locked tower share its memory too.

load_tower(resolve_model("builtin:minilm")).features(["a red square"])     # (1, 384)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pairwright.components.errors import ModelError, nearest
from pairwright.components.models.resolve import BUILTIN, resolve_model
from pairwright.components.models.towers import characters, efficientnet, minilm, prefixed, sentence, tiny
from pairwright.components.models.towers.tower import TextTower, Tower
from pairwright.components.settings import ModelFolder

PRETRAINED: Mapping[str, Callable[[], Tower]] = {
    "efficientnet-lite0": efficientnet.pretrained,
    "minilm": minilm.pretrained,
    "tiny-image": tiny.TinyImage,
    "tiny-text": tiny.TinyText,
    "characters": characters.CharacterTower,
    "characters-1024": functools.partial(characters.CharacterTower, characters.PAPER_HIDDEN),
}
# (weights' hash, device) -> the tower; only towers nobody trains are here.
_shared: dict[tuple[str, str], Tower] = {}


def load_tower(model: ModelFolder | str, device: str = "cpu", *, shared: bool = True) -> Tower:
    """The tower a model folder names; `shared=False` gives a copy of its own, to be trained.

    Raises:
        ModelError: no such builtin, or the folder holds no tower.
    """
    found = resolved(model)
    assert found.weights is not None
    if not shared:
        return _build(found).to(device)
    return share(found.weights, device, lambda: _build(found))


def share(weights: str, device: str, build: Callable[[], Tower]) -> Tower:
    """The process's one tower with these weights on this device, built if it is the first."""
    if (weights, device) not in _shared:
        tower = build().to(device)
        tower.lock(weights)
        _shared[weights, device] = tower
    return _shared[weights, device]


def build_tower(config: Mapping[str, Any], folder: str | Path, tensors: Callable[[], dict[str, Tensor]]) -> Tower:
    """A tower from a model folder's `config.json` entry and its tensors.

    Raises:
        ModelError: this release knows no such tower, or a tensor is missing.
    """
    tower = _untrained(config, folder)
    try:
        tower.load_state_dict(tensors())
    except RuntimeError as error:
        problem = str(error).splitlines()[-1].strip()
        raise ModelError(f"{folder}: its weights do not fit its config.json ({problem}); restore the folder") from None
    return tower


def _untrained(config: Mapping[str, Any], folder: str | Path) -> Tower:
    kind = config["kind"]
    tower: Tower
    if kind == efficientnet.KIND:
        tower = efficientnet.EfficientNetLite0()
    elif kind == sentence.KIND:
        tower = sentence.SentenceTower(config["transformer"], Path(folder) / sentence.TOKENIZER)
    elif kind in ("tiny-image", "tiny-text"):
        tower = (tiny.TinyImage if kind == "tiny-image" else tiny.TinyText)(config["width"], config["layers"])
    elif kind == characters.KIND:
        tower = characters.CharacterTower(config["hidden"], config["seed"])
    elif kind == prefixed.KIND:
        base = _untrained(config["base"], folder)
        assert isinstance(base, TextTower), f"{base.kind} reads no texts"
        tower = prefixed.PrefixedText(base, config["kinds"], config["tokens"])
    else:
        raise ModelError(f'{folder}: this release has no tower "{kind}"; upgrade pairwright')
    return tower


def _build(model: ModelFolder) -> Tower:
    tower: Tower
    if model.reference.startswith(BUILTIN):
        name = model.reference.removeprefix(BUILTIN)
        if name not in PRETRAINED:
            raise ModelError(f'no builtin tower is called "{name}"{nearest(name, PRETRAINED)}')
        tower = PRETRAINED[name]()
    else:
        tower = sentence.pretrained_sentence(str(model.path))
    tower.weights = model.weights
    return tower


def resolved(model: ModelFolder | str) -> ModelFolder:
    """A model reference as a folder and its weights' hash."""
    found = model if isinstance(model, ModelFolder) else ModelFolder(reference=model)
    return found if found.resolved else resolve_model(found.reference)


def forget_shared() -> None:
    """Drop every shared tower (a test's, or a long-lived server's, way to free memory)."""
    _shared.clear()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
