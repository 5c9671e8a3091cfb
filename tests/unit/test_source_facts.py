"""What was found of a text of code is found once, and counts only as long as all it hangs on is as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pairwright.components.source_facts import Ask, Facts

TEXT = "import other\n"


class Neighbour:
    """Another module, which may change."""

    def __init__(self, says: str) -> None:
        self.says = says


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PAIRWRIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def counting(found: list[str], text: str = TEXT) -> Callable[[Ask], str]:
    def find(ask: Ask) -> str:
        found.append(text)
        return f"{text} beside {ask('says', 'other')}"

    return find


def facts_of(other: Neighbour, finder: str = "finder") -> Facts:
    return Facts({"says": lambda _: other.says}, finder)


def test_a_fact_is_found_once_in_this_process_and_in_the_next() -> None:
    found: list[str] = []
    first = facts_of(Neighbour("hello"))
    assert first.of("digest", TEXT, counting(found)) == first.of("digest", TEXT, counting(found))
    assert facts_of(Neighbour("hello")).of("digest", TEXT, counting(found)) == f"{TEXT} beside hello"
    assert found == [TEXT]


def test_it_is_found_again_when_what_it_hangs_on_is_answered_otherwise() -> None:
    found: list[str] = []
    other = Neighbour("hello")
    facts = facts_of(other)
    facts.of("digest", TEXT, counting(found))
    other.says = "goodbye"
    assert facts.of("digest", TEXT, counting(found)) == f"{TEXT} beside goodbye"
    assert facts_of(other).of("digest", TEXT, counting(found)) == f"{TEXT} beside goodbye"
    assert len(found) == 2


def test_kinds_texts_and_finders_are_kept_apart() -> None:
    found: list[str] = []
    other = Neighbour("hello")
    facts_of(other).of("digest", TEXT, counting(found))
    facts_of(other).of("shape", TEXT, counting(found))
    assert facts_of(other).of("digest", "pass\n", counting(found, "pass\n")) == "pass\n beside hello"
    facts_of(other, "mended finder").of("digest", TEXT, counting(found))
    assert len(found) == 4
    facts_of(other).of("digest", TEXT, counting(found))
    facts_of(other).of("shape", TEXT, counting(found))
    assert len(found) == 4, "the second kind is kept beside the first"


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1, 2]", b"\xff\xfe", None])
def test_a_damaged_file_is_no_fact(cache: Path, damage: bytes | None) -> None:
    found: list[str] = []
    facts_of(Neighbour("hello")).of("digest", TEXT, counting(found))
    (path,) = (path for path in cache.rglob("*") if path.is_file())
    path.write_bytes(path.read_bytes().replace(b"beside", b"before") if damage is None else damage)
    assert facts_of(Neighbour("hello")).of("digest", TEXT, counting(found)) == f"{TEXT} beside hello"
    assert len(found) == 2


def test_where_nothing_can_be_kept_it_is_found_all_the_same(cache: Path) -> None:
    cache.write_text("a file where the folder would be")
    found: list[Any] = []
    assert facts_of(Neighbour("hello")).of("digest", TEXT, counting(found)) == f"{TEXT} beside hello"


def test_what_cannot_be_written_whole_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("pairwright.components.source_facts.os.replace", full)
    found: list[str] = []
    assert facts_of(Neighbour("hello")).of("digest", TEXT, counting(found)) == f"{TEXT} beside hello"
    assert not [path for path in cache.rglob("*") if path.is_file()]


MODULES = ("pairwright.components.training.run", "pairwright.components.filter.scorers.alignment")
DIGESTS = f"""
from pairwright.components.source_code import source_digest
print(*(source_digest(name) for name in {MODULES}))
"""


@pytest.mark.slow
def test_a_digest_is_the_same_from_facts_kept_before(cache: Path) -> None:
    def digests() -> str:
        return subprocess.run(
            [sys.executable, "-c", DIGESTS], env=dict(os.environ), capture_output=True, text=True, check=True
        ).stdout

    first = digests()
    kept = {path: path.stat().st_mtime_ns for path in cache.rglob("*.json")}
    assert len(kept) > 50
    assert digests() == first
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.json")} == kept, "nothing was found again"
