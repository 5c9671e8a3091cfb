"""A model's folder says what it can be asked; what it cannot is refused in one line before it is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from learning import tiny_settings

from pairwright.components.errors import ModelError
from pairwright.components.models import formats
from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder
from pairwright.components.models.formats import format_of, load_model, model_format, protocols_of
from pairwright.components.models.protocols import PROTOCOLS, Captioner
from pairwright.components.models.resolve import ENCODER_FAMILIES, ENCODER_FORMAT, hash_folder
from pairwright.components.models.towers.untrained import new_dual_encoder


class Parrot:
    """A captioner that is told what to say."""

    def __init__(self, words: str) -> None:
        self.words = words

    def caption(self, images, texts=None):
        return [text or self.words for text in texts or [""] * len(images)]


@pytest.fixture(autouse=True)
def parrots(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The format `parrot`, as a plug-in's module would register it; the folders that were loaded."""
    loaded: list[Path] = []
    monkeypatch.setattr(formats, "_registered", dict(formats._registered))

    @model_format("parrot", speaks=("captioner",))
    def load(folder, device):
        loaded.append(Path(folder))
        return Parrot((Path(folder) / "words.txt").read_text())

    return loaded


def parrot(folder: Path, **config: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"format": "parrot"} | config))
    (folder / "words.txt").write_text("hello")
    return folder


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    new_dual_encoder(tiny_settings().image_tower, tiny_settings().text_tower, 16).save(tmp_path / "encoder")
    return tmp_path / "encoder"


def test_a_folder_is_loaded_by_its_format_whoever_brought_it(tmp_path: Path, encoder: Path):
    bird = load_model(parrot(tmp_path / "bird"), "captioner")
    assert isinstance(bird, Captioner)
    assert bird.caption([np.zeros((2, 2, 3), np.uint8)] * 2) == ["hello", "hello"]
    model = load_model(encoder, ["dual_encoder"])
    assert isinstance(model, PROTOCOLS["dual_encoder"])
    assert not isinstance(model, Captioner)
    assert model.folder_digest == hash_folder(encoder)
    assert format_of(encoder).module == load_dual_encoder.__module__


def test_a_model_that_does_not_speak_is_refused_before_it_is_loaded(tmp_path: Path, encoder: Path, parrots: list[Path]):
    with pytest.raises(ModelError, match=r"bird is no dual_encoder but a captioner; name a model that is one"):
        load_model(parrot(tmp_path / "bird"), ["captioner", "dual_encoder"])
    assert parrots == []
    with pytest.raises(ModelError, match=r"encoder is no captioner but a dual_encoder"):
        load_model(encoder, "captioner")
    with pytest.raises(ModelError, match=r'names the protocol "captoner"; did you mean "captioner"'):
        load_model(tmp_path / "bird", "captoner")


def test_a_folder_may_say_itself_what_it_speaks(tmp_path: Path, parrots: list[Path]):
    both = parrot(tmp_path / "both", protocols=["captioner", "tagger"])
    assert protocols_of(both) == ("captioner", "tagger")
    load_model(both, protocols_of(both))
    assert parrots == [both], "one model for every protocol it speaks"


def test_a_format_that_nothing_loads_names_the_nearest(tmp_path: Path):
    with pytest.raises(ModelError, match=r'the format "parot", which nothing here loads; did you mean "parrot"'):
        format_of(parrot(tmp_path / "bird", format="parot"))
    with pytest.raises(ModelError, match="no model folder"):
        format_of(tmp_path / "nothing")
    (tmp_path / "bird" / "config.json").write_text("[]")
    with pytest.raises(ModelError, match="holds no mapping"):
        format_of(tmp_path / "bird")


def test_two_loaders_of_one_format_and_an_unknown_protocol_are_refused():
    with pytest.raises(ModelError, match="rename one"):

        @model_format("parrot", speaks=("captioner",))
        def other(folder, device): ...

    with pytest.raises(ModelError, match="names the protocol"):
        model_format("mine", speaks=("painter",))


def test_formats_of_ours_are_found_without_importing_what_loads_them():
    assert {ENCODER_FORMAT, *ENCODER_FAMILIES} <= formats._ours().keys()
    asked = (
        "import sys; from pairwright.components.models import formats; formats._ours(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
