"""Covering text: what is filled and with what, and that all else stays as it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.models.text_in_pictures.text_mask import cover
from pairwright.components.models.text_in_pictures.text_reader import absolute, covered_share, relative

SIDE = 64


def box(left: int, top: int, right: int, bottom: int) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


BOXES = st.lists(
    st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(3, 20)] * 2).map(
        lambda t: box(t[0], t[1], t[0] + t[2], t[1] + t[3])
    ),
    max_size=4,
)


@given(BOXES, st.sampled_from(["surroundings", "inpaint"]), st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_only_the_boxes_change_and_a_picture_without_text_is_the_same_array(
    boxes: list[list[list[float]]], fill: str, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    before = image.copy()
    covered = cover(image, boxes, margin=0.0, fill=fill)
    assert np.array_equal(image, before)
    if not boxes:
        assert covered is image
    far = np.ones((SIDE, SIDE), bool)
    for (left, top), _, (right, bottom), _ in boxes:
        far[max(int(top) - 2, 0) : int(bottom) + 3, max(int(left) - 2, 0) : int(right) + 3] = False
    assert np.array_equal(covered[far], image[far])
    for (left, top), _, (right, bottom), _ in boxes:
        inside = (slice(int(top), int(bottom)), slice(int(left), int(right)))
        assert not np.array_equal(covered[inside], image[inside])


@pytest.mark.parametrize("fill", ["surroundings", "inpaint"])
def test_text_takes_the_colour_around_it_not_the_pictures_mean(fill: str) -> None:
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[:, :32], image[:, 32:] = (200, 40, 40), (10, 10, 250)
    image[20:30, 6:22] = 255
    image[22:28, 8:20:2] = 0  # white card, black strokes
    covered = cover(image, [box(6, 20, 21, 29)], fill=fill)
    assert np.abs(covered[20:30, 6:22].astype(int) - (200, 40, 40)).max() <= 5


def test_a_picture_that_is_all_text_becomes_flat() -> None:
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    covered = cover(image, [box(0, 0, SIDE - 1, SIDE - 1)])
    assert len(np.unique(covered.reshape(-1, 3), axis=0)) == 1


def test_neighbouring_lines_do_not_colour_each_other() -> None:
    image = np.full((SIDE, SIDE, 3), 120, np.uint8)
    image[10:20, 10:50] = 0
    image[22:32, 10:50] = 255
    covered = cover(image, [box(10, 10, 49, 19), box(10, 22, 49, 31)], margin=0.1)
    assert np.array_equal(covered, np.full_like(image, 120))


@given(BOXES, st.integers(8, 300), st.integers(8, 300))
def test_boxes_keep_their_place_at_any_size(boxes: list[list[list[float]]], height: int, width: int) -> None:
    there = absolute(relative(boxes, (SIDE, SIDE)), (height, width))
    back = absolute(relative(there, (height, width)), (SIDE, SIDE))
    assert np.allclose(np.asarray(back), np.asarray(boxes), atol=1e-6)
    assert covered_share(boxes, (SIDE, SIDE)) <= 1.0
