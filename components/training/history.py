"""Metrics by step, a JSON line each, kept beside the checkpoints; a restart keeps the lines it still believes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

HISTORY = "metrics.jsonl"
TIMED = ("examples_per_s",)  # differ from run to run, so they stay out of the model's folder


class History:
    """The file of one training; lines of steps after `done` are forgotten when it is opened."""

    def __init__(self, root: Path, done: int) -> None:
        self.path = root / HISTORY
        root.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_history(self.path) if line["step"] <= done]
        self.path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._file: TextIO = self.path.open("a", encoding="utf-8")

    def note(self, metrics: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(metrics) + "\n")
        self._file.flush()  # a reader may follow it; a kill costs no line before the last

    def close(self) -> None:
        self._file.close()


def read_history(path: Path) -> list[dict[str, Any]]:
    """Metrics by step; a last line cut short by a kill is left out."""
    found: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def untimed(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same without what differs from run to run."""
    return [{name: value for name, value in line.items() if name not in TIMED} for line in history]
