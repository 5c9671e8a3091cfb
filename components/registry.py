"""Components by name: ours, imported on demand, and third parties' through an entry-point group.

A plug-in adds components by an entry point in the group `pairwright.components` whose value is a
module to import; importing it runs the decorators below.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
from collections.abc import Callable, Sequence
from typing import TypeVar

from components.component import Benchmark, Captioner, Component, Fit, Objective, Scorer, Selection
from components.errors import UnknownComponent, nearest

ENTRY_POINT_GROUP = "pairwright.components"
STAGE_PACKAGES = (
    "components.filter",
    "components.preference",
    "components.recaption",
    "components.pretrain",
    "components.evaluate",
    "components.models",
)

_registered: dict[tuple[str, str], type[Component]] = {}
_discovered = False

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


def discover() -> None:
    """Import every module of the stage packages and of the plug-ins, once a process."""
    global _discovered
    if _discovered:
        return
    _discovered = True
    for package_name in STAGE_PACKAGES:
        package = importlib.import_module(package_name)
        for module in pkgutil.walk_packages(package.__path__, f"{package_name}."):
            importlib.import_module(module.name)
    for entry in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        entry.load()


def component_class(kind: str, name: str) -> type[Component]:
    """The class registered as `name`.

    Raises:
        UnknownComponent: nobody registered it; the nearest known name is in the message.
    """
    discover()
    try:
        return _registered[(kind, name)]
    except KeyError:
        known = [n for k, n in _registered if k == kind]
        raise UnknownComponent(f'no {kind} is called "{name}"{nearest(name, known)}') from None


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


def find(name: str, kinds: Sequence[str] = ()) -> type[Component]:
    """The class registered as `name`: of the first of `kinds` that has one, else of any kind."""
    discover()
    for kind in kinds:
        if (kind, name) in _registered:
            return _registered[(kind, name)]
    for (_, known), cls in _registered.items():
        if known == name:
            return cls
    raise UnknownComponent(f'no component is called "{name}"{nearest(name, [n for _, n in _registered])}')


def registered() -> dict[tuple[str, str], type[Component]]:
    """Every component by (kind, name)."""
    discover()
    return dict(_registered)
