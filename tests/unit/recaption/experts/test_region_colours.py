from __future__ import annotations

import numpy as np
import pytest

from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.recaption.experts.region_colours import RegionColours, RegionColoursSettings
from pairwright.components.recaption.experts.regions import Regions, RegionsSettings

RED, BLUE, WHITE = (210, 25, 30), (30, 70, 200), (255, 255, 255)


def named(picture: np.ndarray, *boxes: tuple[float, float, float, float], **wish: object) -> list[list[str]]:
    pairs = PairBatch(np.zeros(1, np.int32), ["0"], [{}], images=[picture], columns={"seen.boxes": [list(boxes)]})
    step = RegionColours(RegionColoursSettings.parse({"boxes": "seen.boxes"} | wish, "test"))
    return step.score(pairs)["names"][0]


def page(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((100, 200, 3), colour, np.uint8)


def test_a_thing_is_called_by_its_own_colour_though_most_of_its_box_is_ground() -> None:
    picture = page(WHITE)
    for at in range(20, 80):  # a thin stroke from corner to corner of its box
        picture[at - 3 : at + 3, at - 3 : at + 3] = RED
    assert named(picture, (0.08, 0.16, 0.42, 0.84)) == [["red"]]


def test_each_box_has_the_colours_of_what_stands_in_it_alone() -> None:
    picture = page(WHITE)
    picture[20:80, 20:80], picture[20:80, 120:180] = RED, BLUE
    left, right = (0.1, 0.2, 0.4, 0.8), (0.6, 0.2, 0.9, 0.8)
    assert named(picture, left, right) == [["red"], ["blue"]]
    assert named(picture, right, left) == [["blue"], ["red"]]


def test_a_white_thing_on_a_red_ground_is_white() -> None:
    picture = page(RED)
    picture[30:70, 30:70] = WHITE
    assert named(picture, (0.1, 0.2, 0.4, 0.8)) == [["white"]]


def test_a_thing_of_two_colours_has_both_the_larger_first_and_a_speck_is_not_named() -> None:
    picture = page(WHITE)
    picture[20:80, 20:80] = RED
    picture[56:80, 20:80] = BLUE
    assert named(picture, (0.1, 0.2, 0.4, 0.8)) == [["red", "blue"]]
    assert named(picture, (0.1, 0.2, 0.4, 0.8), min_share=0.5) == [["red"]]
    assert named(picture, (0.1, 0.2, 0.4, 0.8), most=1) == [["red"]]


def test_a_box_without_ground_around_it_or_with_nothing_else_in_it_counts_in_full() -> None:
    assert named(page(BLUE), (0.0, 0.0, 1.0, 1.0), (0.2, 0.2, 0.4, 0.4)) == [["blue"], ["blue"]]


def test_a_box_smaller_than_a_pixel_has_that_pixels_colour() -> None:
    assert named(page(BLUE), (0.999, 0.999, 1.0, 1.0)) == [["blue"]]


def test_a_picture_without_boxes_has_no_colours_of_any() -> None:
    assert named(page(BLUE)) == []


@pytest.mark.parametrize(("source", "labels"), [(None, ["dog", "cat"]), ("people", ["cat"]), ("nobody", [])])
def test_regions_of_a_sidecar_are_what_a_detector_would_leave(source: str | None, labels: list[str]) -> None:
    marked = [
        {"box": [0.1, 0.1, 0.5, 0.5], "label": "dog", "score": 0.7, "caption": None, "source": "scenes"},
        {"box": [0.5, 0.5, 0.9, 0.9], "label": "cat", "score": None, "caption": 0, "source": "people"},
    ]
    pairs = PairBatch(np.arange(2, dtype=np.int32), ["0", "1"], [{"regions": marked}, {"regions": None}])
    found = Regions(RegionsSettings(source=source)).score(pairs)
    assert found["labels"] == [labels, None]
    assert [len(some or []) for some in found["boxes"]] == [len(labels), 0]
    if source is None:
        assert found["scores"] == [[0.7, 1.0], None]
