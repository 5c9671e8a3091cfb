"""Digests of code: what a module says and what it imports, wherever its files lie.

    source_digest("pairwright.components.filter.scorers.alignment")

A digest is of what code does, so it leaves out what does nothing: comments, layout, docstrings, the order of
imports that stand together, and the place of a module of ours. Where one of our modules names another, the name
is replaced by a digest of that other's code (its shape), so that moving a file changes nothing and importing
the same name from other code changes everything.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pairwright.components.hashing import canonical, sha256_text
from pairwright.components.source_facts import Ask, Facts

OURS = frozenset(("pairwright", "components", "flows", "serving"))


@functools.cache
def source_digest(module: str) -> str:
    """Digest of a module's code and of every module of ours, or of its own plug-in, that it imports."""
    parts = {module_digest(name) for name in _closure(module) if not _says_nothing(_source_of(name))}
    return sha256_text(canonical(sorted(parts)))


def module_digest(module: str) -> str:
    """Digest of a module's own code, whatever it imports."""
    return code_digest(_source_of(module))


def code_digest(source: str) -> str:
    """Digest of Python source that ignores comments, layout, docstrings and where modules of ours lie."""
    found: str = _facts().of("digest", source, lambda ask: _digest(source, ask, lambda name: ask("shape", name)))
    return found


def _shape(module: str) -> str:
    """Digest of a module's own code with the names of our modules left out; it follows no import."""
    source = _source_of(module)
    found: str = _facts().of("shape", source, lambda ask: _digest(source, ask, lambda _: ""))
    return found


def _digest(source: str, ask: Ask, said_of: Callable[[str], str]) -> str:
    return sha256_text(ast.dump(_Placeless(ask, said_of).visit(_without_docstrings(ast.parse(source)))))


def _says_nothing(source: str) -> bool:
    """Whether this is the empty file that only makes a folder a package."""

    def find(_: Ask) -> bool:
        body = ast.parse(source).body
        return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)

    return bool(_facts().of("says nothing", source, find))


@functools.cache
def _facts() -> Facts:
    questions = {"there": lambda name: _spec(name) is not None, "package": _is_package, "shape": _shape}
    return Facts(questions, Path(__file__).read_text(encoding="utf-8"))


class _Placeless(ast.NodeTransformer):
    """Replaces the names of our modules, in imports and in strings, by what `said_of` says of them."""

    def __init__(self, ask: Ask, said_of: Callable[[str], str]) -> None:
        self.ask, self.said_of = ask, said_of

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """A string that names a module: it is opened or digested by that name, and counts where that is done."""
        if isinstance(node.value, str) and self._names_ours(node.value):
            return ast.Constant("<module>")
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(node, field, None)
            if isinstance(statements, list):
                setattr(node, field, list(self._in_order(statements)))
        return node

    def visit_If(self, node: ast.If) -> Any:
        """What only a type checker reads never runs."""
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return [self.visit(statement) for statement in node.orelse]
        return self.generic_visit(node)

    def _in_order(self, statements: list[ast.stmt]) -> Iterator[ast.stmt]:
        """Statements with each run of imports sorted: isort orders them by names that move."""
        run: list[ast.stmt] = []
        for statement in statements:
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                run.extend(self._placeless(statement))
            else:
                yield from sorted(run, key=ast.dump)
                run = []
                yield statement
        yield from sorted(run, key=ast.dump)

    def _placeless(self, statement: ast.Import | ast.ImportFrom) -> Iterator[ast.stmt]:
        for alias in statement.names:
            if isinstance(statement, ast.Import):
                place = f"<{self.said_of(alias.name)}>" if _is_ours(alias.name) else alias.name
                yield ast.Import([ast.alias(place, alias.asname)])
            elif statement.level or not _is_ours(statement.module or ""):
                yield ast.ImportFrom(statement.module, [alias], statement.level)
            else:
                outer = str(statement.module)
                inner = f"{outer}.{alias.name}"
                submodule = self.ask("package", outer) and self.ask("there", inner)
                said = self.said_of(inner if submodule else outer)
                yield ast.ImportFrom(f"<{said}>", [alias], 0)

    def _names_ours(self, text: str) -> bool:
        """Whether a string is the dotted name of a module inside one of our rooms."""
        rooms = text.removeprefix("pairwright.")
        dotted = "." in rooms and all(part.isidentifier() for part in rooms.split("."))
        return dotted and _is_ours(text) and bool(self.ask("there", text))


def _is_ours(module: str) -> bool:
    return _top(module) in OURS


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


def _import_statements(source: str, module: str, is_package: bool) -> Iterator[tuple[str, list[str]]]:
    """(what is imported from, names taken from it) of every import statement that can run."""
    package = module if is_package else module.rpartition(".")[0]
    for level, base, names in _facts().of("imports", source, lambda _: list(_imports_in(source))):
        yield importlib.util.resolve_name("." * level + base, package) if level else base, names


def _imports_in(source: str) -> Iterator[tuple[int, str, list[str]]]:
    """(level, what is imported from, names taken from it)."""
    for node in _run_time_nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", [alias.name for alias in node.names]


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
