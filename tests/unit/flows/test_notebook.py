"""`import pairwright as pw`: instant, typed, and the same pairs, columns and errors as the command's."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import pairwright as pw
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.reading import read_pairs


def test_importing_it_imports_nothing_else() -> None:
    code = """
import sys
before = set(sys.modules)
import pairwright
print(*(name for name in set(sys.modules) - before if name.partition(".")[0] not in sys.stdlib_module_names))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["pairwright"]


def test_every_public_name_is_there_and_is_what_type_checkers_read() -> None:
    names = {name: getattr(pw, name) for name in pw.__all__}
    assert set(names) <= set(dir(pw))
    tree = ast.parse(Path(pw.__file__).read_text(encoding="utf-8"))
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    places = {a.name: node.module for node in typed.body if isinstance(node, ast.ImportFrom) for a in node.names}
    assert places == {name: value.__module__ for name, value in names.items()}
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        pw.runn  # noqa: B018


def test_pairs_are_the_dataset_s_in_order_with_pictures_as_the_scan_decodes_them(
    shapes: Callable[..., Dataset],
) -> None:
    dataset = shapes(pairs=12, shards=3)
    data = pw.open_dataset(dataset.root)
    batches = [batch for shard in dataset.shards for batch in read_pairs(shard, pixels=10_000)]
    pairs = list(data)
    assert len(pairs) == len(data) == 12
    assert [pair.key for pair in pairs] == [key for batch in batches for key in batch.keys]
    assert [pair.caption() for pair in pairs] == [text for batch in batches for text in batch.captions("alt")]
    for pair, image in zip(pairs, [image for batch in batches for image in batch.images], strict=True):
        assert np.array_equal(pair.picture, image)
        assert pair.picture_error is None
        assert pair.labels["category"]
    assert data[f"{data.name}/{pairs[7].key}"].origin == pairs[7].origin
    with pytest.raises(pw.PairwrightError, match=r'no pair of shapes is called "000o07"; keys look like "000000"'):
        data["000o07"]


def test_a_damaged_picture_is_none_with_a_reason_and_a_changed_one_an_error(shapes: Callable[..., Dataset]) -> None:
    data = pw.open_dataset(shapes(pairs=4, shards=1).root)
    pair = next(iter(data))
    held = pair.read()
    assert held is not None
    tar = Path(data.dataset.shards[0].tar)
    tar.write_bytes(tar.read_bytes().replace(held, held[:-9] + bytes(9)))
    with pytest.raises(pw.PairwrightError, match="changed since it was indexed"):
        next(iter(data)).picture  # noqa: B018


INTERRUPTED = """
import os, signal, sys, time
import pairwright as pw
import pairwright.flows.recipes as recipes
recipes.load_recipe = lambda *_: (os.kill(os.getpid(), signal.SIGINT), time.sleep(60))  # until it is heard
try:
    pw.run("quickstart", workspace=sys.argv[1])
except KeyboardInterrupt:
    print("lives on", flush=True)
"""


def test_a_run_that_is_interrupted_leaves_the_kernel_alive_and_its_output_open(tmp_path: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "workspace")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "lives on\n"), done.stderr
    assert "stopped by" not in done.stderr


def test_a_recipe_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(pw.PairwrightError, match="quickstrat") as caught:
        pw.run("quickstrat", workspace=str(tmp_path / "workspace"))
    assert "\n" not in str(caught.value)
    with pytest.raises(pw.PairwrightError, match="nothing was run in"):
        pw.read_run(workspace=str(tmp_path / "workspace"))
    with pytest.raises(pw.PairwrightError, match="no version is champion"):
        pw.load_champion(workspace=str(tmp_path / "workspace"))
    assert not (tmp_path / "workspace" / "mlflow.db").exists(), "asking made a store"
