"""What a dual encoder says of the thing in each box, by words it was taught on whole pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import InvalidRecipe
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.towers.untrained import new_dual_encoder
from pairwright.components.recaption.captioners.fuse import Fuse, FuseSettings
from pairwright.components.recaption.experts.boxes import crop
from pairwright.components.recaption.experts.region_attributes import (
    RegionAttributes,
    RegionAttributesSettings,
)
from pairwright.components.training.heads import fit_heads

GROUPS = {"pattern": ["striped", "plain"], "light": ["dark", "bright"]}
LEFT, RIGHT = (0.05, 0.1, 0.45, 0.9), (0.55, 0.1, 0.95, 0.9)


def patch(pattern: str, light: str, seed: int, height: int = 128, width: int = 128) -> np.ndarray:
    """RGB (height, width, 3), striped or plain, dark or bright, of a colour of its own."""
    draw = np.random.default_rng(seed)
    base = draw.integers(20, 70, 3) if light == "dark" else draw.integers(170, 225, 3)
    picture = np.tile(base, (height, width, 1)).astype(np.float64)
    if pattern == "striped":
        period = int(draw.integers(8, 16))
        picture += 30 * np.where((np.arange(width) // (period // 2)) % 2, 1.0, -1.0)[None, :, None]
    return (picture + draw.normal(0, 2, picture.shape)).clip(0, 255).astype(np.uint8)


KINDS = [(pattern, light) for pattern in GROUPS["pattern"] for light in GROUPS["light"]]


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dual encoder that learnt the four kinds of patch, of seeds that no test draws."""
    model = new_dual_encoder(resolve_model("builtin:tiny-image"), resolve_model("builtin:tiny-text"), 32, seed=0)
    of = [(kind, seed) for seed in range(1000, 1024) for kind in KINDS]
    images = model.image_features([patch(*kind, seed) for kind, seed in of]).numpy()
    texts = model.text_features([f"a photo of a {light} {pattern} thing" for (pattern, light), _ in of]).numpy()
    groups = [KINDS.index(kind) for kind, _ in of]
    heads = fit_heads(images, texts, dim=32, steps=150, batch_size=96, lr=1e-2, groups=groups)
    model.load_state_dict(heads.state_dict(), strict=False)
    place = tmp_path_factory.mktemp("taught")
    model.eval().save(place)
    return place


def said(model: Path, picture: np.ndarray, boxes: Any, **wish: Any) -> list[list[str]]:
    columns = {"seen.boxes": [boxes], "seen.labels": [["thing"] * len(boxes or ())]}
    pairs = PairBatch(np.zeros(1, np.int32), ["0"], [{}], images=[picture], columns=columns)
    settings = {
        "boxes": "seen.boxes",
        "labels": "seen.labels",
        "model": resolve_model(str(model)),
        "groups": {"pattern": GROUPS["pattern"]},
        "template": "a photo of a bright {attribute} {label}",
        "margin": 0.0,
    }
    step = RegionAttributes(RegionAttributesSettings.parse(settings | wish, "test"))
    step.setup("cpu")
    found = step.score(pairs)
    assert [[len(one) for one in row] for row in found["names"]] == [
        [len(one) for one in row] for row in found["probabilities"]
    ]
    names: list[list[str]] = found["names"][0]
    return names


