"""A small model that has learnt from another's answers (`fusion_student`): it reads a prompt's evidence alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pairwright.components.errors import ModelError
from pairwright.components.models.copying.folder import load_copying
from pairwright.components.models.text_backends.protocol import TRUNCATED, Completion, evidence_of
from pairwright.components.models.text_backends.settings import StudentTextModel


class StudentModel:
    """`TextModel` over a copying model's folder.

    Raises:
        ModelError: the reference is not resolved, or the folder holds no copying model.
    """

    def __init__(self, settings: StudentTextModel, device: str) -> None:
        if settings.model.path is None:
            raise ModelError(f"{settings.model.reference} is not resolved to a folder; run it through a recipe")
        self.settings = settings
        self.model = load_copying(settings.model.path, device)

    def complete(self, prompts: Sequence[str]) -> list[Completion]:
        evidence = [evidence_of(prompt) for prompt in prompts]
        given = [{name: _as_text(value) for name, value in one.items()} for one in evidence if one is not None]
        written = iter(self.model.write(given, self.settings.decoding))
        return [Completion(None, "no_evidence") if one is None else _completion(*next(written)) for one in evidence]


def _completion(text: str, ended: bool) -> Completion:
    return Completion(text, None if ended else TRUNCATED)


def _as_text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")
