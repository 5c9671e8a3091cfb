"""Omniview-Tuning's view consistency (Ruan et al., 2024): a thing's outlying views are drawn to its other views.

    objective: [clip, {uses: omniview, with: {objects: pair.label.concept}}]        # ITC + lambda L_vc, lambda = weight

Once an epoch, over all examples and without a gradient, for each object of at least two views:

    w_i = 1 / (mean cosine of view i to its 5 nearest views),  centre = sum_i w_i view_i / sum_i w_i
    list = the K views least similar to the centre

so outlying views weigh more. In the epoch that follows, over the batch's members on the list (0 where there are none):

    L_vc = mean [1 - cos(view, centre) + margin]+

The authors left the hinge's negative term out of their code, so it never closes: it is `margin` where view and centre
are one, and its gradient is that of 1 - cos. Embeddings are those met in training during the epoch; theirs are of a
pass of its own before it, so that here the first epoch has no list. A mean cosine below 0.05 counts as 0.05, for theirs
divides by it whatever its sign. Pairs without an object are learnt from as any. Mechanism verified by test, figure not
reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from pairwright.components.component import Objective
from pairwright.components.dataset.examples.identity import Identity, identity_reads
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.registry import objective
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor, nn


LEAST = 0.05  # mean cosine to the nearest views


class OmniviewSettings(Settings):
    objects: Identity = Field(description="what makes two pictures views of one thing, e.g. pair.label.concept")
    outliers: int = Field(5, ge=1, description="K, views of an object on the list")
    neighbours: int = Field(5, ge=1, description="nearest views whose cosine weighs a view")
    margin: float = Field(0.3, ge=0)


@objective("omniview")
class Omniview(Objective[OmniviewSettings]):
    """`loss` = L_vc, `listed`, the share of the batch on the list, and with a row an example `views`."""

    captions = False

    def reads(self) -> Reads:
        return identity_reads(self.settings.objects)

    def modules(self) -> nn.Module | None:
        import torch

        found = self.population.identities(self.settings.objects)
        self.known, self.object_of = np.unique(found, return_inverse=True)
        size, dim = len(found), self.towers.model.dim
        self.views, self.met = torch.zeros(size, dim), torch.zeros(size, dtype=torch.bool)
        self.centres, self.listed = torch.zeros(len(self.known), dim), torch.zeros(size, dtype=torch.bool)
        return None

    def losses(self, outputs: Mapping[str, Tensor], batch: Any) -> dict[str, Tensor]:
        import torch

        numbers = batch.numbers.cpu()
        listed = self.listed[numbers]
        rows = listed.nonzero().flatten()
        objects = torch.from_numpy(self.object_of)[numbers[rows]]
        image = outputs["image"]
        found = view_consistency(image[rows.to(image.device)], self.centres[objects].to(image), self.settings.margin)
        return {"loss": found.sum() / max(len(rows), 1), "listed": listed.float().mean(), "views": image.detach()}

    def after_step(self, seen: Any) -> None:
        self.views[seen.numbers] = seen.values["views"].float()
        self.met[seen.numbers] = True

    def after_epoch(self, epoch: int) -> None:
        import torch

        wish = self.settings
        met = np.flatnonzero(self.met.numpy())
        found = outlying(self.views.numpy()[met], self.object_of[met], wish.outliers, wish.neighbours)
        self.listed.zero_()
        self.listed[torch.from_numpy(met[found.listed])] = True
        for which, centre in found.centres.items():
            self.centres[which] = torch.from_numpy(centre)

    def state_dict(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in ("views", "met", "centres", "listed")}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, value in state.items():
            setattr(self, name, value.clone())


@dataclass(frozen=True)
class Outlying:
    """Objects of two views and more: `centres` (d,) by object, and bool (n,), which views are on the list."""

    centres: dict[int, np.ndarray]
    listed: np.ndarray


def outlying(views: np.ndarray, objects: np.ndarray, outliers: int, neighbours: int) -> Outlying:
    """(n, d) unit vectors, object numbers (n,) -> centres and the list; of equal similarities the earlier view."""
    listed, centres = np.zeros(len(views), bool), {}
    order = np.argsort(objects, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(objects[order])) + 1):
        if len(rows) < 2:
            continue
        own = views[rows].astype(np.float64)
        weights = centre_weights(own, neighbours)
        centre = weights @ own / weights.sum()
        near = own @ centre / max(float(np.linalg.norm(centre)), 1e-12)
        listed[rows[np.argsort(near, kind="stable")[:outliers]]] = True
        centres[int(objects[rows[0]])] = centre.astype(np.float32)
    return Outlying(centres, listed)


def centre_weights(own: np.ndarray, neighbours: int) -> np.ndarray:
    """An object's views (v, d) -> 1 / the mean cosine of each to its nearest others (v,)."""
    cosines = own @ own.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = -np.sort(-cosines, axis=1)[:, : min(neighbours, len(own) - 1)]
    weights: np.ndarray = 1 / np.maximum(nearest.mean(1), LEAST)
    return weights


def view_consistency(views: Tensor, centres: Tensor, margin: float) -> Tensor:
    """[1 - cos + margin]+ of each view against its centre: (n, d), (n, d) -> (n,)."""
    from torch.nn import functional as F  # noqa: N812

    return (1 - F.cosine_similarity(views, centres, dim=-1) + margin).clamp(min=0)
