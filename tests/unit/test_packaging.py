"""What is installed is called `pairwright` and nothing else, and is whole: no folder of a user's can shadow a part."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("components", "flows", "serving")
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"


def built(hook: str, source: Path, into: Path) -> Path:
    """What setuptools makes of `source`, as pip asks it to, without a network."""
    command = [sys.executable, "-c", BUILD, hook, str(into)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return into / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository's code, links as links, that a build may litter."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("pairwright", *ROOMS):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("build_wheel", checkout, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def files_of(checkout: Path) -> set[str]:
    """Every file of the package and its rooms, by the path it has once installed."""
    top = {f"pairwright/{path.name}" for path in (checkout / "pairwright").iterdir() if path.is_file()}
    found = (path for room in ROOMS for path in (checkout / room).rglob("*") if path.is_file())
    return top | {f"pairwright/{path.relative_to(checkout)}" for path in found}


def test_the_wheel_installs_pairwright_and_nothing_else(unpacked: Path) -> None:
    folders = {path.name for path in unpacked.iterdir() if not path.name.endswith(".dist-info")}
    assert folders == {"pairwright"}
    (listed,) = unpacked.glob("*.dist-info/top_level.txt")
    assert listed.read_text().split() == ["pairwright"]


def test_the_wheel_holds_every_file_of_ours(checkout: Path, unpacked: Path) -> None:
    held = {str(path.relative_to(unpacked)) for path in (unpacked / "pairwright").rglob("*") if path.is_file()}
    assert files_of(checkout) <= held
    kinds = {Path(name).suffix for name in held}
    assert {".yaml", ".txt", ".css", ".js", ".html", ".svg", ".j2"} <= kinds
    assert "pairwright/components/models/towers/imagenet_labels.txt" in held
    assert "pairwright/flows/recipes/quickstart.yaml" in held
    assert "pairwright/py.typed" in held


def test_a_source_distribution_holds_the_files_and_not_the_links(checkout: Path, tmp_path: Path) -> None:
    with tarfile.open(built("build_sdist", checkout, tmp_path)) as archive:
        members = archive.getmembers()
    assert not [member.name for member in members if member.issym()]
    assert files_of(checkout) <= {member.name.partition("/")[2] for member in members}


@pytest.fixture
def users_folder(tmp_path: Path) -> Path:
    """A folder whose own `components`, `flows` and `serving` refuse to be imported."""
    for room in ROOMS:
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text("raise ImportError('a folder of the user was imported')\n")
    return tmp_path


def python(unpacked: Path, folder: Path, *arguments: str) -> str:
    """What Python prints in `folder`, with the unpacked wheel installed."""
    environment = {**os.environ, "PYTHONPATH": str(unpacked), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_folders_of_the_same_names_shadow_nothing(unpacked: Path, users_folder: Path) -> None:
    code = "import pairwright, pairwright.flows.cli; print(pairwright.__file__, pairwright.flows.cli.__file__)"
    installed = unpacked / "pairwright"
    assert python(unpacked, users_folder, "-c", code).split() == [
        str(installed / "__init__.py"),
        str(installed / "flows/cli.py"),
    ]


@pytest.mark.slow
def test_the_installed_command_reads_its_own_recipes_and_templates(unpacked: Path, users_folder: Path) -> None:
    assert "quickstart" in python(unpacked, users_folder, "-m", "pairwright.flows.cli", "recipes")
    python(unpacked, users_folder, "-m", "pairwright.flows.cli", "new", "scorer", "sharpness")
    assert (users_folder / "sharpness/sharpness.py").is_file()
