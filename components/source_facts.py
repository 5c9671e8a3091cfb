"""What was found of a text of code, kept for this process and the next: parsing what a run consists of takes seconds.

    facts = Facts({"shape": shape_of})                     # questions about other modules, by name
    facts.of("digest", source, lambda ask: ... ask("shape", "pairwright.components.errors") ...)

What is found may hang on more than the text: on whether a module is there, on what another's code says. Such things are
asked through `ask`, are kept beside what was found, and it counts only as long as each is answered as it was then.

    ~/.cache/pairwright/code/<digest of who finds>/<digest of the text>.json
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pairwright.components.environment import cache_folder
from pairwright.components.hashing import canonical, sha256_text

Question = Callable[[str], Any]  # about a module of that name; answered with what JSON holds


class Ask:
    """Answers questions and notes them with their answers."""

    def __init__(self, questions: Mapping[str, Question]) -> None:
        self._questions, self._noted = questions, dict[tuple[str, str], Any]()

    def __call__(self, question: str, module: str) -> Any:
        if (question, module) not in self._noted:
            self._noted[question, module] = self._questions[question](module)
        return self._noted[question, module]

    def noted(self) -> list[list[Any]]:
        return [[question, module, answer] for (question, module), answer in self._noted.items()]


class Facts:
    """Facts of texts by kind.

    Args:
        finder: the text of the code that finds them: another's facts are not looked at.
    """

    def __init__(self, questions: Mapping[str, Question], finder: str) -> None:
        self._questions = questions
        self._who = sha256_text(canonical([finder, list(sys.version_info[:2])]))[:16]
        self._known: dict[str, dict[str, Any]] = {}  # digest of a text -> kind -> {"asked", "found"}

    def of(self, kind: str, text: str, find: Callable[[Ask], Any]) -> Any:
        """What is known of the text, else what `find` finds."""
        name = sha256_text(text)
        if name not in self._known:
            self._known[name] = self._read(name)
        known = self._known[name].get(kind)
        if known is not None and all(self._questions[asked](of) == then for asked, of, then in known["asked"]):
            return known["found"]
        ask = Ask(self._questions)
        found = find(ask)
        self._known[name] |= {kind: {"asked": ask.noted(), "found": found}}
        self._write(name)
        return found

    def _place(self, name: str) -> Path:
        return cache_folder() / "code" / self._who / f"{name}.json"

    def _read(self, name: str) -> dict[str, Any]:
        """Nothing where it is not there, or not as it was written."""
        try:
            said = json.loads(self._place(name).read_bytes())
            facts: dict[str, Any] = said["facts"]
            return facts if said["sum"] == sha256_text(canonical(facts)) else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def _write(self, name: str) -> None:
        """Whole or not at all; where nothing can be kept, the next process finds it again."""
        facts, place = self._known[name], self._place(name)
        partial = place.with_name(f".{name}-{os.getpid()}-{threading.get_ident()}")
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                partial.write_text(json.dumps({"facts": facts, "sum": sha256_text(canonical(facts))}), encoding="utf-8")
                os.replace(partial, place)
            finally:
                partial.unlink(missing_ok=True)
