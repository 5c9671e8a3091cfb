"""Components by name: ours, imported on demand, and third parties' through an entry-point group.

A plug-in adds components by an entry point in the group `pairwright.components` whose value is a
module to import; importing it runs the decorators below. Our own modules are found by the text of
those decorators, so that one name costs the import of one module. A plug-in that cannot be imported
is named in a warning and left out; nothing else is held up by it.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pairwright.components.component import (
    Benchmark,
    Captioner,
    Component,
    Fit,
    Objective,
    Reward,
    Scorer,
    Selection,
)
from pairwright.components.errors import UnknownComponent, nearest
from pairwright.components.plug_ins import COMPONENTS, broken_plug_ins, imported, plug_ins
from pairwright.components.settings import Named

STAGE_PACKAGES = (
    "pairwright.components.filter",
    "pairwright.components.preference",
    "pairwright.components.recaption",
    "pairwright.components.pretrain",
    "pairwright.components.evaluate",
    "pairwright.components.models",
)

DECORATED = re.compile(r'^@(scorer|selection|captioner|fit|task|objective|reward|benchmark)\("([^"]+)"\)', re.MULTILINE)

_registered: dict[tuple[str, str], type[Component]] = {}
KINDS = tuple(kind.kind for kind in (Scorer, Selection, Captioner, Fit, Objective, Reward, Benchmark))
MANY = 30  # names that are no longer read when an error lists them

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


def task(name: str) -> Callable[[C], C]:
    """A fit that the trainer trains (components/training/task.py)."""
    return _register(Fit, name)


def objective(name: str) -> Callable[[C], C]:
    return _register(Objective, name)


def reward(name: str) -> Callable[[C], C]:
    return _register(Reward, name)


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
                    places["fit" if kind == "task" else kind, name] = module
    return places


def discover() -> None:
    """Import every module of ours that holds a component, and every plug-in."""
    for module in sorted(set(_ours().values())):
        importlib.import_module(module)
    plug_ins(COMPONENTS)


def summaries() -> dict[tuple[str, str], str]:
    """(kind, name) -> the first sentence that its module says of it; nothing of ours is imported for it."""
    plug_ins(COMPONENTS)
    places = {key: cls.__module__ for key, cls in _registered.items()} | _ours()
    return {key: _first_sentence(module) for key, module in sorted(places.items())}


def _first_sentence(module: str) -> str:
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return ""
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[a-z0-9)])\.\s(?=[A-Z])", paragraph, maxsplit=1)[0].rstrip(".:")


def known_names(kind: str | None = None) -> set[str]:
    """Names of components, those of plug-ins too; nothing of ours is imported for it."""
    plug_ins(COMPONENTS)
    return {name for of, name in {*_ours(), *_registered} if kind in (None, of)}


def _unknown(what: str, name: str, names: set[str]) -> UnknownComponent:
    left_out = "".join(f"; plug-in {plug_in} was left out ({why})" for plug_in, why in broken_plug_ins().items())
    near = nearest(name, names)
    if len(names) > MANY and "did you mean" not in near:
        near = (
            "; `pairwright components` lists those there are, and one of your own has to be installed (docs/extend.md)"
        )
    return UnknownComponent(f'no {what} is called "{name}"{near}{left_out}')


def component_class(kind: str, name: str) -> type[Component]:
    """The class registered as `name`.

    Raises:
        UnknownComponent: nobody registered it; the nearest known name is in the message.
    """
    if (kind, name) in _ours():
        importlib.import_module(_ours()[kind, name])
    elif (kind, name) not in _registered:
        plug_ins(COMPONENTS)
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
            imported(module)
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
    """The class registered as `name`: of the first of `kinds` that has one, else of any kind; `objective.clip` says it.

    Raises:
        UnknownComponent: nobody registered it; the nearest known name is in the message.
    """
    kind, dot, own = name.partition(".")
    if dot and kind in KINDS:
        return component_class(kind, own)
    order = (*kinds, *KINDS)
    if not any((kind, name) in {*_ours(), *_registered} for kind in order):
        plug_ins(COMPONENTS)
    for kind in order:
        if (kind, name) in _ours() or (kind, name) in _registered:
            return component_class(kind, name)
    raise _unknown("component", name, known_names())


def registered() -> dict[tuple[str, str], type[Component]]:
    """Every component by (kind, name)."""
    discover()
    return dict(_registered)
