"""An image tower in a folder of its own, whatever it was a part of: what a captioner takes along to see a new picture.

pack_image_tower(resolve_model("builtin:efficientnet-lite0"), folder)
load_packed_tower(folder).features(pictures)                                # the same numbers
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import cast

from pairwright.components.models.model_folder import damage_named
from pairwright.components.models.resolve import is_dual_encoder
from pairwright.components.models.towers.tower import ImageTower
from pairwright.components.models.towers.tower_files import load_saved_tower, save_tower
from pairwright.components.models.towers.towers import load_image_tower
from pairwright.components.settings import ModelFolder

ENTRY, SIDE = "tower.json", "image_tower"
ENCODER = "encoder"  # a dual encoder, of which one side is read, stays whole


def pack_image_tower(model: ModelFolder, folder: Path) -> None:
    """Write the tower a resolved reference names.

    Raises:
        ModelError: it is no image tower.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if is_dual_encoder(model):
        shutil.copytree(str(model.path), folder / ENCODER)
        return
    entry, _ = save_tower(load_image_tower(model), SIDE, folder)
    (folder / ENTRY).write_text(json.dumps(entry, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def load_packed_tower(folder: Path, device: str = "cpu") -> ImageTower:
    """The tower, locked; the process's own, where it has one of the same weights.

    Raises:
        ModelError: the folder is missing or damaged.
    """
    if (folder / ENCODER).is_dir():
        return load_image_tower(str(folder / ENCODER), device)
    with damage_named(folder):
        entry = json.loads((folder / ENTRY).read_text(encoding="utf-8"))
        return cast(ImageTower, load_saved_tower(entry, SIDE, folder, device, dict))
