"""A model's folder: config.json, model.safetensors, card.md; the same weights, the same bytes.

FORMAT = FolderFormat("pairwright-codebook", 1, "codebook", "`codebook` fitted")
FORMAT.write(folder, {"codes": 256}, model.state_dict(), card)
with damage_named(folder):
    config, tensors = FORMAT.read(folder)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pairwright.components.errors import ModelError

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "card.md"


@dataclass(frozen=True)
class FolderFormat:
    """What `config.json` says of itself, and what to call it in an error: a `what`, that `made` it."""

    name: str
    version: int
    what: str
    made: str

    def write(self, folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], card: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        said = {"format": self.name, "format_version": self.version, **config}
        (folder / CONFIG).write_text(json.dumps(said, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        save_file(whole, folder / WEIGHTS, metadata={"format": "pt"})
        (folder / CARD).write_text(card, encoding="utf-8")

    def read(self, root: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What `write` was given.

        Raises:
            ModelError: it is of another format or of a newer release. Of damage: see `damage_named`.
        """
        config: dict[str, Any] = json.loads((root / CONFIG).read_text(encoding="utf-8"))
        if config.pop("format", None) != self.name:
            raise ModelError(f"{root} is no {self.what}; name the folder or step that {self.made}")
        if config.pop("format_version") > self.version:
            raise ModelError(f"{root} was written by a newer release; upgrade pairwright")
        return config, load_file(root / WEIGHTS)


@contextmanager
def damage_named(root: Path) -> Iterator[None]:
    """Raises ModelError where what is done with a folder shows it to be missing or damaged."""
    try:
        yield
    except (AttributeError, OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[-1].strip()
        raise ModelError(f"{root} is damaged ({reason}); restore the folder or make it again") from None
