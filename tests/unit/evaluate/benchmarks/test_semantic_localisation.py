"""Localisation: a model that sees colours points into their boxes; a constant's heat is chance to the last cell."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import Broken, Constant, Reader
from PIL import Image, ImageDraw
from torch import Tensor

from pairwright.components.component import Metric
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.sidecar import region
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.errors import DatasetError, NotFinite
from pairwright.components.evaluate.benchmarks.semantic_localisation import (
    CELLS,
    SemanticLocalisation,
    SemanticLocalisationSettings,
    covered,
    crops_of,
    inside_auc,
    pointing,
)

COLOURS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220)}


class Seer(Reader):
    """How much of each colour a crop has, and which colour a text names."""

    def image_features(self, images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        told = []
        for image in images:
            near = [(np.abs(image.astype(int) - np.array(rgb)).sum(-1) < 60).mean() for rgb in COLOURS.values()]
            told.append([*near, 0.05, 0, 0, 0, 0])
        return torch.tensor(told, dtype=torch.float32)

    def text_features(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([[float(c in text) for c in COLOURS] + [0.0] * 5 for text in texts])


class Blind(Seer):
    """Another guess for every crop."""

    def image_features(self, images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        seeds = [int(np.asarray(image, np.int64).sum()) for image in images]
        return torch.from_numpy(np.stack([np.random.default_rng(s).normal(size=8) for s in seeds]).astype(np.float32))


@pytest.fixture
def boxed(tmp_path: Path) -> Dataset:
    """Thirty pictures, each with two squares of different colours at places known exactly."""
    random = np.random.default_rng(0)
    with ShardWriter(f"{tmp_path}/boxed", "boxed", pairs_per_shard=20) as writer:
        for number in range(30):
            image = Image.fromarray(random.integers(90, 160, (96, 96, 3), dtype=np.uint8))
            draw, regions = ImageDraw.Draw(image), []
            for half, name in enumerate(random.permutation(list(COLOURS))[:2]):
                x, y = int(random.integers(2, 20)) + 48 * half, int(random.integers(2, 66))
                draw.rectangle((x, y, x + 25, y + 25), fill=COLOURS[name])
                regions.append(region((x / 96, y / 96, (x + 26) / 96, (y + 26) / 96), str(name)))
            stream = io.BytesIO()
            image.save(stream, "PNG")
            writer.add(f"{number:03d}", [("image", "image", "png", stream.getvalue())], regions=regions)
        writer.add("bare", [("image", "image", "png", stream.getvalue())])
    return writer.dataset


def by_name(metrics: list[Metric]) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


def test_who_sees_points_into_the_box_and_who_guesses_does_not(boxed: Dataset) -> None:
    ask = SemanticLocalisation(SemanticLocalisationSettings(template="a {} thing"))
    measured = ask.measure(Seer(), boxed)
    seen = by_name(measured.metrics)
    assert seen["pointing"].value > 0.8
    assert seen["auc"].value > 0.9
    assert seen["auc"].n == 60 == len(measured.items["auc"])
    assert seen["auc"].templates == ("a {} thing",)
    assert len(set(measured.items["groups"])) == 30, "a picture's regions are of one group"
    guessed = by_name(ask.evaluate(Blind(), boxed))
    assert guessed["auc"].low < 0.5 < guessed["auc"].high
    assert guessed["pointing"].value < 0.25


def test_a_constant_is_at_chance_exactly_and_no_number_is_an_error(boxed: Dataset) -> None:
    ask = SemanticLocalisation(SemanticLocalisationSettings(scales=(0.5,)))
    found = by_name(ask.evaluate(Constant(), boxed))
    assert found["auc"].value == 0.5
    assert found["pointing"].value == pytest.approx(found["pointing_chance"].value)
    with pytest.raises(NotFinite):
        ask.evaluate(Broken(), boxed)


def test_a_split_without_regions_is_refused_and_most_is_kept_to(boxed: Dataset, shapes) -> None:
    with pytest.raises(DatasetError, match="has no picture with regions"):
        SemanticLocalisation(SemanticLocalisationSettings()).evaluate(Seer(), shapes(6, 1))
    few = SemanticLocalisation(SemanticLocalisationSettings(most=7, scales=(0.5,))).measure(Seer(), boxed)
    assert len(set(few.items["groups"])) == 7


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.33, 0.2])
def test_crops_cover_the_picture(scale: float) -> None:
    assert covered(crops_of(scale)).all()
    assert len(crops_of(1.0)) == 1
    assert len(crops_of(0.5)) == 9


def test_pointing_and_area_by_hand() -> None:
    inside = np.zeros((CELLS, CELLS), bool)
    inside[0, :4] = True
    cells = np.zeros((CELLS, CELLS))
    cells[0, 0] = cells[5, 5] = 2.0
    assert pointing(cells, inside) == 0.5
    outside = CELLS * CELLS - 4
    expected = (1 * (outside - 1 + 0.5) + 3 * (outside - 1) / 2) / (4 * outside)
    assert inside_auc(cells, inside) == pytest.approx(expected)
