"""A dual encoder written in another library's form, opened there and held against the original before it is let go.

    made = export_model(load_dual_encoder(folder), "./out", "sentence-transformers", Shown(pictures, captions))
    made.agreement.image.least          # the smallest cosine of a picture's two vectors

What is held against each other are unit vectors of the same pictures and captions: the original's, and those that the
form's own library gives from the folder alone (openers.py), in this process or in an environment of its own. Pictures
are first brought to the model's size by us, so that the model is what is judged; how far the library's own way of
resizing them moves a vector is measured beside it. In float32 every cosine has to be above SAME, or nothing is written.
In 8 bits what it costs is recorded.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pairwright.components.errors import MissingDependency, ModelError, nearest
from pairwright.components.models.dual_encoders.encoder import DualEncoder
from pairwright.components.models.interchange import as_open_clip, as_transformers, openers
from pairwright.components.models.interchange.as_onnx import write_onnx
from pairwright.components.models.interchange.as_sentence_transformers import write_sentence_transformers

SAME = 0.9999
LEAST_SHOWN = 16
Precision = Literal["fp32", "int8"]
PACKAGES = {
    "transformers": "transformers",
    "open_clip": "open_clip",
    "onnx": "onnxruntime",
    "sentence-transformers": "sentence_transformers",
}
FORMS = tuple(PACKAGES)
INSTALLED_AS = {"open_clip": "open_clip_torch", "onnx": "onnxruntime"}


@dataclass(frozen=True)
class Shown:
    """What both are asked: RGB uint8 pictures of any size and captions that are not empty; they need not be pairs."""

    pictures: Sequence[np.ndarray]
    texts: Sequence[str]


@dataclass(frozen=True)
class Cosines:
    """Of n inputs, each by the original and by the export."""

    least: float
    mean: float
    n: int


@dataclass(frozen=True)
class Agreement:
    """How alike the two are.

    Attributes:
        image, text: on pictures of the model's size, and on captions.
        resized: on whole pictures, which each of them resizes in its own way.
        judge: which library gave the export's vectors, with its version.
    """

    image: Cosines
    text: Cosines
    resized: Cosines
    judge: str


@dataclass(frozen=True)
class Exported:
    folder: Path
    form: str
    precision: Precision
    agreement: Agreement


def refusal(encoder: DualEncoder, form: str, precision: str) -> str | None:
    """Why a model cannot be had in a form, and in which it can; None if it can.

    Raises:
        ModelError: there is no such form.
    """
    if form not in FORMS:
        raise ModelError(f'there is no form "{form}"{nearest(form, FORMS)}')
    if precision == "int8" and form != "onnx":
        return f"{form} keeps float32 weights; 8 bits are a matter of ONNX graphs: --as onnx --precision int8"
    if form == "transformers":
        return as_transformers.refusal(encoder)
    if form == "open_clip":
        return as_open_clip.refusal(encoder)
    return None


def export_model(
    encoder: DualEncoder,
    dest: str | Path,
    form: str,
    shown: Shown,
    *,
    precision: Precision = "fp32",
    python: str | None = None,
    card: Callable[[Exported], str] | None = None,
) -> Exported:
    """Write the model to `dest`, which is whole and checked or not there.

    Args:
        python: interpreter of an environment that has the form's library; this process's own if None.
        card: from what was made to the text of its card, README.md.

    Raises:
        ModelError: the form does not fit, its vectors are others, or `dest` holds something.
        MissingDependency: the form's library is neither here nor in that environment.
    """
    place = Path(dest)
    _check(encoder, place, form, shown, precision, python)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=place.parent) as scratch:
        folder = Path(scratch) / "model"
        calibrating, judging = _halves(shown) if precision == "int8" else (None, shown)
        _write(encoder, folder, form, calibrating)
        agreement = agreement_of(encoder, folder, form, judging, python)
        least = min(agreement.image.least, agreement.text.least)
        if precision == "fp32" and not least > SAME:
            raise ModelError(
                f"opened by {agreement.judge} the export gives other vectors (cosine {least:.5f}), so nothing was "
                "written; please report this with the model's config.json"
            )
        made = Exported(place, form, precision, agreement)
        (folder / "README.md").write_text(card(made) if card else "", encoding="utf-8")
        if place.exists():
            place.rmdir()
        os.replace(folder, place)
    return made


def _check(encoder: DualEncoder, place: Path, form: str, shown: Shown, precision: str, python: str | None) -> None:
    """Raises what `export_model` raises before anything is written."""
    problem = refusal(encoder, form, precision)
    if problem is not None:
        raise ModelError(problem)
    if not at_hand(form, python):
        name = INSTALLED_AS.get(form, form)
        raise MissingDependency(
            f"what is exported is opened by {name}, which is not installed here; name the interpreter of an "
            f"environment that has it: --python PATH (`python -m venv there && there/bin/pip install {name}`)"
        )
    if len(shown.pictures) < LEAST_SHOWN or not shown.texts:
        raise ModelError(
            f"an export is checked on {LEAST_SHOWN} pictures with captions at least, not on {len(shown.pictures)} "
            f"and {len(shown.texts)}; name a dataset that has them: --data DIR"
        )
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise ModelError(f"{place} is not empty; name a folder that does not exist yet")


def at_hand(form: str, python: str | None = None) -> bool:
    """Whether the form's library can be asked: here, or in the environment that was named."""
    return python is not None or find_spec(PACKAGES[form]) is not None


