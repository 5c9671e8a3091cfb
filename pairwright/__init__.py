"""Pairwright: from a noisy crawl of image-text pairs to a small training set, a model and an endpoint.

    import pairwright as pw

    data = pw.open_dataset("data/raw")                          # iterate it for its pairs
    pw.score(data, "caption_text")                              # a scorer's columns, as a table
    run = pw.run("quickstart", limit=1)                         # or pw.read_run() for the latest
    pw.why("raw/animals_ants_ant_01")                           # the rule that dropped a pair
    pw.load_champion().encode_text(["a red boat"])              # unit vectors

docs/python.md shows all of it. Importing this imports nothing else; each name is looked up when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pairwright.components.errors import PairwrightError
    from pairwright.components.models.dual_encoders.encoder import DualEncoder
    from pairwright.flows.notebook.encoders import load_champion, load_model
    from pairwright.flows.notebook.pairs import Pair, Pairs, open_dataset
    from pairwright.flows.notebook.runs import RecordedRun, read_run, run, why
    from pairwright.flows.notebook.scores import score

__all__ = [
    "DualEncoder",
    "Pair",
    "Pairs",
    "PairwrightError",
    "RecordedRun",
    "load_champion",
    "load_model",
    "open_dataset",
    "read_run",
    "run",
    "score",
    "why",
]

_PLACES = {
    "DualEncoder": "pairwright.components.models.dual_encoders.encoder",
    "Pair": "pairwright.flows.notebook.pairs",
    "Pairs": "pairwright.flows.notebook.pairs",
    "PairwrightError": "pairwright.components.errors",
    "RecordedRun": "pairwright.flows.notebook.runs",
    "load_champion": "pairwright.flows.notebook.encoders",
    "load_model": "pairwright.flows.notebook.encoders",
    "open_dataset": "pairwright.flows.notebook.pairs",
    "read_run": "pairwright.flows.notebook.runs",
    "run": "pairwright.flows.notebook.runs",
    "score": "pairwright.flows.notebook.scores",
    "why": "pairwright.flows.notebook.runs",
}


def __getattr__(name: str) -> Any:
    """A public name, imported from its place the first time it is asked for."""
    if name not in _PLACES:
        raise AttributeError(f"module 'pairwright' has no attribute '{name}'")
    import importlib

    found = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
