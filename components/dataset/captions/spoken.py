"""A label's value as words, for prompts."""

from __future__ import annotations

import re


def spoken(label: str) -> str:
    """`naturalForces`, `natural_forces` and `nature/forces` become separate words."""
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label)
    return " ".join(re.sub(r"[_\-/.]+", " ", split).split()).lower()
