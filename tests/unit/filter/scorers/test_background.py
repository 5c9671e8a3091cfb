"""Scenes of known make: a centred object on plain ground is simpler than clutter, and the parts say why."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as npst

from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.filter.scorers.background import SIDE, Background, BackgroundSettings, scene


def on_ground(ground: int = 255, centre: tuple[int, int] = (48, 48), radius: int = 20) -> np.ndarray:
    image = np.full((SIDE, SIDE, 3), ground, np.uint8)
    cv2.circle(image, centre, radius, (200, 40, 40), -1)
    return image


def clutter(seed: int, things: int = 40) -> np.ndarray:
    random = np.random.default_rng(seed)
    image = cv2.resize(random.integers(0, 256, (6, 6, 3), dtype=np.uint8), (SIDE, SIDE))
    for _ in range(things):
        colour = tuple(int(c) for c in random.integers(0, 256, 3))
        centre = tuple(int(c) for c in random.integers(0, SIDE, 2))
        cv2.circle(image, centre, int(random.integers(3, 12)), colour, -1)
    return image


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("ground", [255, 240, 0])
def test_a_centred_object_on_plain_ground_is_simpler_than_clutter(seed: int, ground: int) -> None:
    assert scene(on_ground(ground))["simplicity"] > 2 * scene(clutter(seed))["simplicity"]


def test_the_ground_is_measured_to_a_pixel_or_so() -> None:
    found = scene(on_ground(radius=20))
    assert found["share"] == pytest.approx(1 - np.pi * 20**2 / SIDE**2, abs=0.02)
    assert (found["border_variation"], found["brightness"], found["parts"]) == (0, pytest.approx(1), 1)
    assert found["centred"] > 0.98


def test_more_things_and_a_busier_ground_are_less_simple_one_by_one() -> None:
    one = on_ground(radius=10)
    three = one.copy()
    for centre in ((16, 16), (80, 80)):
        cv2.circle(three, centre, 8, (10, 10, 200), -1)
    assert scene(three)["parts"] == 3
    assert scene(three)["simplicity"] < scene(one)["simplicity"]
    noisy = np.clip(one.astype(int) + np.random.default_rng(0).integers(-90, 1, one.shape), 0, 255).astype(np.uint8)
    assert scene(noisy)["simplicity"] < scene(one)["simplicity"]
    corner = on_ground(centre=(20, 20), radius=10)
    assert scene(corner)["centred"] < scene(one)["centred"]
    assert scene(corner)["simplicity"] < scene(one)["simplicity"]


def test_ground_that_the_object_encloses_is_not_ground() -> None:
    """A white shirt on white: what is inside the outline belongs to the object."""
    ring = np.full((SIDE, SIDE, 3), 255, np.uint8)
    cv2.circle(ring, (48, 48), 30, (0, 0, 0), 3)
    inside = np.pi * 28**2 / SIDE**2
    assert scene(ring)["share"] == pytest.approx(1 - inside - 2 * np.pi * 30 * 3 / SIDE**2, abs=0.05)


def test_a_frame_round_a_busy_picture_is_not_a_plain_ground() -> None:
    framed = clutter(1)
    framed[:3], framed[-3:], framed[:, :3], framed[:, -3:] = 0, 0, 0, 0
    assert scene(framed)["share"] < 0.3
    assert scene(framed)["simplicity"] < scene(on_ground())["simplicity"] / 3


def test_the_statistics_do_not_depend_on_mirroring_and_survive_any_picture_of_one_colour() -> None:
    image = clutter(3)
    plain, mirrored = scene(image), scene(np.ascontiguousarray(image[:, ::-1]))
    assert plain == pytest.approx(mirrored, abs=0.02)
    flat = scene(np.full((SIDE, SIDE, 3), 77, np.uint8))
    assert (flat["share"], flat["parts"], flat["edges"], flat["centred"]) == (1, 0, 0, 1)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(npst.arrays(np.uint8, (SIDE, SIDE, 3)))
def test_any_picture_has_shares_between_0_and_1(image: np.ndarray) -> None:
    found = scene(image)
    assert all(0 <= found[name] <= 1 for name in found if name != "parts")
    assert found["parts"] >= 0


def test_the_columns_follow_the_batch() -> None:
    images = [on_ground(), cv2.resize(clutter(0), (200, 150))]
    batch = PairBatch(np.arange(2, dtype=np.int32), ["a", "b"], [{}, {}], images=images)
    found = Background(BackgroundSettings()).score(batch)
    assert found.keys() == Background.columns.keys()
    assert found["simplicity"][0] > found["simplicity"][1]
