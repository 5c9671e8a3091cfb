"""The digest of a step: what it is, so that the same step is never done twice.

op digest = component name + its source and every module of ours (or of its plug-in) that it
imports, as comment-free AST + resolved settings + weights' hash + declared library versions +
precision + the digests of the steps it reads. A comment or a docstring changes nothing; a changed
constant three imports away does.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from components.component import Component
from components.errors import ModelError
from components.settings import ModelFolder, Settings

DIGEST_CHARS = 32
DECODER = "components.dataset.decode"  # what pixels a component sees is its business, whoever calls it


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_CHARS]


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: the same value is always the same text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def file_sha256(path: str | Path, chunk: int = 1 << 20) -> str:
    """Full hex SHA-256 of a file, read in chunks of `chunk` bytes."""
    hasher = hashlib.sha256()
    with open(path, "rb") as stream:
        while data := stream.read(chunk):
            hasher.update(data)
    return hasher.hexdigest()


def op_digest(component: Component, *, inputs: Mapping[str, str] | None = None, precision: str = "float32") -> str:
    """Digest of this component with these settings, reading the steps in `inputs` (name -> digest)."""
    return sha256_text(
        canonical(
            {
                "component": f"{component.kind}:{component.name}",
                "source": source_digest(type(component).__module__),
                "decoder": source_digest(DECODER) if component.requires.pixels else None,
                "settings": digestible(component.settings),
                "libraries": {name: _version(name) for name in sorted(component.libraries)},
                "precision": precision,
                "inputs": dict(inputs or {}),
            }
        )
    )


def digestible(value: Any) -> Any:
    """Settings as plain JSON, each model folder replaced by its weights' hash.

    Raises:
        ModelError: a model reference was not resolved first, so its bytes are unknown.
    """
    if isinstance(value, ModelFolder):
        if not value.resolved:
            raise ModelError(f"{value.reference} is not resolved to a folder; resolve references before digesting")
        return {"weights": value.weights}
    if isinstance(value, Settings):
        names = [name for name in type(value).model_fields if name not in value.undigested]
        return {name: digestible(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(key): digestible(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [digestible(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


@functools.cache
def source_digest(module: str) -> str:
    """Digest of a module's code and of every module of its own package family it imports."""
    family = module.split(".")[0]
    parts = {name: code_digest(_source_of(name)) for name in sorted(_closure(module, family))}
    return sha256_text(canonical(parts))


def code_digest(source: str) -> str:
    """Digest of Python source that ignores comments, layout and docstrings."""
    return sha256_text(ast.dump(_without_docstrings(ast.parse(source))))


def _closure(module: str, family: str) -> set[str]:
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        todo.extend(found for found in _imports(name, family) if found not in seen)
    return seen


def _imports(module: str, family: str) -> set[str]:
    """Modules of `family` that `module` imports anywhere, function bodies included."""
    found: set[str] = set()
    for node in _run_time_nodes(ast.parse(_source_of(module))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name.split(".")[0] == family)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module if _is_package(module) else module.rpartition(".")[0]
                base = importlib.util.resolve_name("." * node.level + base, package)
            if base.split(".")[0] == family:
                found.add(base)
                if _is_package(base):  # looking for a submodule of a plain module would import it
                    found.update(f"{base}.{alias.name}" for alias in node.names)
    return {name for name in found if _spec(name)}


def _run_time_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those under `if TYPE_CHECKING:`, which never run."""
    todo = [tree]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            todo.extend(node.orelse)
        else:
            todo.extend(ast.iter_child_nodes(node))


@functools.cache
def _spec(module: str) -> Any:
    loaded = sys.modules.get(module)
    if loaded is not None and getattr(loaded, "__spec__", None):
        return loaded.__spec__
    try:
        return importlib.util.find_spec(module)
    except (ImportError, AttributeError, ValueError):
        return None


def _is_package(module: str) -> bool:
    spec = _spec(module)
    return bool(spec and spec.submodule_search_locations)


def _source_of(module: str) -> str:
    spec = _spec(module)
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return ""
    return Path(spec.origin).read_text(encoding="utf-8")


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return tree


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