def _write(encoder: Any, folder: Path, form: str, calibrating: Shown | None) -> None:
    if form == "transformers":
        as_transformers.write_transformers(encoder, folder)
    elif form == "open_clip":
        as_open_clip.write_open_clip(encoder, folder)
    elif form == "onnx":
        write_onnx(encoder, folder, None if calibrating is None else calibrating.pictures)
    else:
        write_sentence_transformers(encoder, folder)


def _halves(shown: Shown) -> tuple[Shown, Shown]:
    """Every other picture calibrates, the others judge."""
    return Shown(shown.pictures[::2], shown.texts), Shown(shown.pictures[1::2], shown.texts)


def agreement_of(
    encoder: DualEncoder, folder: str | Path, form: str, shown: Shown, python: str | None = None
) -> Agreement:
    """How alike the original and what the form's library opens are.

    Raises:
        ModelError: the library does not open the folder.
    """
    if form == "open_clip":
        shown = Shown(shown.pictures, [text for text in shown.texts if _left_alone(text)])
        if not shown.texts:
            raise ModelError("open_clip mends every one of these captions; name plain ones to check on: --data DIR")
    squares = list(encoder.pixels(shown.pictures))
    image, text = (
        found.float().cpu().numpy() for found in (encoder.encode_image(squares), encoder.encode_text(shown.texts))
    )
    theirs, judge = opened(folder, form, Shown([*squares, *shown.pictures], shown.texts), python)
    whole = encoder.encode_image(shown.pictures).float().cpu().numpy()
    n = len(squares)
    return Agreement(_cosines(image, theirs[0][:n]), _cosines(text, theirs[1]), _cosines(whole, theirs[0][n:]), judge)


def _left_alone(text: str) -> bool:
    """Whether open_clip's tokenizers read a text as it is: they undo curly quotes, wrong encodings and HTML first."""
    return text.isascii() and "&" not in text


def opened(folder: str | Path, form: str, shown: Shown, python: str | None) -> tuple[openers.Vectors, str]:
    """Vectors of pictures and texts by the form's library alone, and that library's name and version.

    Raises:
        ModelError: it does not open the folder.
    """
    package = INSTALLED_AS.get(form, form)
    if python is None:
        from importlib.metadata import version

        try:
            vectors = openers.OPENERS[form](str(folder), list(shown.pictures), list(shown.texts))
        except Exception as error:  # whatever the library raises of a folder that is none of its
            raise ModelError(
                f"{package} does not open {folder}: {(str(error) or type(error).__name__).splitlines()[0]}"
            ) from None
        return vectors, f"{package} {version(package)}"
    with tempfile.TemporaryDirectory(prefix="pairwright-opened-") as scratch:
        given, wanted = Path(scratch) / "inputs.npz", Path(scratch) / "vectors.npz"
        named: Any = {f"picture_{number}": picture for number, picture in enumerate(shown.pictures)}
        np.savez(given, texts=np.array(shown.texts), **named)
        _asked(python, [openers.__file__, form, str(Path(folder).resolve()), str(given), str(wanted)], package)
        asks = f"import importlib.metadata as m; print(m.version({package!r}))"
        version_there = _asked(python, ["-c", asks], package).strip()
        with np.load(wanted) as found:
            return (found["image"], found["text"]), f"{package} {version_there} in an environment of its own"


def _asked(python: str, arguments: list[str], package: str) -> str:
    interpreter = shutil.which(python)
    if interpreter is None:
        raise ModelError(f"{python} is no interpreter; name one of an environment that has {package}")
    # Isolated: neither this folder nor what the user's environment names is where it looks for packages.
    done = subprocess.run([interpreter, "-I", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}"
        raise ModelError(f"{package} of {python} does not open it: {last}")
    return done.stdout


def _cosines(ours: np.ndarray, theirs: np.ndarray) -> Cosines:
    """Of rows.

    Raises:
        ModelError: another number of vectors, or another width.
    """
    if ours.shape != theirs.shape:
        raise ModelError(f"the export gives vectors {theirs.shape}, the original {ours.shape}; please report this")
    rows = (ours * theirs).sum(1) / (np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1))
    least = float(rows.min()) if np.isfinite(rows).all() else float("nan")
    return Cosines(least, float(rows.mean()), len(rows))
