"""A captioner with the tower it was taught on: pictures in, captions out; speaks `captioner`.

    model = load_model(folder, "captioner")
    model.caption([picture])                                 # ["a red boat"]
    model.nats([picture, picture], ["a boat", "a cat"])      # which of them it finds likelier

`tuned_on.json` of its folder says which models rewarded it (weights' hashes), so that none of them judges it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pairwright.components.component import batches
from pairwright.components.errors import ModelError
from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.models.captioner.folder import load_captioner, taught_on
from pairwright.components.models.captioner.tokens import prompts_of
from pairwright.components.models.decoding.settings import Decoding
from pairwright.components.models.formats import model_format
from pairwright.components.models.model_folder import damage_named
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.towers.pixels import RESIZE
from pairwright.components.models.towers.tower import ImageTower
from pairwright.components.models.towers.towers import load_image_tower

TUNED_ON = "tuned_on.json"
AT_ONCE = 128  # pictures through the tower, and texts through the decoder


class PictureCaptioner:
    """Asks for captions as those of the best aligned pairs, where it learnt of alignment.

    Attributes:
        tuned_on: weights' hashes of the models that rewarded it.
        decoding: how it speaks; greedily, at least a token, unless told otherwise.
    """

    folder_digest: str | None = None

    def __init__(self, model: Captioner, tower: ImageTower, tuned_on: Sequence[str] = ()) -> None:
        self.model, self.tower, self.tuned_on = model, tower, tuple(tuned_on)
        self.decoding = Decoding(least=1)

    @property
    def image_size(self) -> int:
        return self.tower.side

    @property
    def resize(self) -> str:
        """How a picture becomes the tower's, in words; stands beside every figure."""
        return f"whole, squashed to {self.image_size}x{self.image_size} by {RESIZE}"

    def caption(self, images: Sequence[np.ndarray], texts: Sequence[str] | None = None) -> list[str]:
        """A caption of each of n pictures, "" where there is nothing to say.

        Args:
            texts: n questions, alt-texts or a user's words, told before the caption.

        Raises:
            ModelError: there are texts, and it was trained without a prompt.
        """
        found: list[str] = []
        for rows in batches(range(len(images)), AT_ONCE):
            told = self._told([images[i] for i in rows], None if texts is None else [texts[i] for i in rows])
            found += [captions[0] for captions in self.model.generate(told, self.decoding)]
        return found

    @torch.no_grad()
    def nats(self, images: Sequence[np.ndarray], texts: Sequence[str]) -> np.ndarray:
        """-log p(text | picture) of n pictures and a text of each, float64 (n,), the end counted."""
        found = []
        for rows in batches(range(len(images)), AT_ONCE):
            told = self._told([images[i] for i in rows], None)
            tokens = self.model.tokens.encode([texts[i] for i in rows], self.model.longest).to(self.tower.device)
            logits = self.model.logits(told, tokens[:, :-1])
            found.append(self.model.nats(logits, tokens).double().sum(1).cpu().numpy())
        return np.concatenate(found) if found else np.zeros(0)

    def _told(self, images: Sequence[np.ndarray], texts: Sequence[str] | None) -> dict[str, Tensor]:
        parts = self.model.parts
        once = {id(image): image for image in images}  # a picture asked about often is looked at once
        place = {number: at for at, number in enumerate(once)}
        told = {"image": self.tower.features(list(once.values())).float()[[place[id(image)] for image in images]]}
        if "control" in parts:
            told["control"] = torch.full((len(images),), parts["control"].size)
        if texts is not None:
            part = next((name for name in ("prompt", "user") if name in parts), None)
            if part is None:
                raise ModelError("this captioner is told texts and was trained without a prompt; ask it without")
            told[part] = prompts_of(self.model.tokens, list(texts), parts[part].size)
        return {name: value.to(self.tower.device) for name, value in told.items()}


def note_tuned_on(folder: Path, weights: Iterable[str]) -> None:
    """Write into a captioner's folder which models, by their weights' hashes, rewarded it."""
    (folder / TUNED_ON).write_text(json.dumps(sorted(weights)) + "\n", encoding="utf-8")


def tuned_on(folder: Path) -> tuple[str, ...]:
    """The models, by their weights' hashes, that rewarded the captioner in a folder."""
    noted = folder / TUNED_ON
    return tuple(json.loads(noted.read_text(encoding="utf-8"))) if noted.exists() else ()


@model_format("pairwright-captioner", speaks=("captioner",))
def load_picture_captioner(folder: str | Path, device: str = "cpu") -> PictureCaptioner:
    """The captioner in a folder, with its tower from where it was when it was taught.

    Raises:
        ModelError: the folder is missing, damaged or no captioner; it names no tower of pictures, or that tower is not
            here any more, or is another one now.
    """
    root = Path(folder)
    model, said = load_captioner(root, device), taught_on(root)
    if said is None or said.side != "image":
        raise ModelError(f"{root} names no tower of pictures it was taught on; teach it on a column of image_features")
    found = resolve_model(said.reference)
    if found.weights != said.weights:
        raise ModelError(
            f"{said.reference} is {str(found.weights)[:12]} now, {root} was taught on {said.weights[:12]}; restore it"
        )
    with damage_named(root):
        return PictureCaptioner(model, load_image_tower(found, device), tuned_on(root))
