"""Captioners on disk: config.json, model.safetensors, card.md, and their words or their language model.

A captioner with a language model keeps a copy of it in `language_model/`, as `transformers` writes it, so that the
folder is all there is to a model.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.models.captioner.decoder import SmallDecoder
from pairwright.components.models.captioner.prefix import Part
from pairwright.components.models.captioner.pretrained import PretrainedDecoder, load_pretrained
from pairwright.components.models.captioner.tokens import PretrainedTokens, read_words
from pairwright.components.models.model_folder import FolderFormat, damage_named

FORMAT = FolderFormat("pairwright-captioner", 1, "captioner", "`captioner` trained")
LANGUAGE_MODEL, DECODER = "language_model", "decoder."


def save_captioner(model: Captioner, folder: Path, card: str) -> None:
    """Write the model's folder."""
    decoder, tensors = model.decoder, model.state_dict()
    config = {"longest": model.longest, "hidden": model.hidden, "parts": [asdict(part) for part in model.prefix.parts]}
    if isinstance(decoder, SmallDecoder):
        sizes = {"width": decoder.width, "layers": len(decoder.layers), "heads": decoder.heads}
        FORMAT.write(folder, config | {"decoder": sizes | {"longest": decoder.longest}}, tensors, card)
        model.tokens.save(folder)
        return
    assert isinstance(decoder, PretrainedDecoder)
    own = {name: value for name, value in tensors.items() if not name.startswith(DECODER)}
    FORMAT.write(folder, config | {"decoder": None}, own, card)
    decoder.model.save_pretrained(folder / LANGUAGE_MODEL)
    model.tokens.save(folder / LANGUAGE_MODEL)


def load_captioner(folder: str | Path, device: str = "cpu") -> Captioner:
    """The model in a folder, ready to caption.

    Raises:
        ModelError: the folder is missing, damaged, of a newer release or no captioner.
    """
    root = Path(folder)
    with damage_named(root):
        config, tensors = FORMAT.read(root)
        sizes, parts = config.pop("decoder"), [Part(**part) for part in config.pop("parts")]
        if sizes is not None:
            words = read_words(root)
            model = Captioner(parts, SmallDecoder(len(words.words), **sizes), words, **config)
            model.load_state_dict(tensors)
        else:
            decoder, tokenizer = load_pretrained(root / LANGUAGE_MODEL)
            model = Captioner(parts, decoder, PretrainedTokens(tokenizer, decoder.vocabulary), **config)
            model.prefix.load_state_dict({name.removeprefix("prefix."): value for name, value in tensors.items()})
    return model.to(device).eval().requires_grad_(False)
