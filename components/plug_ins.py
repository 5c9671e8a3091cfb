"""Plug-ins: what other distributions add by entry points, and what could not be imported of it.

    for source in plug_ins("pairwright.sources").values(): ...

A plug-in that raises when it is imported is named in a warning and left out; nothing else is held up by it.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import logging
import sys
from collections.abc import Mapping
from importlib.machinery import PathFinder
from types import ModuleType
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
            imported(entry.module.partition(".")[0])
            loaded[entry.name] = entry.load()
        except Exception as error:  # whatever a stranger's module raises
            said = str(error).splitlines()
            _broken[entry.name] = f"{type(error).__name__}: {said[0] if said else ''}".rstrip(": ")
            log.warning("plug-in %s (%s) was left out: %s", entry.name, entry.value, _broken[entry.name])
    return loaded


def imported(name: str) -> ModuleType:
    """Import a module that is installed, even where the working directory has a folder of its name.

    A plug-in's project is such a folder (`pairwright new` makes ./mine with mine.py in it), and Ray's workers look in
    the driver's directory first. Python takes it for a package without code, and an editable install's finder is asked
    too late.
    """
    found = importlib.import_module(name)
    if found.__spec__ is None or found.__spec__.origin is not None:
        return found
    for finder in sys.meta_path:
        spec = None if finder is PathFinder else finder.find_spec(name, None)
        if spec is not None and spec.origin is not None and spec.loader is not None:
            module = sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    return found


def broken_plug_ins() -> dict[str, str]:
    """Plug-ins that could not be imported so far, and why."""
    return dict(_broken)
