"""Fixtures every room shares."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `import shapes` and other plain modules beside this file

from components.environment import silence

silence()


@pytest.fixture
def shapes(tmp_path: Path) -> Callable[..., object]:
    """Factory: `shapes(pairs=48, shards=2, name="shapes", size=96)` -> Dataset under tmp_path."""
    from shapes import shapes_dataset

    def make(pairs: int = 48, shards: int = 2, **options: object) -> object:
        return shapes_dataset(options.pop("root", tmp_path), pairs, shards, **options)  # type: ignore[arg-type]

    return make
