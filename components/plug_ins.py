"""Plug-ins: what other distributions add by entry points, and what could not be imported of it.

    for source in plug_ins("pairwright.sources").values(): ...

A plug-in that raises when it is imported is named in a warning and left out; nothing else is held up by it.
"""

from __future__ import annotations

import functools
import importlib.metadata
import logging
from collections.abc import Mapping
from typing import Any

COMPONENTS = "pairwright.components"  # modules whose decorators register components
SOURCES = "pairwright.sources"  # `Source` objects

_broken: dict[str, str] = {}
log = logging.getLogger(__name__)


@functools.cache
def plug_ins(group: str) -> Mapping[str, Any]:
    """What the entry points of a group lead to, by their names; loaded once a process."""
    loaded = {}
    for entry in importlib.metadata.entry_points(group=group):
        try:
            loaded[entry.name] = entry.load()
        except Exception as error:  # whatever a stranger's module raises
            said = str(error).splitlines()
            _broken[entry.name] = f"{type(error).__name__}: {said[0] if said else ''}".rstrip(": ")
            log.warning("plug-in %s (%s) was left out: %s", entry.name, entry.value, _broken[entry.name])
    return loaded


def broken_plug_ins() -> dict[str, str]:
    """Plug-ins that could not be imported so far, and why."""
    return dict(_broken)
