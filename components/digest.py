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

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.component import Component
from components.errors import ModelError
from components.settings import ModelFolder, Named, Settings

if TYPE_CHECKING:
    import pyarrow as pa

DIGEST_CHARS = 32
OURS = frozenset(("components", "flows", "serving"))
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


def rows_digest(rows: pa.Table) -> str:
    """Of pairs (shard, row) in their order."""
    encoded = rows["shard"].dictionary_encode().unify_dictionaries().combine_chunks()
    numbers = rows["row"].to_numpy().astype("<i8").tobytes()
    places = encoded.indices.to_numpy(zero_copy_only=False).astype("<i4").tobytes()
    return sha256_text(canonical(encoded.dictionary.to_pylist()) + (places + numbers).hex())


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
        from components.registry import named_component

        return described(named_component(value))
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
        code = {module: source_digest(module) for module in settings.modules}
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


@functools.cache
def source_digest(module: str) -> str:
    """Digest of a module's code and of every module of ours, or of its own plug-in, that it imports."""
    parts = {name: module_digest(name) for name in sorted(_closure(module))}
    return sha256_text(canonical(parts))


def module_digest(module: str) -> str:
    """Digest of a module's own code, whatever it imports."""
    return code_digest(_source_of(module))


@functools.lru_cache(maxsize=4096)
def code_digest(source: str) -> str:
    """Digest of Python source that ignores comments, layout and docstrings."""
    return sha256_text(ast.dump(_without_docstrings(ast.parse(source))))


def _closure(module: str) -> set[str]:
    seen: set[str] = set()
    todo = [module]
    family = Family(module)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(_imported(name, family))
    return seen


def _imported(module: str, family: Family) -> Iterator[str]:
    """Modules of the family that `module` imports anywhere, function bodies included."""
    for base, names in _import_statements(_source_of(module), module, _is_package(module)):
        if base in family and _spec(base):
            yield base
            if _is_package(base):  # looking for a submodule of a plain module would import it
                yield from (f"{base}.{name}" for name in names if _spec(f"{base}.{name}"))


class Family:
    """Which modules count for one: ours, those of its own package, and plain ones that lie beside it.

    Beside means in the same folder, where that is no place packages are installed to: a plug-in of several files.
    """

    def __init__(self, module: str) -> None:
        self.packages = OURS | {_top(module)}
        self.home = None if _top(module) in OURS else _home(module)

    def __contains__(self, module: str) -> bool:
        top = _top(module)
        return top in self.packages or (self.home is not None and _home(module) == self.home)


def _top(module: str) -> str:
    return module.partition(".")[0]


def _home(module: str) -> Path | None:
    """The folder a module's top-level package or file lies in; None if packages are installed there."""
    spec = _spec(_top(module))
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    home = Path(spec.origin).parent.parent if spec.submodule_search_locations else Path(spec.origin).parent
    installed = {Path(path) for path in sysconfig.get_paths().values()}
    return None if home in installed or home.name in ("site-packages", "dist-packages") else home


@functools.lru_cache(maxsize=4096)  # by its text, so that what changed is read again
def _import_statements(source: str, module: str, is_package: bool) -> list[tuple[str, list[str]]]:
    """(what is imported from, names taken from it) of every import statement that can run."""
    found: list[tuple[str, list[str]]] = []
    for node in _run_time_nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.extend((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module if is_package else module.rpartition(".")[0]
                base = importlib.util.resolve_name("." * node.level + base, package)
            found.append((base, [alias.name for alias in node.names]))
    return found


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
