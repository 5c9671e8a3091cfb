"""What every text model does, and how evidence is written into a prompt so that any of them can read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

EVIDENCE = "EVIDENCE: "
# A row's status: what became of its prompt. A reason begins with it, e.g. "refused:400"; any other is an error.
OK, REFUSED, BLOCKED, TRUNCATED, BUDGET, ERROR = "ok", "refused", "blocked", "truncated", "budget", "error"
Rules = Callable[[dict[str, Any]], str]


@dataclass(frozen=True)
class Completion:
    """A prompt's answer, or the reason why there is none.

    Attributes:
        text: the answer as the model gave it, of "truncated" as far as it goes; None if there is none.
        problem: "budget", "refused:400", "blocked:content_filter", "truncated", "unreachable:…"; None for an answer.
        cached: the answer was kept from an earlier run and cost nothing now.
    """

    text: str | None
    problem: str | None = None
    cached: bool = False

    @property
    def status(self) -> str:
        """ "ok", "refused", "blocked", "truncated", "budget" or "error"."""
        if self.problem is None:
            return OK
        head = self.problem.partition(":")[0]
        return head if head in (REFUSED, BLOCKED, TRUNCATED, BUDGET) else ERROR


class TextModel(Protocol):
    def complete(self, prompts: Sequence[str]) -> list[Completion]:
        """One completion a prompt, in order.

        Raises:
            TextModelError: the model cannot answer any prompt (wrong key, no such model, server gone).
        """
        ...


def with_evidence(instruction: str, evidence: Mapping[str, Any]) -> str:
    """The instruction, then the evidence as one line of JSON.

    JSON keeps what a caption or a sign says from being read as a part of the instruction.
    """
    return f"{instruction.strip()}\n\n{EVIDENCE}{json.dumps(evidence, ensure_ascii=False, sort_keys=True)}"


def evidence_of(prompt: str) -> dict[str, Any] | None:
    """The evidence written by `with_evidence`; None if the prompt carries none."""
    last = prompt.rsplit("\n", 1)[-1]
    if not last.startswith(EVIDENCE):
        return None
    try:
        found = json.loads(last[len(EVIDENCE) :])
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
