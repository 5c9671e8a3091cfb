"""Exported models: opened by another library they give the same vectors, or nothing is written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_encoders import SHOWN, ours, theirs

from pairwright.components.errors import MissingDependency, ModelError
from pairwright.components.models.dual_encoders.encoder import DualEncoder
from pairwright.components.models.dual_encoders.transformers_encoder import TransformersEncoder
from pairwright.components.models.interchange import openers
from pairwright.components.models.interchange.export_card import Told, export_card
from pairwright.components.models.interchange.export_model import (
    FORMS,
    SAME,
    Exported,
    Shown,
    agreement_of,
    export_model,
    refusal,
)
from pairwright.components.models.interchange.import_model import import_model
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.towers.untrained import new_dual_encoder

FITS = {
    "ours": {"onnx", "sentence-transformers"},
    "clip": {"transformers", "open_clip", "onnx", "sentence-transformers"},
    "siglip": {"transformers", "onnx", "sentence-transformers"},
}


def made(kind: str, folder: Path) -> DualEncoder:
    return ours() if kind == "ours" else theirs(kind, folder)


@pytest.mark.parametrize(("kind", "form"), [(k, f) for k, forms in FITS.items() for f in sorted(forms - {"open_clip"})])
def test_the_library_alone_gives_the_same_vectors(kind: str, form: str, tmp_path: Path) -> None:
    encoder = made(kind, tmp_path / "tower")
    found = export_model(encoder, tmp_path / "out", form, SHOWN)
    assert min(found.agreement.image.least, found.agreement.text.least) > 0.99999
    assert (found.agreement.image.n, found.agreement.text.n) == (18, 4)
    image, text = openers.OPENERS[form](str(tmp_path / "out"), list(encoder.pixels(SHOWN.pictures)), list(SHOWN.texts))
    assert np.allclose(image, encoder.encode_image(SHOWN.pictures), atol=1e-4)
    assert np.allclose(text, encoder.encode_text(SHOWN.texts), atol=1e-4)
    assert np.std(image, axis=0).min() > 1e-4  # vectors of different pictures differ


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    encoder = ours()
    for name in ("one", "two"):
        export_model(encoder, tmp_path / name, "sentence-transformers", SHOWN)
    for path in sorted((tmp_path / "one").rglob("*.safetensors")):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes(), path.name


@pytest.mark.parametrize("kind", FITS)
def test_what_does_not_fit_is_refused_with_a_form_that_does(kind: str, tmp_path: Path) -> None:
    encoder = made(kind, tmp_path / "tower")
    for form in FORMS:
        problem = refusal(encoder, form, "fp32")
        assert (problem is None) == (form in FITS[kind])
        if problem is not None:
            assert any(f"--as {other}" in problem for other in FITS[kind])
            assert "\n" not in problem
            with pytest.raises(ModelError, match="--as"):
                export_model(encoder, tmp_path / "out", form, SHOWN)
            assert not (tmp_path / "out").exists()


def test_eight_bits_are_for_graphs(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--as onnx --precision int8"):
        export_model(ours(), tmp_path / "out", "sentence-transformers", SHOWN, precision="int8")
    with pytest.raises(ModelError, match=r'no form "open-clip"; did you mean "open_clip"'):
        refusal(ours(), "open-clip", "fp32")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ours", "siglip"])
def test_int8_is_smaller_near_and_judged_on_what_did_not_calibrate(kind: str, tmp_path: Path) -> None:
    encoder = made(kind, tmp_path / "tower")
    plain = export_model(encoder, tmp_path / "plain", "onnx", SHOWN)
    small = export_model(encoder, tmp_path / "small", "onnx", SHOWN, precision="int8")
    assert small.agreement.image.n == 9
    sizes = [sum(path.stat().st_size for path in one.folder.glob("*.onnx")) for one in (small, plain)]
    assert sizes[0] < 0.95 * sizes[1]  # of towers as small as these much is no weight
    assert 0.9 < small.agreement.image.mean < plain.agreement.image.mean
    assert 0.9 < small.agreement.text.mean < plain.agreement.text.mean


class Drifting(TransformersEncoder):
    """Gives other vectors than its weights say."""

    def encode_text(self, texts: Any) -> torch.Tensor:
        found = super().encode_text(texts)
        return torch.nn.functional.normalize(found + 0.05 * found.roll(1, 1), dim=-1)


def test_other_vectors_leave_nothing_behind(tmp_path: Path) -> None:
    encoder = theirs("clip", tmp_path / "tower")
    encoder.__class__ = Drifting
    with pytest.raises(ModelError, match="other vectors"):
        export_model(encoder, tmp_path / "out", "transformers", SHOWN)
    assert [path.name for path in tmp_path.iterdir()] == ["tower"]


def test_agreement_tells_another_model_by_either_side(tmp_path: Path) -> None:
    first = ours()
    export_model(first, tmp_path / "out", "onnx", SHOWN)
    with torch.no_grad():
        first.image_projection.norm.bias[0] += 1.0
    found = agreement_of(first, tmp_path / "out", "onnx", SHOWN)
    assert found.image.least < SAME < found.text.least
    with torch.no_grad():
        first.image_projection.norm.bias[0] -= 1.0
        first.text_projection.map.weight[0] += 1.0
    found = agreement_of(first, tmp_path / "out", "onnx", SHOWN)
    assert found.text.least < SAME < found.image.least


def test_a_place_that_holds_something_and_too_few_pictures_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    with pytest.raises(ModelError, match="not empty"):
        export_model(ours(), tmp_path, "onnx", SHOWN)
    with pytest.raises(ModelError, match="--data DIR"):
        export_model(ours(), tmp_path / "out", "onnx", Shown(SHOWN.pictures[:3], SHOWN.texts))
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


@pytest.mark.slow
def test_another_interpreter_opens_it_and_is_named(tmp_path: Path) -> None:
    found = export_model(ours(), tmp_path / "out", "onnx", SHOWN, python=sys.executable)
    assert "in an environment of its own" in found.agreement.judge
    assert found.agreement.image.least > SAME
    with pytest.raises(ModelError, match="no interpreter"):
        export_model(ours(), tmp_path / "else", "onnx", SHOWN, python=str(tmp_path / "nothing"))


def test_the_openers_import_nothing_of_ours() -> None:
    code = f"import runpy, sys; runpy.run_path({openers.__file__!r}, run_name='read'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert not [name for name in done.stdout.split() if name.startswith("pairwright")]


def test_open_clip_needs_its_library_and_says_where(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(MissingDependency, match="--python PATH"):
        export_model(theirs("clip", tmp_path / "tower"), tmp_path / "out", "open_clip", SHOWN)


@pytest.mark.parametrize("hidden_act", ["gelu", "quick_gelu"])
def test_open_clips_folder_read_back_is_the_model_that_was_written(hidden_act: str, tmp_path: Path) -> None:
    """That open_clip reads it so, too, is said by test_import_model.py: the names are those that it wrote itself."""
    from pairwright.components.models.interchange.as_open_clip import write_open_clip

    encoder = theirs("clip", tmp_path / "tower", hidden_act=hidden_act)
    encoder.net.config.text_config.hidden_act = hidden_act
    for layer in encoder.net.text_model.encoder.layers:
        layer.mlp.activation_fn = encoder.net.vision_model.encoder.layers[0].mlp.activation_fn
    write_open_clip(encoder, tmp_path / "out")
    assert json.loads((tmp_path / "out/open_clip_config.json").read_text())["model_cfg"]["quick_gelu"] is (
        hidden_act == "quick_gelu"
    )
    back = import_model(tmp_path / "out", tmp_path / "back")
    assert torch.allclose(back.encode_image(SHOWN.pictures), encoder.encode_image(SHOWN.pictures), atol=1e-5)
    assert torch.allclose(back.encode_text(SHOWN.texts), encoder.encode_text(SHOWN.texts), atol=1e-5)


def test_two_activations_do_not_fit_open_clip(tmp_path: Path) -> None:
    encoder = theirs("clip", tmp_path / "tower", hidden_act="gelu")  # CLIP's text side is of quick_gelu by itself
    assert "quick_gelu" in str(refusal(encoder, "open_clip", "fp32"))


def test_the_card_holds_what_was_measured_and_told(tmp_path: Path) -> None:
    metrics = [
        {
            "split": "dev",
            "name": "retrieval.t2i_r1",
            "value": 0.25,
            "low": 0.2,
            "high": 0.3,
            "n": 196,
            "digest": "ab" * 9,
        }
    ]
    told = Told("mine, curated, seed 0", {"recipe": "mine", "code commit": "abc"}, metrics, ["data: CC0, 96 pairs"])
    encoder = ours()
    encoder.card = "# Dual encoder\n\nWhat it was."

    def card(found: Exported) -> str:
        return export_card(found, encoder, told)

    found = export_model(encoder, tmp_path / "out", "onnx", SHOWN, card=card)
    text = (found.folder / "README.md").read_text()
    for wanted in (
        "# mine, curated, seed 0, for onnx",
        "| pictures of the model's size | 18 | 1.00000 |",
        "| recipe | mine |",
        "| dev | retrieval.t2i_r1 | 196 | 0.250 [0.200, 0.300] |",
        "data: CC0, 96 pairs",
        "### Dual encoder",
        "`dev` is `abababababab`",
        found.agreement.judge,
    ):
        assert wanted in text, wanted
    again = export_model(encoder, tmp_path / "again", "onnx", SHOWN, card=card)
    assert (again.folder / "README.md").read_text() == text


@pytest.mark.slow
def test_the_default_towers_open_in_sentence_transformers_pictures_and_texts(tmp_path: Path) -> None:
    encoder = new_dual_encoder(*map(resolve_model, ("builtin:efficientnet-lite0", "builtin:minilm")), 32, seed=2)
    with torch.no_grad():
        for head in (encoder.image_projection, encoder.text_projection):
            head.norm.bias.normal_(generator=torch.Generator().manual_seed(3))
    found = export_model(encoder.eval(), tmp_path / "out", "sentence-transformers", SHOWN)
    assert min(found.agreement.image.least, found.agreement.text.least) > 0.99999
