"""A captioner with its tower: pictures in, captions out, and the same as from the tower's vectors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from learning import TINY_IMAGE, features_view
from shapes import COLOURS, picture, shapes_dataset

from pairwright.components.component import FitInputs
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.errors import ModelError
from pairwright.components.models.captioner.folder import load_captioner
from pairwright.components.models.captioner.pictures import TUNED_ON, PictureCaptioner, note_tuned_on
from pairwright.components.models.decoding.settings import Decoding
from pairwright.components.models.formats import load_model, protocols_of
from pairwright.components.models.protocols import Captioner
from pairwright.components.models.towers.towers import load_image_tower
from pairwright.components.pretrain.captioners.captioner import CaptionerSettings, CaptionerTask

SMALL = {"width": 32, "heads": 2, "layers": 1, "prefix": 2, "least": 1, "steps": 60, "batch_size": 48, "lr": 5e-3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A captioner of shapes on the tiny tower's vectors."""
    root = tmp_path_factory.mktemp("captioner")
    shapes: Dataset = shapes_dataset(root, 96, 1)
    wish = CaptionerSettings.parse(SMALL | {"source": "keywords"}, "test")
    task = CaptionerTask(wish)
    task.fit(FitInputs(features_view(shapes, root)), root / "model")
    return root / "model"


def pictures(count: int = 12) -> list[np.ndarray]:
    return [np.asarray(picture(number)) for number in range(count)]


def test_it_speaks_captioner_and_says_what_its_vectors_say(folder: Path) -> None:
    assert protocols_of(folder) == ("captioner",)
    model = load_model(folder, "captioner")
    assert isinstance(model, Captioner)
    assert isinstance(model, PictureCaptioner)
    told = {"image": load_image_tower(TINY_IMAGE).features(pictures()).float()}
    alone = load_captioner(folder).generate(told, Decoding(least=1))
    said = model.caption(pictures())
    assert said == [captions[0] for captions in alone]
    assert len(set(said)) > 1
    assert model.caption([]) == []
    assert "squashed to" in model.resize
    assert model.folder_digest


def test_nats_are_of_each_picture_with_its_text_however_often_it_is_asked(folder: Path) -> None:
    model = load_model(folder, "captioner")
    shown, texts = pictures(4), [f"{colour}, square" for colour in COLOURS]
    grid = model.nats([one for one in shown for _ in texts], texts * 4).reshape(4, 4)
    assert np.isfinite(grid).all()
    assert (grid > 0).all()
    each = [[model.nats([one.copy()], [text])[0] for text in texts] for one in shown]
    assert grid == pytest.approx(np.array(each), abs=1e-4)
    assert np.ptp(grid, axis=0).max() > 1e-3, "another picture is another cost"


def test_texts_lead_only_who_learnt_to_be_led(folder: Path) -> None:
    with pytest.raises(ModelError, match="trained without a prompt"):
        load_model(folder, "captioner").caption(pictures(2), ["a", "b"])


def test_a_folder_that_names_no_tower_or_another_one_is_refused(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    for tower, said in (
        (None, "names no tower of pictures"),
        (config["tower"] | {"side": "text"}, "names no tower of pictures"),
        (config["tower"] | {"weights": "0" * 64}, "taught on 000000000000; restore it"),
    ):
        other = tmp_path / "other"
        shutil.copytree(folder, other, dirs_exist_ok=True)
        (other / "config.json").write_text(json.dumps(config | {"tower": tower}))
        with pytest.raises(ModelError, match=said):
            load_model(other, "captioner")
    load_captioner(tmp_path / "other")  # by its vectors it captions all the same


def test_who_tuned_it_is_noted(folder: Path, tmp_path: Path) -> None:
    assert load_model(folder, "captioner").tuned_on == ()
    shutil.copytree(folder, tmp_path / "tuned")
    note_tuned_on(tmp_path / "tuned", ["b", "a"])
    assert load_model(tmp_path / "tuned", "captioner").tuned_on == ("a", "b")
    (tmp_path / "tuned" / TUNED_ON).write_text("[")
    with pytest.raises(ModelError, match="damaged"):
        load_model(tmp_path / "tuned", "captioner")
