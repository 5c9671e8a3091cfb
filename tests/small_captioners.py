"""A captioner so small that it learns planted captions of a few words in a second or two."""

from __future__ import annotations

from typing import Any

SMALL_CAPTIONER: dict[str, Any] = {
    "width": 32,
    "heads": 2,
    "layers": 1,
    "prefix": 2,
    "max_words": 4,
    "least": 1,
    "batch_size": 64,
    "warmup_steps": 10,
    "lr": 5e-3,
}
