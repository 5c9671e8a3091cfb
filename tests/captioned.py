"""A captioner of the shapes, taught within seconds on the features of a tiny tower, with every control there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pairwright.components.dataset.examples.example import Examples, Text
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.models.captioner.folder import TaughtOn, save_captioner
from pairwright.components.models.captioner.prefix import Part
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.towers.towers import load_image_tower
from pairwright.components.pretrain.captioners.captioner import CaptionerSettings, CaptionerTask
from pairwright.components.training.here import fit_here

TOWER = "builtin:tiny-image"
LEVELS, LENGTH, LANGUAGES = 3, 12, ("en", "de")
FORMATS, SHORT = ("full", "short"), 3  # words of the latter
SIDES = ("left", "right", "top", "bottom")
GERMAN = {"red": "rot", "green": "grün", "blue": "blau", "yellow": "gelb"}
TAUGHT: dict[str, Any] = {
    "control": "level.bin",
    "control_levels": LEVELS,
    "lengths": LENGTH,
    "languages": LANGUAGES,
    "prompt": "keywords",
    "image_dropout": 0.2,
    "width": 48,
    "heads": 2,
    "layers": 1,
    "prefix": 2,
    "max_words": 12,
    "least": 1,
    "steps": 240,
    "batch_size": 64,
    "warmup_steps": 10,
    "lr": 5e-3,
}


class EveryControl(CaptionerTask):
    """Told a format and, for half of the pairs, a box as well, drawn anew each epoch.

    In the format `short` a caption is its first words; of a box that lies at a side, it begins with that side's name.
    """

    def parts(self) -> list[Part]:
        return [*super().parts(), Part("format", "number", len(FORMATS), names=FORMATS), Part("box", "box")]

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        short, drawn = examples.draw("short") < 0.3, (examples.draw("side") * 2 * len(SIDES)).astype(int)
        sides = [SIDES[at] if at < len(SIDES) else None for at in drawn]
        boxes = [box_at(side, *edges) for side, edges in zip(sides, examples.draw("edges", (2,)), strict=True)]
        texts = [
            " ".join([*([side] if side else []), *(text.split()[:SHORT] if of else text.split())])
            for text, of, side in zip(examples.texts(self.settings.source), short, sides, strict=True)
        ]
        found = dict(super().collate(examples))
        if self.settings.lengths:
            found["length"] = torch.tensor([len(text.split()) for text in texts])
        found |= {"format": torch.from_numpy(short + 1), "box": torch.tensor(boxes, dtype=torch.float32)}
        return found | {"tokens": self.model.tokens.encode(texts, self.model.longest)}


def box_at(side: str | None, depth: float = 0.5, inset: float = 0.0) -> list[float]:
    """A box along a side of the picture; how deep and how far from the corners, from 0 to 1."""
    near, first, last = 0.3 + 0.4 * depth, 0.2 * inset, 1 - 0.2 * inset
    boxes = {
        "left": [0.0, first, near, last],
        "right": [1 - near, first, 1.0, last],
        "top": [first, 0.0, last, near],
        "bottom": [first, 1 - near, last, 1.0],
    }
    return boxes[side] if side else [np.nan] * 4


def taught_captioner(
    pictures: Sequence[np.ndarray],
    captions: Sequence[str],
    folder: Path,
    kind: type[CaptionerTask] = EveryControl,
    **changes: Any,
) -> Path:
    """Of pictures and captions such as `released.read_pairs` gives; every third is said in German."""
    german = [number % 3 == 2 for number in range(len(captions))]
    texts = {
        "alt": [
            [Text(_german(text) if of else text, "alt", lang="de" if of else "en")]
            for text, of in zip(captions, german, strict=True)
        ],
        "keywords": [text.split()[-1] for text in captions],
    }
    levels = np.arange(len(captions)) // 3 % LEVELS + 1  # whatever the language
    population = ArrayPopulation({"image_features.vector": features_of(pictures), "level.bin": levels}, texts)
    return taught(kind(CaptionerSettings.parse(TAUGHT | changes, "test")), population, folder)


def features_of(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """(n, d) float32, as columns hold them."""
    features: np.ndarray = load_image_tower(TOWER).features(list(pictures)).half().float().numpy()
    return features


def taught(task: Any, population: ArrayPopulation, folder: Path) -> Path:
    """The folder of a captioner of TOWER's features, once the task has learnt."""
    model = fit_here(task, population).task.model
    tower = resolve_model(TOWER)
    save_captioner(model, folder, "# Captioner of shapes\n", TaughtOn(tower.reference, str(tower.weights)))
    return folder


def _german(text: str) -> str:
    return next((f"ein Bild in {german}" for colour, german in GERMAN.items() if colour in text), text)
