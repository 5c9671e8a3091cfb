"""A recipe that `extends` another says only what is its own; here it is read with what it stands on.

    layers = read_layers(text, "mine.yaml", shipped)      # the base first, the recipe itself last
    values = merged(layers)

    extends: quickstart                  # a shipped recipe's name, or a path relative to this file
    filter:
      keep:
        well_aligned: "align.score > 0"  # replaces the base's, in its place
        not_a_text_card: null            # takes the base's away
        short: "caption_text.words < 9"  # comes after the base's

Mappings are merged key by key; a list or a scalar replaces the base's whole; `null` removes a key. A step that
`uses` another component than the base's, or is written as text alone, takes nothing of it. Keys stand in the
base's order and new ones follow, so a rule that must come earlier takes the later ones away (`null`) and writes
them again behind itself under names of its own. Prose (name, description, paper, ...) is never inherited.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pairwright.components.errors import InvalidRecipe, nearest

PROSE = ("name", "description", "paper", "status", "left")  # fields that change nothing a recipe makes
EXTENDS = "extends"
CHOICE = {"with", "needs", "weight", "called"}  # what is said of a component beside its name
SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Layer:
    """One file of a recipe: what errors call it, its text, and its values but for `extends`."""

    where: str
    text: str
    values: dict[str, Any]
    extends: str | None = None


def read_layers(text: str, where: str, shipped: Path | None = None) -> tuple[Layer, ...]:
    """The recipe in `text` and what it extends, and that extends, the first of all first.

    Args:
        where: path of the recipe's file, from which a relative `extends` starts; named in errors.
        shipped: folder of the recipes that `extends` may name without a path.

    Raises:
        InvalidRecipe: not YAML, a key twice, a base that is not there, or one that extends its own extension.
    """
    layers = [_layer(text, where)]
    place, names = Path(where), {Path(where).resolve(): where}
    while layers[0].extends is not None:
        place = _base_of(layers[0], place, shipped)
        shown = place.name if place.parent == shipped else str(place)
        if place.resolve() in names:
            circle = " -> ".join([*names.values(), shown])
            raise InvalidRecipe(f"{where}: extends goes in a circle: {circle}; take one of them out")
        names[place.resolve()] = shown
        layers.insert(0, _layer(read_text(place, layers[0].where), shown))
    return tuple(layers)


def read_text(path: Path, extended_by: str = "") -> str:
    """The text of a recipe's file.

    Raises:
        InvalidRecipe: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        by = f"{extended_by}: extends " if extended_by else ""
        raise InvalidRecipe(f"{by}{path} cannot be read: {error}") from None


def merged(layers: Sequence[Layer]) -> dict[str, Any]:
    """What the layers say together.

    Raises:
        InvalidRecipe: a `null` that takes away what is not there.
    """
    values = layers[0].values
    for layer in layers[1:]:
        inherited = {key: value for key, value in values.items() if key not in PROSE}
        values = _over(inherited, layer.values, (), layer.where)
    return values


def file_of(layers: Sequence[Layer], path: Sequence[Any]) -> str:
    """The file that says what stands at `path`: the last one that goes deepest down it."""
    if path and path[0] in PROSE:
        return layers[-1].where
    return max(reversed(layers), key=lambda layer: _depth(layer.values, path)).where


def _layer(text: str, where: str) -> Layer:
    try:
        values = yaml.load(text, _Once)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise InvalidRecipe(f"{where}:{line} is not YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(values, dict):
        raise InvalidRecipe(f"{where}: a recipe is a mapping with `name:`, `filter:`, ...; see `pairwright explain`")
    extends = values.pop(EXTENDS, None)
    if extends is not None and not isinstance(extends, str):
        raise InvalidRecipe(f"{where}: extends is {extends!r}; name one recipe, by its name or its file")
    return Layer(where, text, values, extends)


class _Once(yaml.SafeLoader):
    """YAML of which a mapping says each key once: of two keep-rules of one name the first would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f'"{key.value}" stands there twice', problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _base_of(layer: Layer, place: Path, shipped: Path | None) -> Path:
    """The file that a layer extends."""
    name = str(layer.extends)
    if Path(name).suffix in SUFFIXES:
        return place.parent / Path(name).expanduser()
    known = sorted(path.stem for path in shipped.glob("*.yaml")) if shipped else []
    if shipped is None or name not in known:
        raise InvalidRecipe(
            f'{layer.where}: extends "{name}", but no recipe is called so{nearest(name, known)}; '
            "a file of yours is named with its .yaml"
        )
    return shipped / f"{name}.yaml"


def _over(base: Any, own: Any, path: tuple[str, ...], where: str) -> Any:
    """`own` over `base`."""
    if not isinstance(own, Mapping):
        return own
    if isinstance(base, str) and own.keys() <= {"with", "needs"}:
        base = {"uses": base}  # a step in its short form
    if not isinstance(base, Mapping) or own.get("uses", base.get("uses")) != base.get("uses", own.get("uses")):
        return dict(own)
    if path[-1:] == ("objective",) and ("uses" in base) != ("uses" in own) and not own.keys() <= CHOICE:
        return dict(own)  # one of them names weights (`{clip: 1, grouping: 0.5}`), the other says which it uses
    result = dict(base)
    for key, value in own.items():
        here = (*path, str(key))
        if value is not None:
            result[key] = _over(base.get(key), value, here, where)
        elif key in base:
            del result[key]
        elif "with" in path:
            result[key] = None  # a setting's own value
        else:
            raise InvalidRecipe(
                f'{where}: "{".".join(here)}" is null, which takes away what the base has, and it has no such key'
                f"{nearest(str(key), [str(name) for name in base])}"
            )
    return result


def _depth(values: Any, path: Sequence[Any]) -> int:
    """How many steps of `path` these values go along."""
    for depth, step in enumerate(path):
        known = values.keys() if isinstance(values, Mapping) else range(len(values) if isinstance(values, list) else 0)
        if step not in known:
            return depth
        values = values[step]
    return len(path)


def marked(layers: Sequence[Layer]) -> Iterator[tuple[bool, str]]:
    """(its own, line) of the resolved recipe as YAML, without prose; its own is what its last file says."""
    values = {key: value for key, value in merged(layers).items() if key not in PROSE}
    yield from _lines(values, layers[-1].values, 0)


def removed(layers: Sequence[Layer]) -> list[str]:
    """Dotted names of what the recipe takes away from its base."""
    return list(_nulls(layers[-1].values, ())) if len(layers) > 1 else []


def _nulls(values: Any, path: tuple[str, ...]) -> Iterator[str]:
    for key, value in values.items() if isinstance(values, Mapping) else ():
        if value is None:
            yield ".".join((*path, str(key)))
        yield from _nulls(value, (*path, str(key)))


SHORT = 100  # characters of a mapping that is shown on one line


def _lines(values: Mapping[str, Any], own: Any, indent: int) -> Iterator[tuple[bool, str]]:
    for key, value in values.items():
        mine = own.get(key) if isinstance(own, Mapping) else None
        flow = yaml.safe_dump({key: value}, default_flow_style=True, sort_keys=False, width=10_000).strip()[1:-1]
        if isinstance(value, Mapping) and (len(flow) > SHORT or indent == 0):
            yield mine is not None, f"{' ' * indent}{key}:"
            yield from _lines(value, mine, indent + 2)
        else:
            yield mine is not None, " " * indent + flow
