"""A tower in a model's folder: one that is locked in a file of its own, the same bytes in every model that has it.

    config, rest = save_tower(model.image_tower, "image_tower", folder)     # image_tower.safetensors, {}
    tower = load_saved_tower(config, "image_tower", folder, "cpu", lambda: {})

So folders can share the file on disk (components/shared_files.py), and each is whole by itself. A tower that was
trained with its model lies within `model.safetensors`, as did all towers of folders of format 1.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from pairwright.components.models.towers.shared_towers import build_tower, share
from pairwright.components.models.towers.tower import Tower


def save_tower(tower: Tower, side: str, folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The tower's entry in `config.json`, and what of it belongs within `model.safetensors`, by `side.name`."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in tower.state_dict().items()}
    if tower.weights is None:
        return tower.config(), {f"{side}.{name}": value for name, value in tensors.items()}
    file = f"{side}.safetensors"
    save_file(tensors, folder / file, metadata={"format": "pt"})
    return tower.config() | {"file": file}, {}


def load_saved_tower(
    entry: dict[str, Any], side: str, folder: Path, device: str, within: Callable[[], dict[str, Tensor]]
) -> Tower:
    """The tower of an entry; the process's own, where it has one of the same weights.

    Args:
        within: the tensors of `model.safetensors` by `side.name`, read only where they are needed.

    Raises:
        ModelError: this release knows no such tower, or a tensor is missing.
        OSError, SafetensorError: its file is missing or damaged.
    """

    def tensors() -> dict[str, Tensor]:
        if "file" in entry:
            return load_file(folder / Path(entry["file"]).name)
        return {name.removeprefix(f"{side}."): value for name, value in within().items() if name.startswith(f"{side}.")}

    def build() -> Tower:
        return build_tower(entry, folder, tensors)

    return share(entry["weights"], device, build) if entry["weights"] else build().to(device)
