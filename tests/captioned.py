"""A captioner of the shapes, taught within seconds on the features of a tiny tower, with every control there is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pairwright.components.dataset.examples.example import Text
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.models.captioner.folder import TaughtOn, save_captioner
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.towers.towers import load_image_tower
from pairwright.components.pretrain.captioners.captioner import CaptionerSettings, CaptionerTask
from pairwright.components.training.here import fit_here

TOWER = "builtin:tiny-image"
LEVELS, LENGTH, LANGUAGES = 3, 12, ("en", "de")
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


def taught_captioner(pictures: Sequence[np.ndarray], captions: Sequence[str], folder: Path, **changes: Any) -> Path:
    """Of pictures and captions such as `released.read_pairs` gives; every third is said in German."""
    features = load_image_tower(TOWER).features(list(pictures)).half().float().numpy()
    german = [number % 3 == 2 for number in range(len(captions))]
    texts = {
        "alt": [
            [Text(_german(text) if of else text, "alt", lang="de" if of else "en")]
            for text, of in zip(captions, german, strict=True)
        ],
        "keywords": [text.split()[-1] for text in captions],
    }
    levels = np.arange(len(captions)) % LEVELS + 1
    population = ArrayPopulation({"image_features.vector": features, "level.bin": levels}, texts)
    task = CaptionerTask(CaptionerSettings.parse(TAUGHT | changes, "test"))
    model = fit_here(task, population).task.model
    tower = resolve_model(TOWER)
    save_captioner(model, folder, "# Captioner of shapes\n", TaughtOn(tower.reference, str(tower.weights)))
    return folder


def _german(text: str) -> str:
    return next((f"ein Bild in {german}" for colour, german in GERMAN.items() if colour in text), text)
