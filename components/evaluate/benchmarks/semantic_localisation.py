"""Semantic localisation: where in a picture does a phrase fit, by the cosines of a grid of crops?

    benchmarks:
      where: {uses: semantic_localisation, with: {template: "a picture of {}"}}

A picture's crops at several scales are embedded, each cell of the picture has the mean cosine of the crops that cover
it, and this heat is held against the boxes the phrase is known to lie in (regions of the sidecar). No training, no
detector: Yuan et al. (2022), who ask it of remote-sensing pictures. Two figures: whether the hottest cell lies in a
box (the pointing game, Zhang et al., 2016), where a cell drawn at random scores the boxes' share of the cells, and the
chance that a cell inside is hotter than one outside (area under the ROC curve, 0.5 for a model that says the same of
all).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from pairwright.components.component import Benchmark, Measured, Metric
from pairwright.components.errors import DatasetError
from pairwright.components.evaluate.statistics.bootstrap import bootstrap_mean
from pairwright.components.finite import require_finite
from pairwright.components.registry import benchmark
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.models.protocols import DualEncoder

CELLS = 12  # of the heat, a side


class SemanticLocalisationSettings(Settings):
    template: str = Field("{}", description="what is asked of a region, {} where its label goes")
    scales: tuple[float, ...] = Field(
        (0.5, 0.33), min_length=1, description="sides of the crops, as shares of the picture's; half a crop apart"
    )
    most: int = Field(200, ge=1, description="pictures that are looked at, spread evenly over those with regions")
    seed: int = Field(0, ge=0, description="of the bootstrap")


@benchmark("semantic_localisation")
class SemanticLocalisation(Benchmark[SemanticLocalisationSettings]):
    """Metrics `pointing`, `auc`, and beside them `pointing_chance`. Items are phrases, a picture's in one group."""

    def measure(self, model: DualEncoder, dataset: Dataset) -> Measured:
        wish = self.settings
        asked = list(_asked(dataset, wish.most))
        if not asked:
            raise DatasetError(
                f"{dataset.name} has no picture with regions; ingest one with boxes, e.g. `pairwright ingest scenes`"
            )
        labels = sorted({label for one in asked for label in one.boxes})
        vectors = model.encode_text([wish.template.format(label) for label in labels]).double().cpu().numpy()
        require_finite(vectors, "the vectors of the phrases")
        phrase = dict(zip(labels, vectors, strict=True))
        found: dict[str, list[Any]] = {"pointing": [], "auc": [], "pointing_chance": [], "groups": []}
        for picture in asked:
            heats = heat(model, picture.image, np.stack([phrase[label] for label in picture.boxes]), wish.scales)
            for cells, boxes in zip(heats, picture.boxes.values(), strict=True):
                inside = covered(boxes)
                if not inside.any() or inside.all():
                    continue  # too small for a cell, or nowhere to be wrong
                found["pointing"].append(pointing(cells, inside))
                found["auc"].append(inside_auc(cells, inside))
                found["pointing_chance"].append(inside.mean())
                found["groups"].append(picture.group)
        if not found["auc"]:
            raise DatasetError(
                f"the regions of {dataset.name} fill a cell of {CELLS} x {CELLS} or none; make them larger"
            )
        return self._told(found)

    def _told(self, found: dict[str, list[Any]]) -> Measured:
        wish = self.settings
        crops = ", ".join(f"{scale:g}" for scale in wish.scales)
        about = (
            f"heat of {CELLS} x {CELLS} cells, the mean cosine of the crops (sides {crops}) that cover a cell with the "
            f'region\'s label, asked as "{wish.template}"'
        )
        texts = {
            "pointing": f"Share of regions whose hottest cell lies in them; {about}; cells that tie share a hit.",
            "auc": f"Chance that a cell in the region is hotter than one outside it, ties half; {about}.",
            "pointing_chance": "What a cell drawn at random scores in `pointing`: the regions' share of the cells.",
        }
        items = {name: np.asarray(found[name], np.float32) for name in texts} | {"groups": np.asarray(found["groups"])}
        metrics = []
        for name, text in texts.items():
            one = bootstrap_mean(items[name], list(items["groups"]), seed=wish.seed)
            templates = () if name == "pointing_chance" else (wish.template,)
            metrics.append(Metric(name, one.value, len(items[name]), one.low, one.high, text, templates=templates))
        return Measured(metrics, items)


