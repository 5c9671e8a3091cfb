"""`kill -9` of an ingest at a random moment, then the same command: the same dataset, nothing read twice."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from shapes import encoded
from tars import make_tar, pairs

from pairwright.components.dataset.dataset import open_dataset
from pairwright.components.dataset.ingest import ingest
from pairwright.components.errors import DatasetError

CODE = """
import sys
from pairwright.components.dataset.ingest import ingest
print("begun", flush=True)
ingest(sys.argv[1], sys.argv[2], sys.argv[3], **eval(sys.argv[4]))
"""


def _killed(kind: str, source: Path, dest: Path, options: dict, after: float) -> int:
    command = [sys.executable, "-c", CODE, kind, str(source), str(dest), repr(options)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"begun\n"
    time.sleep(after)
    process.kill()
    process.stdout.close()
    return process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["webdataset", "imagefolder"])
def test_a_killed_ingest_is_finished_by_the_same_command(tmp_path, kind):
    source = tmp_path / "in"
    if kind == "webdataset":
        options = {"threads": 1}
        for number in range(40):
            make_tar(source / f"{number:05d}.tar", pairs(10))
    else:
        options = {"pairs_per_shard": 20}
        source.mkdir()
        for number in range(800):
            (source / f"{number:05d}.jpg").write_bytes(encoded(number, 24))
    whole = ingest(kind, str(source), str(tmp_path / "whole"), **options)
    draw, ended = random.Random(), []
    for _ in range(3):
        ended.append(_killed(kind, source, tmp_path / "dest", options, draw.uniform(0.0, 0.12)))
        if ended[-1] != 0 and not (tmp_path / "dest/dataset.json").exists():
            with pytest.raises(DatasetError, match="is not a dataset"):
                open_dataset(str(tmp_path / "dest"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "dest").glob("*.parquet.json")}
    again = ingest(kind, str(source), str(tmp_path / "dest"), **options)
    assert [shard.digest for shard in again.shards] == [shard.digest for shard in whole.shards]
    assert {path: path.stat().st_mtime_ns for path in before} == before  # what had been recorded was not redone
    assert -9 in ended, "no run was slow enough to be killed; make the source larger"