def page(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    picture = np.full((160, 320, 3), 255, np.uint8)
    picture[16:144, 16:144], picture[16:144, 176:304] = left, right
    return picture


def test_each_box_is_called_what_stands_in_it_whatever_the_order(taught: Path) -> None:
    hits = []
    for seed in range(6):
        striped, plain = (patch(one, "bright", seed) for one in GROUPS["pattern"])
        hits.append(said(taught, page(striped, plain), [LEFT, RIGHT]) == [["striped"], ["plain"]])
        hits.append(said(taught, page(plain, striped), [LEFT, RIGHT]) == [["plain"], ["striped"]])
        hits.append(said(taught, page(striped, plain), [RIGHT, LEFT]) == [["plain"], ["striped"]])
    assert np.mean(hits) >= 0.9, hits


def test_of_every_group_the_likeliest_word_is_said_and_one_that_is_not_likely_enough_is_not(taught: Path) -> None:
    picture = page(patch("striped", "dark", 3), patch("plain", "bright", 4))
    both = {"groups": GROUPS, "template": "a photo of a {attribute} {label}"}
    words = said(taught, picture, [LEFT, RIGHT], **both, min_probability=0.01)
    assert [len(one) for one in words] == [2, 2]
    assert [one[-1] for one in words] == ["dark", "bright"]
    plain, striped = patch("plain", "bright", 5).astype(float), patch("striped", "bright", 5).astype(float)
    outcomes = set()
    for share in np.linspace(0, 1, 21):  # from plain to striped: somewhere between, neither is likely
        blend = page((plain + share * (striped - plain)).astype(np.uint8), patch("plain", "bright", 4))
        ((word,), _) = said(taught, blend, [LEFT, RIGHT], min_probability=0.01)
        sure, _ = said(taught, blend, [LEFT, RIGHT], min_probability=0.95)
        assert sure in ([word], [])
        outcomes.add((word, bool(sure)))
    assert {word for word, _ in outcomes} == {"plain", "striped"}
    assert {sure for _, sure in outcomes} == {True, False}


def test_pictures_without_boxes_have_none_and_the_others_keep_their_own(taught: Path) -> None:
    picture = page(patch("striped", "bright", 3), patch("plain", "bright", 4))
    assert said(taught, picture, []) == []
    assert said(taught, picture, None) == []
    many = [LEFT] * 70 + [RIGHT]  # more than the tower sees in one go
    found = said(taught, picture, many)
    assert len(found) == 71
    assert found[:70] == [found[0]] * 70


def test_its_words_stand_at_their_own_noun_beside_the_colours() -> None:
    columns = {
        "seen.labels": [["dog", "cat"]],
        "seen.scores": [[0.9, 0.8]],
        "painted.names": [[["red"], []]],
        "like.names": [[["woollen"], ["striped"]]],
    }
    sidecar = [{"captions": [{"source": "alt", "ordinal": 0, "text": "a dog near a cat", "lang": None}]}]
    pairs = PairBatch(np.zeros(1, np.int32), ["0"], sidecar, columns=columns)
    wish = {"labels": "seen.labels", "label_scores": "seen.scores", "attributes": ["painted.names", "like.names"]}
    step = Fuse(FuseSettings.parse(wish, "test"))
    assert set(step.column_names()) == {"seen.labels", "seen.scores", "painted.names", "like.names"}
    step.setup("cpu")
    (caption,) = step.caption(pairs)
    assert caption is not None
    assert caption.text == "a red and woollen dog near a striped cat"


@pytest.mark.parametrize(
    ("wish", "line"),
    [
        ({"groups": {"state": ["open"]}}, "group state needs two different words"),
        ({"groups": {"state": ["open", "open"]}}, "group state needs two different words"),
        ({"template": "a {label}"}, "does not say {attribute}"),
        ({"template": "a {attribute} {noun}"}, "has a field that is neither"),
    ],
)
def test_what_cannot_be_asked_is_refused(taught: Path, wish: dict[str, Any], line: str) -> None:
    with pytest.raises(InvalidRecipe, match=line):
        said(taught, np.zeros((8, 8, 3), np.uint8), [], **wish)


def test_a_cut_is_in_the_picture_and_a_pixel_at_least() -> None:
    picture = np.arange(40 * 20 * 3, dtype=np.uint8).reshape(20, 40, 3)
    assert np.array_equal(crop(picture, (0.25, 0.5, 0.5, 1.0), 0.0), picture[10:20, 10:20])
    assert np.array_equal(crop(picture, (0.25, 0.5, 0.5, 1.0), 0.5), picture[5:20, 5:25])
    for box in ((0.0, 0.0, 1.0, 1.0), (1.0, 1.0, 1.0, 1.0), (0.999, 0.0, 0.9995, 0.01)):
        assert crop(picture, box, 0.1).size
