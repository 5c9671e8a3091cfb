"""Formats of model folders: what loads them, and which protocols they speak.

    @model_format("mine-captioner", speaks=("captioner",))
    def load(folder, device): ...                              # in a file of components/models, or in a plug-in

    model = load_model("workspace/models/…", "captioner")      # whatever its format

A folder's format is `format` in its `config.json`, or the `model_type` that `transformers` writes there. It speaks
the protocols of its format, unless `protocols` in its `config.json` says which of them, or which besides.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pairwright.components.errors import ModelError, nearest
from pairwright.components.models.protocols import PROTOCOLS
from pairwright.components.models.resolve import hash_folder
from pairwright.components.plug_ins import COMPONENTS, broken_plug_ins, plug_ins

ROOM = "pairwright.components.models"
DECORATED = re.compile(r'^@model_format\(((?:\s*"[^"]+",)+)', re.MULTILINE)

Load = Callable[[str | Path, str], Any]
L = TypeVar("L", bound=Callable[..., Any])


@dataclass(frozen=True)
class ModelFormat:
    """How folders of one format are loaded.

    Attributes:
        speaks: names of PROTOCOLS that each of its models speaks.
        load: (folder, device) -> the model, ready to answer.
        module: where `load` is written; its code counts for what it loads.
    """

    name: str
    speaks: tuple[str, ...]
    load: Load
    module: str


_registered: dict[str, ModelFormat] = {}


def model_format(*names: str, speaks: tuple[str, ...]) -> Callable[[L], L]:
    """Register `load(folder, device)` for folders whose `config.json` says one of these formats.

    Ours are found by the text of this decorator: names are written out, one of them at least.

    Raises:
        ModelError: another function loads that format, or there is no such protocol.
    """
    for protocol in speaks:
        check_protocol(protocol, f"the format {names[0]}")

    def decorate(load: L) -> L:
        for name in names:
            other = _registered.get(name)
            if other is not None and other.load.__qualname__ != load.__qualname__:
                raise ModelError(f'the format "{name}" is loaded by {other.module} and {load.__module__}; rename one')
            _registered[name] = ModelFormat(name, speaks, load, load.__module__)
        return load

    return decorate


def check_protocol(name: str, who: str) -> None:
    """Raises ModelError where no protocol has this name; `who` asks for it."""
    if name not in PROTOCOLS:
        raise ModelError(f'{who} names the protocol "{name}"{nearest(name, PROTOCOLS)}')


def format_of(folder: str | Path) -> ModelFormat:
    """The format of a model's folder; imports what loads it.

    Raises:
        ModelError: it is no model's folder, or nothing here loads its format.
    """
    config = _config(folder)
    name = config.get("format") or config.get("model_type")
    if name in _ours():
        importlib.import_module(_ours()[name])
    elif name not in _registered:
        plug_ins(COMPONENTS)
    if name not in _registered:
        near = nearest(str(name), {*_ours(), *_registered})
        left_out = "".join(f"; plug-in {one} was left out ({why})" for one, why in broken_plug_ins().items())
        raise ModelError(f'{folder} is of the format "{name}", which nothing here loads{near}{left_out}')
    return _registered[name]


def protocols_of(folder: str | Path) -> tuple[str, ...]:
    """Names of the protocols that the model in a folder speaks."""
    said: Iterable[str] = _config(folder).get("protocols") or format_of(folder).speaks
    return tuple(said)


def load_model(folder: str | Path, protocols: str | Iterable[str], device: str = "cpu") -> Any:
    """The model in a folder, which speaks one protocol or several; loaded once for all of them.

    Its `folder_digest` names the folder's content: what is computed with it may be kept under that name.

    Raises:
        ModelError: it does not speak one of them, or its folder is missing, damaged or of an unknown format.
    """
    spoken = protocols_of(folder)
    for protocol in [protocols] if isinstance(protocols, str) else protocols:
        check_protocol(protocol, "a benchmark")
        if protocol not in spoken:
            raise ModelError(f"{folder} is no {protocol} but a {', '.join(spoken)}; name a model that is one")
    model = format_of(folder).load(folder, device)
    model.folder_digest = hash_folder(Path(folder))
    return model


def _config(folder: str | Path) -> dict[str, Any]:
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} is no model folder ({error}); name one that `pairwright run` made") from None
    if not isinstance(config, dict):
        raise ModelError(f"{folder}/config.json holds no mapping; restore the folder")
    return config


@functools.cache
def _ours() -> dict[str, str]:
    """Format -> module of ours that loads it, read from the files' text, so that nothing is imported for it."""
    places: dict[str, str] = {}
    spec = importlib.util.find_spec(ROOM)
    for root in map(Path, (spec.submodule_search_locations if spec else None) or ()):
        for path in sorted(root.rglob("*.py")):
            module = ".".join([ROOM, *path.relative_to(root).with_suffix("").parts]).removesuffix(".__init__")
            for names in DECORATED.findall(path.read_text(encoding="utf-8")):
                places |= dict.fromkeys(re.findall(r'"([^"]+)"', names), module)
    return places
