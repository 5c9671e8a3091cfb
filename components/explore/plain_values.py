"""A value as JSON and JavaScript keep it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

EXACT_INTEGERS = 1 << 53  # beyond it JavaScript rounds


def plain(value: Any) -> Any:
    """The value without NaN, wide integers and bytes."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return value if abs(value) < EXACT_INTEGERS else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value)
