"""Components by name: ours, imported on demand, and third parties' through an entry-point group.

A plug-in adds components by an entry point in the group `pairwright.components` whose value is a
module to import; importing it runs the decorators below. Our own modules are found by the text of
those decorators, so that one name costs the import of one module. A plug-in that cannot be imported
is named in a warning and left out; nothing else is held up by it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from components.component import Benchmark, Captioner, Component, Fit, Objective, Scorer, Selection
from components.errors import UnknownComponent, nearest
from components.settings import Named

ENTRY_POINT_GROUP = "pairwright.components"
STAGE_PACKAGES = (
    "components.filter",
    "components.preference",
    "components.recaption",
    "components.pretrain",
    "components.evaluate",
    "components.models",
)

DECORATED = re.compile(r'^@(scorer|selection|captioner|fit|objective|benchmark)\("([^"]+)"\)', re.MULTILINE)

_registered: dict[tuple[str, str], type[Component]] = {}
_broken: dict[str, str] = {}  # plug-in -> why it was left out
KINDS = tuple(kind.kind for kind in (Scorer, Selection, Captioner, Fit, Objective, Benchmark))
log = logging.getLogger(__name__)

C = TypeVar("C", bound=type[Component])


def _register(kind: type[Component], name: str) -> Callable[[C], C]:
    def decorate(cls: C) -> C:
        other = _registered.get((kind.kind, name))
        if other is not None and other.__qualname__ != cls.__qualname__:
            raise UnknownComponent(
                f"{kind.kind} {name!r} is registered by {other.__module__} and by {cls.__module__}; rename one"
            )
        cls.name = name
        _registered[(kind.kind, name)] = cls
        return cls

    return decorate


def scorer(name: str) -> Callable[[C], C]:
    return _register(Scorer, name)


def selection(name: str) -> Callable[[C], C]:
    return _register(Selection, name)


def captioner(name: str) -> Callable[[C], C]:
    return _register(Captioner, name)


def fit(name: str) -> Callable[[C], C]:
    return _register(Fit, name)


def objective(name: str) -> Callable[[C], C]:
    return _register(Objective, name)


def benchmark(name: str) -> Callable[[C], C]:
    return _register(Benchmark, name)


@functools.cache
def _ours() -> dict[tuple[str, str], str]:
    """(kind, name) -> module of every component of ours, read from the text of the stage packages."""
    places: dict[tuple[str, str], str] = {}
    for package in STAGE_PACKAGES:
        spec = importlib.util.find_spec(package)
        for root in map(Path, (spec.submodule_search_locations if spec else None) or ()):
            for path in sorted(root.rglob("*.py")):
                inside = path.relative_to(root).with_suffix("").parts
                module = ".".join([package, *inside]).removesuffix(".__init__")
                for kind, name in DECORATED.findall(path.read_text(encoding="utf-8")):
                    places[kind, name] = module
    return places


@functools.cache
def _plug_ins() -> None:
    """Import every plug-in, once a process.

    One that raises, whatever it raises, is warned of and left out: its components are then unknown by name.
    """
    for entry in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        try:
            entry.load()
        except Exception as error:
            _broken[entry.name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            log.warning("plug-in %s (%s) was left out: %s", entry.name, entry.value, _broken[entry.name])


def broken_plug_ins() -> dict[str, str]:
    """Plug-ins that could not be imported, and why."""
    _plug_ins()
    return dict(_broken)


def discover() -> None:
    """Import every module of ours that holds a component, and every plug-in."""
    for module in sorted(set(_ours().values())):
        importlib.import_module(module)
    _plug_ins()


def known_names(kind: str | None = None) -> set[str]:
    """Names of components, those of plug-ins too; nothing of ours is imported for it."""
    _plug_ins()
    return {name for of, name in {*_ours(), *_registered} if kind in (None, of)}


def _unknown(what: str, name: str, names: set[str]) -> UnknownComponent:
    left_out = "".join(f"; plug-in {plug_in} was left out ({why})" for plug_in, why in _broken.items())
    return UnknownComponent(f'no {what} is called "{name}"{nearest(name, names)}{left_out}')


def component_class(kind: str, name: str) -> type[Component]:
    """The class registered as `name`.

    Raises:
        UnknownComponent: nobody registered it; the nearest known name is in the message.
    """
    if (kind, name) in _ours():
        importlib.import_module(_ours()[kind, name])
    elif (kind, name) not in _registered:
        _plug_ins()
    found = _registered.get((kind, name))
    if found is None:
        raise _unknown(kind, name, known_names(kind))
    return found


def load_class(kind: str, name: str, module: str = "") -> type[Component]:
    """The class registered as `name`, importing only `module` if that is where it is registered.

    A worker that runs one scorer need not import every other component's libraries.

    Raises:
        UnknownComponent: nobody registered it.
    """
    if (kind, name) not in _registered and module:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise UnknownComponent(
                f"{kind} {name} lives in {module}, which this worker cannot import ({error}); install it there, too"
            ) from None
    return _registered.get((kind, name)) or component_class(kind, name)


def named_component(choice: Named, module: str = "") -> Component:
    """The component that settings name, with its own settings parsed; `module` as in `load_class`.

    Raises:
        UnknownComponent: nobody registered it.
        InvalidRecipe: its settings are wrong.
    """
    cls = load_class(choice.kind, choice.uses, module)
    return cls(cls.settings_model().parse(choice.with_, f"{choice.kind} {choice.uses}"))


def find(name: str, kinds: Sequence[str] = ()) -> type[Component]:
    """The class registered as `name`: of the first of `kinds` that has one, else of any kind.

    Raises:
        UnknownComponent: nobody registered it; the nearest known name is in the message.
    """
    order = (*kinds, *KINDS)
    if not any((kind, name) in {*_ours(), *_registered} for kind in order):
        _plug_ins()
    for kind in order:
        if (kind, name) in _ours() or (kind, name) in _registered:
            return component_class(kind, name)
    raise _unknown("component", name, known_names())


def registered() -> dict[tuple[str, str], type[Component]]:
    """Every component by (kind, name)."""
    discover()
    return dict(_registered)
