"""Robustness: an oracle of what damage leaves is whole, one of single pixels is not; styles that disagree are told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import Broken, Constant, Reader
from shapes import encoded, facts_of
from torch import Tensor

from pairwright.components.component import Metric
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.media.view_damage import blurred, noisy, rotated
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.errors import DatasetError, NotFinite
from pairwright.components.evaluate.benchmarks.robustness import Robustness, RobustnessSettings


def by_name(metrics: list[Metric]) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


class OneColour(Reader):
    """Knows a picture by its colours, which neither blur nor a turn changes much."""

    def image_features(self, images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
        found = super().image_features(images)
        found[:, 4:] = 0
        return found

    def text_features(self, texts: Sequence[str]) -> Tensor:
        found = super().text_features(texts)
        found[:, 4:] = 0
        return found


@pytest.fixture
def styled(tmp_path: Path) -> Dataset:
    """Eight things in two styles: plain, and so small a shape that the reader takes it for another colour."""
    with ShardWriter(f"{tmp_path}/styled", "styled", pairs_per_shard=8) as writer:
        for number in range(8):
            for style in ("plain", "other"):
                shown = number if style == "plain" else (number + 1) % 8
                said = caption(f"{facts_of(number)[0]} on the {facts_of(number)[2]}")
                media = [("image", "image", "jpg", encoded(shown))]
                writer.add(f"{style}{number}", media, [said], [("style", style)], group=str(number))
    return writer.dataset


def test_an_oracle_a_constant_and_what_is_no_number(shapes: Any) -> None:
    split = shapes(48, 2)
    oracle = by_name(Robustness(RobustnessSettings(k=10)).evaluate(Reader(), split))
    assert oracle["clean"].value == 1
    constant = by_name(Robustness(RobustnessSettings(k=10)).evaluate(Constant(), split))
    assert all(one.value == 0 for name, one in constant.items()), "ties count against, and damage costs nothing"
    with pytest.raises(NotFinite):
        Robustness(RobustnessSettings()).evaluate(Broken(), split)


def test_cost_is_what_a_damage_takes_from_a_model_that_needs_it(shapes: Any) -> None:
    split = shapes(48, 2)
    found = by_name(Robustness(RobustnessSettings(k=5, rotation=90, noise=0.0)).evaluate(Reader(), split))
    assert "noise" not in found
    assert found["rotation"].value < 0.3, "left has become top: a model that reads places is lost"
    assert found["rotation_cost"].value == pytest.approx(found["clean"].value - found["rotation"].value)
    assert not found["rotation_cost"].higher_is_better
    by_colour = by_name(Robustness(RobustnessSettings(k=40, rotation=90)).evaluate(OneColour(), split))
    assert by_colour["rotation_cost"].value == 0


def test_damage_is_the_same_every_time_and_as_strong_as_said() -> None:
    image = np.full((64, 96, 3), 128, np.uint8)
    image[20:40, 30:60] = 10
    assert np.array_equal(noisy(image, 0.1, (0, 3)), noisy(image, 0.1, (0, 3)))
    assert not np.array_equal(noisy(image, 0.1, (0, 3)), noisy(image, 0.1, (0, 4)))
    grey = np.full((200, 200, 3), 128, np.uint8)
    assert abs(noisy(grey, 0.1, (0, 0)).astype(float).std() / 255 - 0.1) < 0.005
    point = np.zeros((101, 101, 3), np.uint8)
    point[50, 50] = 255
    spread = blurred(np.repeat(point[..., :1], 3, 2).astype(np.uint8) * 1, 0.03)[50, :, 0].astype(float)
    place = np.arange(101) - 50
    assert abs(np.sqrt((spread * place**2).sum() / spread.sum()) - 3.03) < 0.4
    turned = rotated(image, 180)
    assert np.abs(turned.astype(int) - image[::-1, ::-1].astype(int)).max() <= 1


def test_styles_have_their_own_recall_and_disagree_where_one_alone_is_found(styled: Dataset) -> None:
    measured = Robustness(RobustnessSettings(k=2, style="style", blur=0, noise=0, rotation=0)).measure(Reader(), styled)
    found = by_name(measured.metrics)
    assert set(found) == {"clean", "style_plain", "style_other", "style_disagreement"}
    assert found["style_plain"].value == 1
    assert found["style_other"].value == 0
    assert found["style_disagreement"].value == 1
    assert all(len(measured.items[name]) == one.n for name, one in found.items())
    constant = by_name(Robustness(RobustnessSettings(k=2, style="style")).evaluate(Constant(), styled))
    assert constant["style_disagreement"].value == 0
    with pytest.raises(DatasetError, match='differ in "artist"'):
        Robustness(RobustnessSettings(style="artist")).evaluate(Reader(), styled)
