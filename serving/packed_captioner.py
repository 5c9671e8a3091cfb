"""A captioner as a Bento holds it: its own folder, and the tower whose features it was taught on, both by content.

    captioner = captioner_to_serve("workspace/models/…")
    pack_captioner(captioner, folder)               # folder/captioner, folder/tower

The folder of a captioner names its tower and the hash of its weights (components/models/captioner/folder.py). What is
packed has that hash: another tower's features would be read as if they were this one's, and captions be of nothing. A
captioner that was taught with a tower of its own (tower_captioner.py) brings it in its folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairwright.components.artifact import check_committed
from pairwright.components.digest import folder_digest
from pairwright.components.errors import ModelError
from pairwright.components.models.resolve import feature_width, resolve_model
from pairwright.components.settings import ModelFolder

CAPTIONER, TOWER = "captioner", "tower"
PRECISIONS = ("float32", "bfloat16")  # of features that a tower in float32 gives near enough


@dataclass(frozen=True)
class ServedCaptioner:
    """A captioner's folder, its digest, and its tower as it is here; None of one that has a tower of its own."""

    folder: Path
    digest: str
    tower: ModelFolder | None

    @property
    def facts(self) -> dict[str, Any]:
        """What the Bento says of it."""
        tower = {"reference": "its own", "digest": self.digest}
        if self.tower is not None:
            tower = {"reference": self.tower.reference, "digest": str(self.tower.weights)}
        return {"captioner_digest": self.digest, "tower": tower}


def captioner_to_serve(
    folder: str | Path, tower: str | None = None, resolve: Callable[[str], ModelFolder] = resolve_model
) -> ServedCaptioner:
    """A captioner's folder with its tower, which is held against the hash that the captioner names.

    Args:
        tower: where the tower is, if what the captioner calls it leads nowhere here, or it names none.
        resolve: from a reference to the folder and the hash of what it means now.

    Raises:
        ModelError: the folder is no captioner of pictures, or the tower is not here or another one.
        WorkspaceError: a file of it is not what was committed.
    """
    from pairwright.components.models.captioner.folder import taught_on
    from pairwright.components.models.captioner.tower_captioner import has_tower

    root = Path(folder)
    said = taught_on(root)
    check_committed(root)
    if has_tower(root):
        return ServedCaptioner(root, folder_digest(root), None)
    if said is None and tower is None:
        raise ModelError(f"{root} does not name the tower it was taught on; name it: --tower builtin:NAME or a folder")
    if said is not None and (said.side != "image" or said.precision not in PRECISIONS):
        raise ModelError(
            f"{root} was taught on features of {said.reference} ({said.side}, {said.precision}), which a new picture "
            "has not here; teach it on image_features in float32 to serve it"
        )
    found = resolve(tower or (said.reference if said is not None else ""))
    if said is not None and found.weights != said.weights:
        raise ModelError(
            f"{found.reference} is {str(found.weights)[:12]}, {root} was taught on {said.weights[:12]} (then called "
            f"{said.reference}); name that tower: --tower builtin:NAME or a folder"
        )
    _check_width(root, found)
    return ServedCaptioner(root, folder_digest(root), found)


def pack_captioner(captioner: ServedCaptioner, folder: Path) -> None:
    """Lay down what `Captioning` opens."""
    from pairwright.components.models.towers.packed_tower import pack_image_tower

    shutil.copytree(captioner.folder, folder / CAPTIONER)
    if captioner.tower is not None:
        pack_image_tower(captioner.tower, folder / TOWER)


def _check_width(root: Path, tower: ModelFolder) -> None:
    parts = {part["name"]: part for part in json.loads((root / "config.json").read_text(encoding="utf-8"))["parts"]}
    image, width = parts.get("image"), feature_width(tower)
    if image is None or image["kind"] != "vector" or image.get("most", 1) != 1:
        raise ModelError(f"{root} captions no single picture; a captioner of frames or sounds is not served")
    if image["size"] != width:
        raise ModelError(f"{tower.reference} gives {width} features, {root} reads {image['size']}; name its tower")
