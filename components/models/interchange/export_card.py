"""The card of an exported model, README.md: what it is, how it is opened, what made it, how good it is, whose it is.

Everything in it was measured or recorded: the agreement by the export itself, pedigree and figures by the run, licences
by the datasets and the packages that hold the towers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

from pairwright.components.errors import PairwrightError
from pairwright.components.models.dual_encoders.dual_encoder import TwoTower
from pairwright.components.models.dual_encoders.encoder import DualEncoder
from pairwright.components.models.interchange.export_model import Exported
from pairwright.components.models.resolve import PACKAGED, resolve_model

OPENED = {
    "transformers": """from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

model = AutoModel.from_pretrained("this/folder").eval()
pixels = AutoImageProcessor.from_pretrained("this/folder")(images=[picture], return_tensors="pt")
ids = AutoTokenizer.from_pretrained("this/folder")(["a red square"], {padding}, truncation=True, return_tensors="pt")
model.get_text_features(**ids), model.get_image_features(**pixels)""",
    "open_clip": """import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:this/folder")
model.eval()
tokens = open_clip.get_tokenizer("local-dir:this/folder")(["a red square"])
model.encode_text(tokens, normalize=True), model.encode_image(preprocess(picture)[None], normalize=True)""",
    "sentence-transformers": """from sentence_transformers import SentenceTransformer

model = SentenceTransformer("this/folder")
model.similarity(model.encode(["a red square"]), model.encode([picture]))  # picture: a PIL image""",
    "onnx": """import numpy, onnxruntime, tokenizers

coded = tokenizers.Tokenizer.from_file("tokenizer.json").encode_batch(["a red square"])
given = {{"ids": numpy.array([c.ids for c in coded]), "mask": numpy.array([c.attention_mask for c in coded], bool)}}
session = onnxruntime.InferenceSession("text.onnx")
session.run(None, {{one.name: given[one.name] for one in session.get_inputs()}})
squares = numpy.asarray(picture.resize(({side}, {side}), 4), numpy.uint8)[None]  # {crops}
onnxruntime.InferenceSession("image.onnx").run(None, {{"images": squares}})""",
}
CAVEATS = {
    "open_clip": "Its tokenizer undoes curly quotes, wrong encodings, HTML and double spaces first; the original does "
    "not, and the captions below have none of them.",
    "onnx": "Outputs are unit vectors; scale and bias of the logit are in config.json.",
}


@dataclass(frozen=True)
class Told:
    """What a run knows of the model.

    Attributes:
        reference: how it was named, without a path.
        pedigree: what made it, by name.
        metrics: `split`, `name`, `value`, and `low`, `high`, `n`, `digest` where they are known.
        licences: of the data, a line each.
    """

    reference: str
    pedigree: Mapping[str, Any] = field(default_factory=dict)
    metrics: Sequence[Mapping[str, Any]] = ()
    licences: Sequence[str] = ()


def export_card(made: Exported, encoder: DualEncoder, told: Told) -> str:
    """Markdown; the same export gives the same text."""
    return (
        "\n\n".join(
            part
            for part in (
                f"# {told.reference}, for {made.form}",
                "Pictures and texts into one space of unit vectors; their cosine says how well they fit.",
                _opening(made, encoder),
                "## The same vectors\n\n" + _agreement(made),
                "## What made it\n\n" + _pedigree(told),
                "## How good it is\n\n" + _metrics(told),
                "## Licences\n\n" + "\n".join(f"- {line}" for line in [*told.licences, *_weights(encoder)]),
                "## The original's card\n\n" + _lowered(encoder.card) if encoder.card.strip() else "",
            )
            if part
        )
        + "\n"
    )


def _opening(made: Exported, encoder: DualEncoder) -> str:
    family = getattr(encoder, "family", "clip")
    code = OPENED[made.form].format(
        side=encoder.image_size,
        crops="of its central square" if encoder.crops else "squashed, not cropped",
        padding="padding=True" if family == "clip" else 'padding="max_length"',
    )
    caveat = CAVEATS.get(made.form)
    return f"```python\n{code}\n```" + (f"\n\n{caveat}" if caveat else "")


def _agreement(made: Exported) -> str:
    found = made.agreement
    rows = [
        ("pictures of the model's size", found.image),
        ("captions", found.text),
        ("whole pictures, resized by each in its own way", found.resized),
    ]
    asked = "asserted above 0.9999 in the first two lines" if made.precision == "fp32" else "recorded, not asserted"
    return (
        f"Opened by {found.judge} and held against the original in float32; {asked}.\n\n"
        f"| {made.precision} | n | least cosine | mean cosine |\n|---|---:|---:|---:|\n"
        + "\n".join(f"| {name} | {one.n} | {_five(one.least)} | {_five(one.mean)} |" for name, one in rows)
        + "\n\nThe original resizes by area: pictures that were brought to the model's size by "
        "`cv2.resize(..., interpolation=cv2.INTER_AREA)` are those of the first line."
    )


def _five(value: float) -> str:
    return f"{min(value, 1.0):.5f}"


def _pedigree(told: Told) -> str:
    if not told.pedigree:
        return "No run of the workspace it was exported from made it."
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in told.pedigree.items())


def _metrics(told: Told) -> str:
    if not told.metrics:
        return "It was measured by no run of the workspace it was exported from."
    rows = [
        f"| {one['split']} | {one['name']} | {one.get('n') or ''} | {one['value']:.3f}{_interval(one)} |"
        for one in told.metrics
    ]
    digests = {one["split"]: one["digest"][:12] for one in told.metrics if one.get("digest")}
    named = "; ".join(f"`{split}` is `{digest}`" for split, digest in digests.items())
    said = "With 95% intervals over groups of items. `dev` tuned and promoted, `test` was only read."
    return "| split | metric | n | value |\n|---|---|---:|---|\n" + "\n".join(rows) + f"\n\n{said} {named}".rstrip()


def _interval(one: Mapping[str, Any]) -> str:
    return f" [{one['low']:.3f}, {one['high']:.3f}]" if one.get("low") is not None else ""


def _weights(encoder: DualEncoder) -> list[str]:
    """A line of each tower whose weights a package holds, and of what is not known."""
    if not isinstance(encoder, TwoTower):
        return ["of the weights it was trained from: see where they were published"]
    lines = []
    for side, tower in (("image", encoder.image_tower), ("text", encoder.text_tower)):
        package = next((name for name in PACKAGED if tower.weights and _of_package(name) == tower.weights), None)
        if package is not None:
            lines.append(f"{side} tower {package}: {_licence_of(PACKAGED[package][0])}")
        elif not tower.kind.startswith("tiny"):
            lines.append(f"{side} tower {tower.kind}: not recorded; see where it was published")
    return [*lines, "projections and code: Apache-2.0"]


def _of_package(name: str) -> str | None:
    try:
        return resolve_model(f"builtin:{name}").weights
    except PairwrightError:
        return None


def _licence_of(package: str) -> str:
    name = package.replace("_", "-")
    try:
        said: Any = metadata(name)
    except PackageNotFoundError:
        return f"see the package {name}"
    found = said["License-Expression"] or said["License"]
    return f"{found}, says its package {name}" if found and found != "UNKNOWN" else f"its package {name} names none"


def _lowered(card: str) -> str:
    """Its headings two levels down, so that they stand below ours."""
    return "\n".join(f"##{line}" if line.startswith("#") else line for line in card.strip().splitlines())
