"""The digest of a step: what it is, so that the same step is never done twice.

op digest = component name + its source and every module of ours (or of its plug-in) that it
imports, as comment-free AST + resolved settings + weights' hash + declared library versions +
precision + the digests of the steps it reads. A comment or a docstring changes nothing; a changed
constant three imports away does.

What is opened by name while it runs is in no import. Settings say what that is: a `Named` component
(an objective) enters as a component does, and `modules` and `libraries` of a settings class as
what a component declares, however deep they lie.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pairwright.components.component import Component
from pairwright.components.errors import ModelError
from pairwright.components.hashing import canonical, file_sha256, sha256_text
from pairwright.components.registry import named_component
from pairwright.components.settings import ModelFolder, Named, Settings
from pairwright.components.source_code import source_digest

NAMED = frozenset(Named.model_fields)  # what else a choice says, such as a weight, counts too
DECODER = "pairwright.components.dataset.media.decode"  # what pixels a component sees is its business, whoever calls it


def op_digest(component: Component, *, inputs: Mapping[str, str] | None = None, precision: str = "float32") -> str:
    """Digest of this component with these settings, reading the steps in `inputs` (name -> digest).

    Args:
        precision: what the environment computes in; it counts for a component that computes in it.
    """
    counted = precision if component.mixed_precision else "float32"
    return sha256_text(canonical(described(component) | {"precision": counted, "inputs": dict(inputs or {})}))


def described(component: Component) -> dict[str, Any]:
    """A component as what decides its results: name, code, settings and libraries."""
    return {
        "component": f"{component.kind}:{component.name}",
        "source": source_digest(type(component).__module__),
        "decoder": source_digest(DECODER) if component.requires.pixels else None,
        "settings": digestible(component.settings),
        "libraries": library_versions(component.libraries),
    }


def digestible(value: Any) -> Any:
    """Settings as plain JSON: a model folder is its weights' hash, a named component what it is, a path its bytes.

    Raises:
        ModelError: a model reference was not resolved first, or a path leads nowhere, so its bytes are unknown.
        UnknownComponent, InvalidRecipe: a named component that nobody registered, or whose settings are wrong.
    """
    if isinstance(value, ModelFolder):
        if not value.resolved:
            raise ModelError(f"{value.reference} is not resolved to a folder; resolve references before digesting")
        return {"weights": value.weights}
    if isinstance(value, Named):
        beside = {name: digestible(getattr(value, name)) for name in type(value).model_fields if name not in NAMED}
        return described(named_component(value)) | ({"beside": beside} if beside else {})
    if isinstance(value, Settings):
        return _settings_said(value)
    if isinstance(value, Mapping):
        return {str(key): digestible(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [digestible(item) for item in value]
    if isinstance(value, Path):
        return {"content": _content(value)}
    return value


def _settings_said(settings: Settings) -> dict[str, Any]:
    names = [name for name in type(settings).model_fields if name not in settings.undigested]
    said = {name: digestible(getattr(settings, name)) for name in names}
    if settings.modules or settings.libraries:
        code = sorted(source_digest(module) for module in settings.modules)
        return {"settings": said, "modules": code, "libraries": library_versions(settings.libraries)}
    return said


def _content(path: Path) -> str:
    """Of a file or folder that settings name; where it lies and what it is called do not count."""
    try:
        return folder_digest(path) if path.is_dir() else file_sha256(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); correct the path") from None


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """The installed version of each distribution."""
    return {name: _version(name) for name in sorted(names)}


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


# A model folder's prose and its record of being made: they say nothing about what it answers.
NOT_THE_MODEL = frozenset({"card.md", "COMMIT.json", "metrics.jsonl"})


def folder_digest(folder: str | Path) -> str:
    """Digest of a model folder's files by relative name and bytes, without its prose and records."""
    root = Path(folder)
    files = [p for p in sorted(root.rglob("*")) if p.is_file() and p.name not in NOT_THE_MODEL]
    if not files:
        raise ModelError(f"{root} holds no files; name a model folder")
    return sha256_text(canonical({str(p.relative_to(root)): file_sha256(p) for p in files}))
