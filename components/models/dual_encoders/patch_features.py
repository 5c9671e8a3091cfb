"""A locked image tower's features of a picture's parts, as columns: what objectives on patches train from.

patches: {uses: patch_features, with: {tower: builtin:efficientnet-lite0, grid: 3}}

The tower's own map, 7 x 7 places of EfficientNet-Lite0, averaged to grid x grid: 3 x 3 places of 1,280 numbers are
23 kB a picture, the whole map 125 kB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Pixels, Scorer, batches
from pairwright.components.models.resolve import TOWER_LIBRARIES, feature_width, image_side
from pairwright.components.registry import scorer
from pairwright.components.settings import ModelFolder, Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.pairs import PairBatch

CHUNK = 16  # pictures a forward pass


class PatchFeaturesSettings(Settings):
    tower: ModelFolder = ModelFolder(reference="builtin:efficientnet-lite0")
    grid: int = Field(3, ge=1, le=16, description="parts along each side of a picture")


@scorer("patch_features")
class PatchFeatures(Scorer[PatchFeaturesSettings]):
    """Columns: `vector` float16 (grid * grid * tower's width), part by part in reading order; null without a picture.

    Raises:
        ModelError: the tower shows no patches, or fewer than are asked for.
    """

    requires = Pixels(224)
    runs_model = True
    libraries = (*TOWER_LIBRARIES, "efficientnet-lite-pytorch")

    @property
    def pixels(self) -> int:
        return max(self.requires.pixels, image_side(self.settings.tower))

    def schema(self) -> Mapping[str, pa.DataType]:
        return {"vector": pa.list_(pa.float16(), self.settings.grid**2 * feature_width(self.settings.tower))}

    def setup(self, device: str) -> None:
        from pairwright.components.models.towers.towers import load_image_tower

        self.tower = load_image_tower(self.settings.tower, device)

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        import numpy as np
        import torch

        from pairwright.components.models.towers.patches import grid_patches

        pictures, grid = list(self.tower.pictures(pairs)), self.settings.grid
        with torch.inference_mode():
            parts = [
                grid_patches(self.tower, torch.from_numpy(np.stack(some)), grid) for some in batches(pictures, CHUNK)
            ]
        return {"vector": torch.cat(parts).flatten(1).half().cpu().numpy()}
