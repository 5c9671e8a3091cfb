"""What the claims about relabelling share: composed scenes whose alt-text is terse, and captioners of few captions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.systems.captions import SMALL
from benchmarks.systems.place import Place, Steps, features
from pairwright.components.dataset.dataset import Dataset

SHARE = 0.05  # of the scenes, whose detailed captions somebody wrote
LONG: dict[str, Any] = SMALL | {"image_dropout": 0.0, "max_words": 32}
DATA = "composed scenes, 1,200 whose alt-text names the things alone, judged on 300 of other things and other sentences"


def terse_scenes(place: Place) -> tuple[Dataset, Dataset, Steps]:
    """Scenes to learn from and to judge on, and steps: `terse` alt-text, and `few` detailed captions."""
    scenes, test = place.scenes()
    steps = features("alt") | {
        "terse": ("caption_format", {"format": "short", "regions": True}),
        "few": ("few_captions", {"source": "alt", "share": SHARE}),
    }
    return scenes, test, steps


def adapted(place: Place, scenes: Dataset, steps: Steps, seed: int) -> Path:
    """A captioner of terse captions, adapted on the few."""
    view = place.view(scenes, steps)
    base = place.train("captioner", LONG | {"source": "terse"}, view, seed)
    said = {"source": "few", "init": str(base), "least": 1, "steps": 200, "batch_size": 32, "lr": 5e-4}
    return place.train("captioner", LONG | said, view, seed)


def student(place: Place, scenes: Dataset, steps: Steps, seed: int) -> Path:
    """A captioner of the few alone."""
    said = {"source": "few", "least": 1, "steps": 400, "batch_size": 32, "lr": 1e-3}
    return place.train("captioner", LONG | said, place.view(scenes, steps), seed)
