"""Fixtures every room shares."""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # `import shapes` and other plain modules beside this file

# Tensors so small that threads would wait for each other longer than they compute; and several processes share a core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("RAY_worker_niceness", "0")  # at Ray's own 15 a worker starves beside another test

# Graphs of towers (components/models/onnx): known by content, so that sessions and workers may share them.
os.environ.setdefault("PAIRWRIGHT_CACHE", str(Path(tempfile.gettempdir()) / "pairwright-test-cache"))

from pairwright.components.environment import silence

silence()
# The same examples every time, so that red means a change and not a draw. `HYPOTHESIS_PROFILE=search` draws afresh.
settings.register_profile("same", derandomize=True)
settings.register_profile("search", print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--passed-to", help="write the names of the tests that passed to this file")
    parser.addoption("--but-for", help="run no test that this file of --passed-to names")


def pytest_configure(config: pytest.Config) -> None:
    """Without a worker's: what all workers report arrives at the one that started them."""
    if (path := config.getoption("--passed-to")) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(PassedTo(Path(path)))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if path := config.getoption("--but-for"):
        passed = set(json.loads(Path(path).read_text(encoding="utf-8")))
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in passed])
        items[:] = [item for item in items if item.nodeid not in passed]


class PassedTo:
    """Writes at the end which tests passed: those skipped, and those of files that could not be imported, are not."""

    def __init__(self, path: Path) -> None:
        self.path, self.passed = path, list[str]()
        path.unlink(missing_ok=True)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.passed.append(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.path.write_text(json.dumps(self.passed), encoding="utf-8")


@pytest.fixture
def shapes(tmp_path: Path) -> Callable[..., object]:
    """Factory: `shapes(pairs=48, shards=2, name="shapes", size=96)` -> Dataset under tmp_path."""
    from shapes import shapes_dataset

    def make(pairs: int = 48, shards: int = 2, **options: object) -> object:
        return shapes_dataset(options.pop("root", tmp_path), pairs, shards, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture(autouse=True)
def warnings_are_still_heard() -> Iterator[None]:
    """No test, and nothing it calls, silences the process for those after it."""
    yield
    assert logging.getLogger("pairwright").isEnabledFor(logging.WARNING), "a root logger's level or disable() was left"
