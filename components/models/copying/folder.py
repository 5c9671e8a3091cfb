"""Copying models on disk: config.json, model.safetensors, card.md and their words."""

from __future__ import annotations

import json
from pathlib import Path

from pairwright.components.models.copying.model import Copying
from pairwright.components.models.copying.source import Vocabulary
from pairwright.components.models.model_folder import FolderFormat, damage_named

FORMAT = FolderFormat("pairwright-copying", 1, "copying model", "`fusion_student` trained")
WORDS = "vocabulary.json"


def save_copying(model: Copying, folder: Path, card: str) -> None:
    """Write the model's folder."""
    known = model.vocabulary
    sizes = {"longest": model.longest, "width": model.width, "heads": model.heads, "layers": model.depth}
    FORMAT.write(folder, {"given": known.given, "read": known.longest, "sizes": sizes}, model.state_dict(), card)
    (folder / WORDS).write_text(json.dumps(known.words, ensure_ascii=False, indent=0), encoding="utf-8")


def load_copying(folder: str | Path, device: str = "cpu") -> Copying:
    """The model in a folder, ready to write.

    Raises:
        ModelError: the folder is missing, damaged, of a newer release or no copying model.
    """
    root = Path(folder)
    with damage_named(root):
        config, tensors = FORMAT.read(root)
        words = json.loads((root / WORDS).read_text(encoding="utf-8"))
        model = Copying(Vocabulary(words, config["given"], config["read"]), **config["sizes"])
        model.load_state_dict(tensors)
    return model.to(device).eval().requires_grad_(False)
