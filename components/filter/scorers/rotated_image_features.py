"""Rotated image features: an image tower's features of each picture turned by 90, 180 and 270 degrees.

    rotated: {uses: rotated_image_features, with: {where: named.hit}}

What `crossfit_rotation_stability` reads; the picture as it stands is in `image_features`. `where` spares
the tower the pictures that a boolean column already says are not wanted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pairwright.components.component import Columns, Pixels, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.models.resolve import TOWER_LIBRARIES, feature_width, image_side
from pairwright.components.registry import scorer
from pairwright.components.settings import ModelFolder, Settings

TURNS = {"r90": 1, "r180": 2, "r270": 3}  # quarter turns, anticlockwise


class RotatedImageFeaturesSettings(Settings):
    tower: ModelFolder = ModelFolder(reference="builtin:efficientnet-lite0")
    where: str | None = None  # boolean step.column; pictures where it is not true have no features


@scorer("rotated_image_features")
class RotatedImageFeatures(Scorer[RotatedImageFeaturesSettings]):
    """Columns: `r90`, `r180`, `r270` float16 (tower's width), null where undecoded or not wanted."""

    requires = Pixels(size=224) + Columns("where")
    libraries = (*TOWER_LIBRARIES, "efficientnet-lite-pytorch")
    runs_model = True

    @property
    def pixels(self) -> int:
        return max(self.requires.pixels, image_side(self.settings.tower))

    def schema(self) -> Mapping[str, pa.DataType]:
        return dict.fromkeys(TURNS, pa.list_(pa.float16(), feature_width(self.settings.tower)))

    def setup(self, device: str) -> None:
        from pairwright.components.models.towers.towers import load_image_tower

        self.tower = load_image_tower(self.settings.tower, device)

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        where = self.settings.where
        wanted = np.array([where is None or bool(pairs.columns[where][i]) for i in range(len(pairs))], bool)
        chosen = [picture for picture, one in zip(self.tower.pictures(pairs), wanted, strict=True) if one]
        return {name: self._turned(chosen, turns, wanted) for name, turns in TURNS.items()}

    def _turned(self, chosen: Sequence[np.ndarray], turns: int, wanted: np.ndarray) -> pa.Array:
        """The wanted pictures, RGB uint8 (h, w, 3) each -> one list a pair, null for the others."""
        kind = self.schema()["r90"]
        vectors = np.zeros((len(wanted), self.tower.width), np.float16)
        if chosen:
            turned = [np.ascontiguousarray(np.rot90(picture, turns)) for picture in chosen]
            vectors[wanted] = self.tower.features(turned).half().cpu().numpy()
        return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), type=kind, mask=pa.array(~wanted))
