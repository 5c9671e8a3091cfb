"""What several models hold is on disk once, and each model is whole whatever becomes of the others."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pairwright.components.artifact import ArtifactStore, check_committed
from pairwright.components.shared_files import SHARED, WORTH_BYTES

TOWER = np.random.default_rng(0).bytes(3 * WORTH_BYTES)


def model(store: ArtifactStore, name: str, tower: bytes = TOWER, kind: str = "models") -> Path:
    with store.commit(kind, name) as partial:
        (partial / "config.json").write_text(name)
        (partial / "model.safetensors").write_bytes(name.encode() * 100)
        (partial / "image_tower.safetensors").write_bytes(tower)
    return store.path(kind, name)


def disk_bytes(root: Path) -> int:
    files = {(s.st_dev, s.st_ino): s.st_blocks * 512 for s in (p.stat() for p in root.rglob("*") if p.is_file())}
    return sum(files.values())


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "workspace"))


def test_nine_models_of_one_tower_weigh_one_tower(store: ArtifactStore) -> None:
    folders = [model(store, f"m{number}") for number in range(9)]
    assert disk_bytes(Path(store.root)) < 1.2 * len(TOWER)
    for folder in folders:
        assert (folder / "image_tower.safetensors").read_bytes() == TOWER
        assert sorted(path.name for path in folder.iterdir()) == [
            "COMMIT.json", "config.json", "image_tower.safetensors", "model.safetensors"
        ]  # fmt: skip
        check_committed(folder)


def test_a_model_outlives_the_others_and_the_last_takes_the_tower_with_it(store: ArtifactStore) -> None:
    first, second = model(store, "first"), model(store, "second")
    shutil.rmtree(first)
    check_committed(second)
    copied = Path(shutil.copytree(second, Path(store.root) / "copied"))
    shutil.rmtree(second)
    assert (copied / "image_tower.safetensors").read_bytes() == TOWER
    model(store, "other", TOWER[::-1])
    assert len(list(Path(store.root, SHARED).iterdir())) == 1, "what no model holds is forgotten"


def test_a_damaged_tower_reaches_no_later_model(store: ArtifactStore) -> None:
    first = model(store, "first")
    with open(first / "image_tower.safetensors", "r+b") as stream:  # in place, as a failing disk does
        stream.write(b"damage")
    second, third = model(store, "second"), model(store, "third")
    for folder in (second, third):
        check_committed(folder)
    assert (second / "image_tower.safetensors").samefile(third / "image_tower.safetensors")


def test_what_is_no_model_is_not_linked(store: ArtifactStore) -> None:
    a, b = (model(store, name, kind="indexes") for name in ("a", "b"))
    assert not (a / "image_tower.safetensors").samefile(b / "image_tower.safetensors")


def test_without_hard_links_a_model_is_committed_all_the_same(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*paths: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("os.link", refuse)
    for name in ("first", "second"):
        folder = model(store, name)
        check_committed(folder)
        assert (folder / "image_tower.safetensors").read_bytes() == TOWER
