"""A digest of code is of what it says: not of where its files lie, nor of the order in which it imports."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairwright.components import source_code
from pairwright.components.source_code import code_digest

PLACED = """
from __future__ import annotations
import json
from typing import TYPE_CHECKING
from pairwright.components.errors import ModelError
from pairwright.components.models.towers.pixels import squash
if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
NAME = "pairwright.components.models.towers.pixels"
def read(rows):
    from pairwright.components.hashing import canonical
    return canonical(rows)
"""


@pytest.fixture
def moved(monkeypatch):
    """As if every module of ours lay in other rooms, with the same text: `moved(source)` reads it there."""
    read, spec = source_code._source_of, source_code._spec

    def back(name):
        return name.replace("pairwright.rooms.elsewhere.", "components.")

    monkeypatch.setattr(source_code, "_source_of", lambda name: read(back(name)))
    monkeypatch.setattr(source_code, "_spec", lambda name: spec(back(name)))
    return lambda source: source.replace("components.", "pairwright.rooms.elsewhere.")


def test_moving_files_changes_no_digest(moved):
    assert moved(PLACED) != PLACED
    assert code_digest(moved(PLACED)) == code_digest(PLACED)


def test_the_order_of_imports_and_what_only_a_type_checker_reads_count_for_nothing():
    lines = PLACED.strip().splitlines()
    sorted_otherwise = "\n".join([lines[0], lines[4], lines[3], lines[1], lines[2], *lines[5:]])
    assert code_digest(sorted_otherwise) == code_digest(PLACED)
    assert code_digest(PLACED.replace("dataset import Dataset", "pairs import PairBatch")) == code_digest(PLACED)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("towers.pixels import squash", "towers.towers import squash"),  # the same name, of other code
        ("towers.pixels import squash", "towers.pixels import squash as squeeze"),
        ("import json", "import orjson as json"),
        ("hashing import canonical", "digest import canonical"),
        ("return canonical(rows)", "return canonical(rows[1:])"),
    ],
)
def test_what_is_imported_and_what_is_done_with_it_count(before, after):
    assert before in PLACED
    assert code_digest(PLACED.replace(before, after)) != code_digest(PLACED)


@pytest.mark.slow
def test_every_module_of_ours_has_a_digest_and_no_two_that_differ_share_one():
    folder = Path(source_code.__file__).parent
    modules = [
        ".".join(["pairwright.components", *path.relative_to(folder).with_suffix("").parts])
        for path in folder.rglob("*.py")
    ]
    modules = [module for module in modules if not module.endswith("__init__") and ".page" not in module]
    found = {module: source_code.module_digest(module) for module in modules}
    assert len(set(found.values())) == len(modules)
