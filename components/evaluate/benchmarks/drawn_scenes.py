"""Drawn scenes: is what a text-to-picture model draws of the right colour, and at the right side?

    benchmarks: {drawn: {uses: drawn_scenes, with: {prompts: alt}}}

Composed scenes tell what their prompt says: two things, each of a colour, and how one lies to the other. With the
picture's chroma (a*, b* of CIE Lab) less its mean,

    colour     of a thing, over its own boxes: which of the six colours has the nearest direction; chance 1/6
    position   of a scene: where there is more of the subject's colour than of the object's, and less, have centres that
               lie as the prompt says (left, right, above, below); chance 1/2

A flat picture has neither. RECAP (Segalis et al., 2023) has object accuracy and position by detectors on Stable
Diffusion's pictures; these are not its figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from pairwright.components.component import Benchmark, Measured, Metric
from pairwright.components.dataset.pairs import caption_of
from pairwright.components.dataset.shards.reading import sidecar_rows
from pairwright.components.dataset.sources.scenes.scene import COLOURS, PARTS
from pairwright.components.errors import DatasetError, InvalidRecipe
from pairwright.components.finite import require_finite
from pairwright.components.registry import benchmark
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.dataset.facts import DataFacts
    from pairwright.components.models.protocols import PictureDecoder

# Relation -> axis of the picture (0 down, 1 across), and whether the subject's place is the smaller.
AXES = {"left of": (1, True), "right of": (1, False), "above": (0, True), "below": (0, False)}
AXES |= {"on": (0, True), "under": (0, False)}
FLAT = 1e-6  # chroma below which there is none
TOLD = {
    "colour": "Share of things in whose boxes the picture drawn is nearest in hue to their colour of six; chance 1/6.",
    "position": "Share of scenes in whose drawn picture both colours lie to each other as the prompt says; chance 1/2.",
}


class DrawnScenesSettings(Settings):
    prompts: str = Field("alt", description="caption source that is drawn")
    seed: int = Field(0, ge=0, description="of the bootstrap")


@benchmark("drawn_scenes")
class DrawnScenes(Benchmark[DrawnScenesSettings]):
    """Metrics `colour`, whose items are things, and `position`, whose items are scenes, in families."""

    protocol = "picture_decoder"

    def check_data(self, facts: DataFacts) -> None:
        if lacks := facts.lacks_label("subject_colour") or facts.lacks_source(self.settings.prompts):
            raise InvalidRecipe(f"{lacks}; composed scenes have it (`pairwright ingest scenes`)")

    def measure(self, model: PictureDecoder, dataset: Dataset) -> Measured:
        from pairwright.components.evaluate.statistics.bootstrap import bootstrap_mean

        rows = [row for row in _scenes(dataset) if caption_of(row["captions"], self.settings.prompts)]
        if not rows:
            raise DatasetError(f'{dataset.name} has no scene with a prompt "{self.settings.prompts}"')
        drawn = model.draw([caption_of(row["captions"], self.settings.prompts) or "" for row in rows])
        require_finite(drawn, "the pictures drawn")
        hits: dict[str, list[bool]] = {"colour": [], "position": []}
        groups: dict[str, list[str]] = {"colour": [], "position": []}
        for row, picture in zip(rows, drawn, strict=True):
            chroma, facts = chroma_of(picture), {one["name"]: one["value"] for one in row["labels"]}
            found = {"colour": coloured(chroma, row["regions"], facts), "position": [placed(chroma, facts)]}
            for name, some in found.items():
                hits[name] += some
                groups[name] += [str(row["group"] or row["key"])] * len(some)
        metrics: list[Metric] = []
        items: dict[str, np.ndarray] = {}
        for name, some in hits.items():
            values = np.asarray(some, np.float32)
            interval = bootstrap_mean(values, groups[name], seed=self.settings.seed)
            metrics.append(Metric(name, interval.value, len(some), interval.low, interval.high, TOLD[name]))
            items |= {name: values, f"{name}.groups": np.asarray(groups[name])}
        return Measured(metrics, items)


def chroma_of(picture: np.ndarray) -> np.ndarray:
    """RGB (h, w, 3) in [0, 1] -> (h, w, 2): a* and b*, less their mean over the picture."""
    import cv2

    lab = cv2.cvtColor(np.ascontiguousarray(picture, np.float32), cv2.COLOR_RGB2Lab)[..., 1:]
    found: np.ndarray = lab - lab.mean((0, 1))
    return found


def hues() -> dict[str, np.ndarray]:
    """The six colours' directions, unit (2,)."""
    import cv2

    tiles = np.array([[rgb] for rgb in COLOURS.values()], np.float32)[:, :, None] / 255
    found = [cv2.cvtColor(tile, cv2.COLOR_RGB2Lab)[0, 0, 1:] for tile in tiles]
    return {name: one / np.linalg.norm(one) for name, one in zip(COLOURS, found, strict=True)}


def coloured(chroma: np.ndarray, regions: list[dict[str, Any]], facts: dict[str, str]) -> list[bool]:
    """Of the subject and the object: is the chroma over its boxes nearest in direction to its own colour."""
    known, hits = hues(), []
    for part in PARTS:
        inside = np.zeros(chroma.shape[:2], bool)
        for one in regions:
            if one["label"] == facts[part]:
                inside |= _covered(one["box"], chroma.shape[:2])
        mean = chroma[inside].mean(0)
        nearest = max(known, key=lambda name: float(mean @ known[name]))
        hits.append(bool(np.linalg.norm(mean) > FLAT and nearest == facts[f"{part}_colour"]))
    return hits


def placed(chroma: np.ndarray, facts: dict[str, str]) -> bool:
    """Do the subject's colour and the object's lie to each other as the relation says."""
    known = hues()
    more = chroma @ (known[facts["subject_colour"]] - known[facts["object_colour"]])
    more = more - more.mean()
    if np.abs(more).max() < FLAT:
        return False
    axis, first = AXES[facts["relation"]]
    places = np.indices(more.shape)[axis]
    subject, other = (float((w * places).sum() / w.sum()) for w in (more.clip(0), (-more).clip(0)))
    return subject < other if first else subject > other


def _covered(box: tuple[float, float, float, float], shape: tuple[int, ...]) -> np.ndarray:
    """Pixels whose middle is in the box, at least the one in its own middle."""
    down, across = np.indices(shape[:2])
    x, y = (across + 0.5) / shape[1], (down + 0.5) / shape[0]
    inside: np.ndarray = (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])
    inside[int((box[1] + box[3]) / 2 * shape[0]), int((box[0] + box[2]) / 2 * shape[1])] = True
    return inside


def _scenes(dataset: Dataset) -> list[dict[str, Any]]:
    """Rows of scenes whose things have boxes."""
    rows = [row for _, table in dataset.iter_sidecars() for row in sidecar_rows(table)]
    return [row for row in rows if row.get("regions") and any(one["name"] == "subject" for one in row["labels"] or ())]
