"""An image tower by its int8 graph, calibrated on pictures of a dataset.

tower = int8_tower(load_image_tower("builtin:efficientnet-lite0"), "data/raw")
tower.features(pictures), tower.facts["mean_cosine"]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from pairwright.components.dataset.dataset import open_dataset
from pairwright.components.dataset.shards.reading import read_pairs
from pairwright.components.errors import ModelError
from pairwright.components.models.onnx.graph import Graph
from pairwright.components.models.onnx.int8 import CALIBRATION, quantised
from pairwright.components.models.towers.pixels import squash
from pairwright.components.models.towers.tower import ImageTower


class Int8Images(ImageTower):
    """Locked; `facts` say what its numbers cost."""

    kind = "int8-images"

    def __init__(self, tower: ImageTower, graph: Graph) -> None:
        super().__init__()
        self.tower, self.width, self.side = tower, tower.width, tower.side
        self.graph, self.facts = graph, dict(graph.facts)

    def run(self, **inputs: Tensor) -> Tensor:
        return self.graph(**inputs)

    def config(self) -> dict[str, Any]:
        raise ModelError("an int8 tower is for features alone; train with the tower it was made of")


def int8_tower(tower: ImageTower, calibration: str) -> Int8Images:
    """Args:
        calibration: a dataset's folder, of whose pictures 2 x CALIBRATION are taken, at even distances.

    Raises:
        ModelError: the tower is on a GPU or has no int8 form, or there are too few pictures.
        DatasetError: there is no dataset.
    """
    if tower.device.type != "cpu":
        raise ModelError("int8 is for CPUs; leave `precision` at float32, or set device to cpu")
    return Int8Images(tower, quantised(tower, sample(calibration, 2 * CALIBRATION, tower.side)))


def sample(folder: str, count: int, side: int) -> np.ndarray:
    """At most `count` pictures at even distances through a dataset: (n, side, side, 3) uint8."""
    dataset = open_dataset(folder)
    wanted = np.unique(np.linspace(0, max(dataset.rows - 1, 0), min(count, dataset.rows)).astype(np.int64))
    pictures: list[np.ndarray] = []
    start = 0
    for shard in dataset.shards:
        rows = wanted[(wanted >= start) & (wanted < start + shard.rows)] - start
        for batch in read_pairs(shard, pixels=side, rows=rows) if len(rows) else ():
            pictures.extend(squash([image for image in batch.images if image is not None], side))
        start += shard.rows
    return np.stack(pictures) if pictures else squash([], side)
