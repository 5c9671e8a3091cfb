import numpy as np
import pytest

from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.recaption.experts.colours import Colours, ColoursSettings

RED, BLUE, WHITE, BLACK = (210, 25, 30), (30, 70, 200), (255, 255, 255), (0, 0, 0)


def describe(*pictures: np.ndarray) -> dict:
    component = Colours(ColoursSettings())
    component.setup("cpu")
    n = len(pictures)
    pairs = PairBatch(np.arange(n, dtype=np.int32), [str(i) for i in range(n)], [{}] * n, images=list(pictures))
    return dict(component.score(pairs))


def canvas(colour: tuple[int, int, int], side: int = 96) -> np.ndarray:
    return np.full((side, side, 3), colour, dtype=np.uint8)


def test_a_white_page_is_background_and_not_a_colour() -> None:
    picture = canvas(WHITE)
    picture[30:60, 20:70] = RED
    found = describe(picture)
    assert found["names"] == [["red"]]
    assert found["background"] == ["white"]
    assert found["shares"][0][0] == pytest.approx(1, abs=0.05)


def test_shares_are_of_the_foreground_and_fall() -> None:
    picture = canvas(WHITE)
    picture[16:80, 16:64] = RED
    picture[16:80, 64:80] = BLUE
    found = describe(picture)
    assert found["names"] == [["red", "blue"]]
    assert found["shares"][0] == pytest.approx([0.75, 0.25], abs=0.05)


def test_a_picture_of_one_colour_is_that_colour() -> None:
    found = describe(canvas(BLACK), canvas(WHITE))
    assert found["names"] == [["black"], ["white"]]


def test_a_photograph_without_a_plain_border_has_no_background() -> None:
    picture = canvas(RED)
    picture[:, 48:] = BLUE
    found = describe(picture)
    assert found["background"] == [""]
    assert set(found["names"][0]) == {"red", "blue"}


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((250, 220, 40), "yellow"),
        ((20, 130, 50), "green"),
        ((128, 128, 128), "grey"),
        ((240, 130, 20), "orange"),
        ((255, 150, 190), "pink"),
        ((110, 60, 25), "brown"),
        ((130, 40, 160), "purple"),
        ((135, 195, 240), "blue"),
    ],
)
def test_basic_terms_name_what_people_call_by_them(rgb: tuple[int, int, int], name: str) -> None:
    assert describe(canvas(rgb))["names"] == [[name]]


def test_an_empty_batch_has_empty_columns() -> None:
    assert describe() == {"names": [], "shares": [], "background": []}
