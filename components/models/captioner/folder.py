"""Captioners on disk: config.json, model.safetensors, card.md, and their words or their language model.

A captioner with a language model keeps a copy of it in `language_model/`, as `transformers` writes it, so that the
folder is all there is to a model, but for the tower whose features it reads: that is named, with its weights' hash.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pairwright.components.errors import ModelError
from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.models.captioner.decoder import SmallDecoder
from pairwright.components.models.captioner.memory import Memory
from pairwright.components.models.captioner.neural_modules import ModuleDecoder
from pairwright.components.models.captioner.prefix import Part
from pairwright.components.models.captioner.pretrained import PretrainedDecoder, load_pretrained
from pairwright.components.models.captioner.tokens import PretrainedTokens, read_words
from pairwright.components.models.model_folder import CONFIG, FolderFormat, damage_named

FORMAT = FolderFormat("pairwright-captioner", 3, "captioner", "`captioner` trained")
SMALL = "small"  # the one kind there was in folders of formats 1 and 2, which do not say so
DECODERS: dict[str, Any] = {SMALL: SmallDecoder, "neural_modules": ModuleDecoder}
LANGUAGE_MODEL, DECODER, PREFIX = "language_model", "decoder.", "prefix."
TOWER, MEMORY = "tower", "memory"  # in config.json
GROWING = ("decoder.words.weight", "decoder.place")


@dataclass(frozen=True)
class TaughtOn:
    """The tower whose features a captioner was taught on: what a new picture has to pass before it.

    Attributes:
        reference: as the recipe named it; `weights` is the hash of what that was.
        side: of a dual encoder, "image" or "text".
        precision: what the tower ran in.
    """

    reference: str
    weights: str
    side: str = "image"
    precision: str = "float32"

    @classmethod
    def noted(cls, made_by: Mapping[str, Any]) -> TaughtOn | None:
        """From what a column's record says of how it was made; None where that names no tower."""
        if not made_by.get("tower_weights"):
            return None
        said = {"side": made_by.get("tower_side"), "precision": made_by.get("precision")}
        return cls(made_by["tower"], made_by["tower_weights"], **{name: one for name, one in said.items() if one})


def taught_on(folder: str | Path) -> TaughtOn | None:
    """The tower a captioner's folder names; None where it names none.

    Raises:
        ModelError: the folder is missing, damaged or no captioner.
    """
    root = Path(folder)
    with damage_named(root):
        config = json.loads((root / CONFIG).read_text(encoding="utf-8"))
        if config.get("format") != FORMAT.name:
            raise ModelError(f"{root} is no {FORMAT.what}; name the folder or step that {FORMAT.made}")
        return TaughtOn(**config[TOWER]) if config.get(TOWER) else None


def save_captioner(model: Captioner, folder: Path, card: str, tower: TaughtOn | None = None) -> None:
    """Write the model's folder."""
    decoder, tensors = model.decoder, model.state_dict()
    config: dict[str, Any] = {"longest": model.longest, "hidden": model.hidden, "fusion": model.fusion}
    config["parts"] = [asdict(part) for part in model.prefix.parts]
    config[TOWER] = asdict(tower) if tower else None
    if model.memory is not None:
        config[MEMORY] = {"part": model.memory.part, "phrases": model.memory.phrases, "k": model.memory.k}
    if not isinstance(decoder, PretrainedDecoder):
        kind = next(name for name, cls in DECODERS.items() if isinstance(decoder, cls))
        FORMAT.write(folder, config | {"decoder": decoder.config() | {"kind": kind}}, tensors, card)
        model.tokens.save(folder)
        return
    own = {name: value for name, value in tensors.items() if not name.startswith(DECODER)}
    FORMAT.write(folder, config | {"decoder": None}, own, card)
    decoder.model.save_pretrained(folder / LANGUAGE_MODEL)
    model.tokens.save(folder / LANGUAGE_MODEL)


def start_captioner(model: Captioner, folder: str | Path) -> None:
    """Take over a captioner's weights; of words and places the first, as many as both have.

    So a captioner may go on from one that knew fewer words and said shorter captions: what it does not know yet starts
    anew. Word number n must be the same word in both, and the decoder as wide and as deep.

    Raises:
        ModelError: the folder is no captioner, or one of another shape.
    """
    root = Path(folder)
    with damage_named(root):
        _, tensors = FORMAT.read(root)
    own = model.state_dict()
    for name, value in tensors.items():
        if name in own and (own[name].shape == value.shape or name in GROWING):
            rows = min(len(own[name]), len(value)) if value.ndim else None
            own[name][:rows] = value[:rows] if value.ndim else value
        elif name in own:
            raise ModelError(
                f"init: {name} is {tuple(value.shape)} in {folder} and {tuple(own[name].shape)} here; give both the "
                "same features, width, heads, layers and prefix"
            )


def load_captioner(folder: str | Path, device: str = "cpu") -> Captioner:
    """The model in a folder, ready to caption.

    Raises:
        ModelError: the folder is missing, damaged, of a newer release or no captioner.
    """
    root = Path(folder)
    with damage_named(root):
        config, tensors = FORMAT.read(root)
        config.pop(TOWER, None)
        sizes, parts = config.pop("decoder"), [Part(**part) for part in config.pop("parts")]
        memory = _memory(config.pop(MEMORY, None), tensors)
        if sizes is not None:
            words, cls = read_words(root), DECODERS[sizes.pop("kind", SMALL)]
            model = Captioner(parts, cls(len(words.words), **sizes), words, **config)
            model.memory = memory
            model.load_state_dict(tensors)
        else:
            decoder, tokenizer = load_pretrained(root / LANGUAGE_MODEL)
            model = Captioner(parts, decoder, PretrainedTokens(tokenizer, decoder.vocabulary), **config)
            model.memory = memory
            own = {name: value for name, value in tensors.items() if name.startswith(PREFIX)}
            model.prefix.load_state_dict({name.removeprefix(PREFIX): value for name, value in own.items()})
    return model.to(device).eval().requires_grad_(False)


def _memory(said: Mapping[str, Any] | None, tensors: Mapping[str, Tensor]) -> Memory | None:
    if said is None:
        return None
    return Memory(said["part"], said["phrases"], tensors["memory.vectors"], said["k"], tensors.get("memory.tokens"))
