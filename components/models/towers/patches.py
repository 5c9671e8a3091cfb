"""A picture's patches averaged to a grid: fewer numbers a picture, whatever the tower's own map."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pairwright.components.errors import ModelError
from pairwright.components.models.towers.tower import ImageTower


def grid_patches(tower: ImageTower, images: Tensor, grid: int) -> Tensor:
    """uint8 (n, side, side, 3) -> (n, grid * grid, width) float32, in reading order.

    Raises:
        ModelError: the tower shows no patches, or fewer than are asked for.
    """
    _, patches = tower.with_patches(images.to(tower.device))
    side = round(patches.shape[1] ** 0.5)
    if side**2 != patches.shape[1] or grid > side:
        raise ModelError(f"the tower shows {patches.shape[1]} patches of a picture, not {grid} x {grid}")
    places = patches.float().transpose(1, 2).unflatten(2, (side, side))
    return F.adaptive_avg_pool2d(places, grid).flatten(2).transpose(1, 2)
