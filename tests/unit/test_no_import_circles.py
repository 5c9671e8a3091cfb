"""No two files import each other, by whatever detour: not inside a function, and not for types either."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ROOTS = ("components", "flows", "serving")

Graph = Mapping[str, Mapping[str, list[int]]]  # file -> what it imports -> the lines that do


def files_under(folder: Path, roots: tuple[str, ...], package: str = "") -> dict[str, Path]:
    """Module name -> file; the folders are installed inside `package`."""
    paths = [path for root in roots for path in sorted((folder / root).rglob("*.py"))]
    names = [".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return {f"{package}{name}": path for name, path in zip(names, paths, strict=True)}


def imports_of(files: Mapping[str, Path]) -> Graph:
    return {name: lines_by_import(name, path, files) for name, path in files.items()}


def lines_by_import(name: str, path: Path, files: Mapping[str, Path]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for imported in imported_by(node, package, files):
            if imported != name:
                found.setdefault(imported, []).append(node.lineno)  # type: ignore[attr-defined]
    return found


def imported_by(node: ast.AST, package: str, files: Mapping[str, Path]) -> Iterator[str]:
    """Files of ours that an import statement names: the submodule where the name is one, else the module."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in files)
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        base = ".".join([*above, *([node.module] if node.module else [])])
        for alias in node.names:
            submodule = f"{base}.{alias.name}"
            if submodule in files or base in files:
                yield submodule if submodule in files else base


def reachable(graph: Graph, start: str) -> set[str]:
    """What a file imports, by whatever detour; itself only if it stands in a circle."""
    found: set[str] = set()
    todo = list(graph[start])
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo.extend(graph[name])
    return found


def circles(graph: Graph) -> list[list[str]]:
    """Strongly connected components of more than one file."""
    reach = {name: reachable(graph, name) for name in graph}
    found = {frozenset(other for other in reach[name] if name in reach[other]) for name in graph if name in reach[name]}
    return sorted(sorted(circle) for circle in found)


def told(graph: Graph, circle: list[str]) -> str:
    """Each import that keeps the circle closed, with its lines."""
    edges = [
        f"  {name}:{','.join(map(str, lines))} imports {other}"
        for name in circle
        for other, lines in graph[name].items()
        if other in circle
    ]
    return "\n".join([f"{len(circle)} files import each other:", *edges])


@pytest.mark.slow
def test_no_files_import_each_other():
    graph = imports_of(files_under(REPOSITORY, ROOTS, "pairwright."))
    assert all(graph[f"pairwright.{root}.{file}"] for root, file in (("components", "digest"), ("serving", "web")))
    assert graph["pairwright.flows.pipeline"]
    found = circles(graph)
    assert not found, "\n" + "\n".join(told(graph, circle) for circle in found)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("import pack.b", "import pack.a"),
        ("from pack import b", "from pack.a import x"),
        (
            "def f():\n    from pack.b import x",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pack.a",
        ),
        ("from . import b", "from .a import x"),
        ("from pack.c import x", "from pack import a"),
    ],
)
def test_a_circle_is_found_however_it_is_imported(tmp_path, first, second):
    for name, text in {
        "__init__": "",
        "a": first,
        "b": second,
        "c": "from pack.b import x",
        "d": "import pack.a",
    }.items():
        (tmp_path / "pack").mkdir(exist_ok=True)
        (tmp_path / "pack" / f"{name}.py").write_text(text)
    graph = imports_of(files_under(tmp_path, ("pack",)))
    (circle,) = circles(graph)
    assert {"pack.a", "pack.b"} <= set(circle)
    assert "pack.d" not in circle
    assert f"pack.a:{1 + first.count(chr(10))} imports" in told(graph, circle)
