"""Paths in records: what lies in the workspace is written as `$WORKSPACE/...`, so that a workspace can be moved.

named({"model": "/here/workspace/models/ab"}, "/here/workspace")    {"model": "$WORKSPACE/models/ab"}
found({"model": "$WORKSPACE/models/ab"}, "/there")                  {"model": "/there/models/ab"}
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

PLACE = "$WORKSPACE"

T = TypeVar("T")


def named(value: T, workspace: str) -> T:
    """The same nested value with every path inside `workspace` named by `$WORKSPACE`."""
    return moved(value, workspace, PLACE)


def found(value: T, workspace: str) -> T:
    """The same nested value with every `$WORKSPACE/...` as a path in `workspace`."""
    return moved(value, PLACE, workspace)


def moved(value: T, before: str, after: str) -> T:
    """The same nested value; every text that is a path below `before` is one below `after`."""
    inside = f"{before}/"
    return _texts(value, lambda text: f"{after}/{text.removeprefix(inside)}" if text.startswith(inside) else text)


def _texts(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _texts(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_texts(item, change) for item in value]
    return value