@dataclass(frozen=True)
class _Picture:
    """A picture with the boxes of each label, as shares of its width and height."""

    image: np.ndarray
    boxes: dict[str, list[list[float]]]
    group: str


def _asked(dataset: Dataset, most: int) -> Iterator[_Picture]:
    """Pictures that have regions, `most` of them evenly spread, one at a time decoded."""
    from pairwright.components.dataset.shards.reading import read_pairs

    where = []
    for at, (_, table) in enumerate(dataset.iter_sidecars(["regions"])):
        where += [(at, row) for row, regions in enumerate(table["regions"].to_pylist()) if regions]
    chosen = [where[i] for i in np.unique(np.linspace(0, len(where) - 1, min(most, len(where))).astype(int))]
    for at, shard in enumerate(dataset.shards):
        rows = [row for of, row in chosen if of == at]
        for batch in read_pairs(shard, pixels=2**20, rows=rows) if rows else ():
            for number, row, image in zip(batch.rows, batch.sidecar, batch.images, strict=True):
                boxes: dict[str, list[list[float]]] = {}
                for region in row["regions"]:
                    boxes.setdefault(region["label"], []).append(list(region["box"]))
                if image is not None:
                    yield _Picture(image, boxes, row.get("group") or f"{shard.digest}/{number}")


def heat(model: DualEncoder, image: np.ndarray, phrases: np.ndarray, scales: tuple[float, ...]) -> np.ndarray:
    """(phrases, CELLS, CELLS): the mean cosine of each phrase's vector with the crops that cover a cell."""
    windows = [box for scale in scales for box in crops_of(scale)]
    height, width = image.shape[:2]
    crops = []
    for left, top, right, bottom in windows:
        x0, x1 = (round(side * width) for side in (left, right))
        y0, y1 = (round(side * height) for side in (top, bottom))
        crops.append(np.ascontiguousarray(image[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]))
    vectors = model.encode_image(crops).double().cpu().numpy()
    require_finite(vectors, "the vectors of a picture's crops")
    cosine = np.round(phrases @ vectors.T, 12)  # a model that says the same of all ties
    over = np.stack([covered([box]) for box in windows]).reshape(len(windows), -1).astype(np.float64)
    return np.round(cosine @ over / over.sum(axis=0), 10).reshape(len(phrases), CELLS, CELLS)


def crops_of(scale: float) -> list[tuple[float, float, float, float]]:
    """Boxes of that side, half of it apart, that cover the picture: (left, top, right, bottom) as shares."""
    steps = max(1, int(np.ceil((1 - scale) / (scale / 2) - 1e-9)))
    starts = np.linspace(0, 1 - scale, steps + 1) if scale < 1 else np.zeros(1)
    return [(x, y, x + scale, y + scale) for y in starts for x in starts]


def covered(boxes: list[Any]) -> np.ndarray:
    """bool (CELLS, CELLS): cells whose middle lies in one of the boxes."""
    middle = (np.arange(CELLS) + 0.5) / CELLS
    found = np.zeros((CELLS, CELLS), bool)
    for left, top, right, bottom in boxes:
        found |= ((middle >= top) & (middle <= bottom))[:, None] & ((middle >= left) & (middle <= right))[None, :]
    return found


def pointing(cells: np.ndarray, inside: np.ndarray) -> float:
    """Whether the hottest cell lies inside; of those that tie for it, the share."""
    hottest = cells == cells.max()
    return float(inside[hottest].mean())


def inside_auc(cells: np.ndarray, inside: np.ndarray) -> float:
    """Chance that a cell inside is hotter than one outside, ties half."""
    outside = np.sort(cells[~inside])
    below, up_to = (np.searchsorted(outside, cells[inside], side) for side in ("left", "right"))
    return float((below + up_to).mean() / (2 * len(outside)))
