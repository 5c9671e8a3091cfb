"""What of a caption was left, added and taken away against the one before it, word by word.

word_changes("a cat", "a black cat")      # [("same", "a "), ("ins", "black "), ("same", "cat")]

Words are compared without regard to case; `same` and `ins` together are the new caption to the letter.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import Literal

Kind = Literal["same", "ins", "del"]
Change = tuple[Kind, str]

_SPACELESS = (
    r"\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff"  # scripts that put no spaces between words: Thai, Japanese, Chinese
)
# A character of those, a word, or a mark; with the space behind it.
_WORD = re.compile(rf"[{_SPACELESS}]|[^\W{_SPACELESS}]+")
_PIECE = re.compile(rf"(?:[{_SPACELESS}]|[^\W{_SPACELESS}]+(?:['’\-][^\W{_SPACELESS}]+)*|[^\w\s])\s*")


def word_changes(before: str, after: str) -> list[Change]:
    """Runs of words in reading order, what was taken away before what was added in its place."""
    old, new = _PIECE.findall(before.strip()), _PIECE.findall(after.strip())
    matcher = SequenceMatcher(None, [_said(one) for one in old], [_said(one) for one in new], autojunk=False)
    found: list[Change] = []
    for kind, i, j, k, m in matcher.get_opcodes():
        if kind == "equal":
            found.append(("same", "".join(new[k:m])))
            continue
        found += [("del", "".join(old[i:j]))] if j > i else []
        found += [("ins", "".join(new[k:m]))] if m > k else []
    return [(kind, _apart(found, at)) for at, (kind, _) in enumerate(found)]


def marks_worth_seeing(before: str | None, after: str) -> list[Change]:
    """The changes, where a third of the words before were left: else it is another caption, and all would be marked."""
    changes = word_changes(before or "", after)
    left = "".join(text for kind, text in changes if kind == "same")
    return changes if 3 * len(_WORD.findall(left)) >= max(len(_WORD.findall(before or "")), 1) else []


def _apart(changes: list[Change], at: int) -> str:
    """The run's words; what was taken away stands apart from its neighbours, where it ended or began a caption."""
    kind, text = changes[at]
    if kind != "del":
        return text
    before = changes[at - 1][1] if at else ""
    after = changes[at + 1][1] if at + 1 < len(changes) else ""
    first = " " if before[-1:].isalnum() and text[:1].isalnum() else ""
    return first + text + (" " if text[-1:].isalnum() and after[:1].isalnum() else "")


def _said(piece: str) -> str:
    return piece.strip().casefold()
