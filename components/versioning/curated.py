"""Curated versions: folders of small files, each pinned by a `.dvc` text and kept in a remote.

    version = CuratedVersions("workspace").snapshot("run-42", {"kept.parquet": path, ...})
    CuratedVersions("workspace").checkout(version.dvc_text, "restored")

The workspace has a DVC repository of its own, `<workspace>/dvc`. The `.dvc` text is all that is
needed to restore a version from the remote: it is logged with the model that was trained on it.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pairwright.components.dataset.shards.storage import is_remote, workspace_error
from pairwright.components.errors import DatasetError, WorkspaceError
from pairwright.components.versioning.repository import add_and_push, initialise, pull

FOLDER = "dvc"
REMOTE_FOLDER = "dvc-remote"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Version:
    """One snapshot.

    Attributes:
        md5: DVC's digest of the folder, ending in ".dir".
        dvc_text: the `.dvc` file's text; with the remote, enough to restore the files.
        size: bytes of all files.
        files: how many.
    """

    name: str
    md5: str
    dvc_text: str
    size: int
    files: int


class CuratedVersions:
    """The DVC repository of a workspace.

    Args:
        workspace: folder of everything a run makes.
        remote: folder or URL (`s3://bucket/prefix`) that keeps the versions; default `<workspace>/dvc-remote`.
    """

    def __init__(self, workspace: str | Path, remote: str | None = None) -> None:
        self._root = Path(workspace).resolve() / FOLDER
        remote = remote or str(Path(workspace).resolve() / REMOTE_FOLDER)
        self.remote = remote if is_remote(remote) else os.path.abspath(remote.removeprefix("file://"))

    def snapshot(self, name: str, files: Mapping[str, str | Path] | str | Path) -> Version:
        """Add and push a folder, or files by their relative names in the version.

        The same files give the same md5, whatever the name. A name used before gets the new files.

        Raises:
            DatasetError: there is nothing to keep, a file is missing or a name leaves the folder.
            WorkspaceError: the workspace or the remote cannot be written.
        """
        if not _NAME.fullmatch(name):
            raise DatasetError(f"{name!r} cannot name a version; use letters, digits, dots, dashes and underscores")
        chosen = _chosen(files)
        initialise(self._root, self.remote)
        folder = self._root / "versions" / name
        try:
            _stage(chosen, folder)
        except OSError as error:
            raise workspace_error(str(folder), error) from None
        add_and_push(self._root, folder)
        text = Path(f"{folder}.dvc").read_text(encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)  # the cache and the remote have it
        out = _pinned(text)
        return Version(name, str(out["md5"]), text, int(out["size"]), int(out["nfiles"]))

    def holds(self, dvc_text: str) -> bool:
        """Whether the remote has the version; a remote that is no folder is not asked and said to."""
        md5 = str(_pinned(dvc_text)["md5"])
        return is_remote(self.remote) or (Path(self.remote) / "files" / "md5" / md5[:2] / md5[2:]).is_file()

    def checkout(self, dvc_text: str, dest: str | Path) -> Path:
        """Restore a version's files into `dest`, from the cache or the remote.

        Raises:
            DatasetError: the text is no `.dvc` file, or the remote does not hold the version.
            WorkspaceError: `dest` holds files already, or cannot be written.
        """
        out = _pinned(dvc_text)
        target = Path(dest).resolve()
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise WorkspaceError(f"{dest} is not empty; name a new folder, or empty it first")
        initialise(self._root, self.remote)
        with tempfile.TemporaryDirectory(prefix="checkout-", dir=self._root) as scratch:
            pin = Path(scratch) / "version.dvc"
            pin.write_text(yaml.safe_dump({"outs": [{**out, "path": "files"}]}, sort_keys=False), encoding="utf-8")
            pull(self._root, [str(pin)])
            try:
                shutil.copytree(Path(scratch) / "files", target, dirs_exist_ok=True)
            except OSError as error:
                raise workspace_error(str(dest), error) from None
        return target


def _chosen(files: Mapping[str, str | Path] | str | Path) -> dict[str, Path]:
    """Relative name -> file.

    Raises:
        DatasetError: as `CuratedVersions.snapshot` says.
    """
    if isinstance(files, Mapping):
        chosen = {name: Path(path) for name, path in files.items()}
    else:
        root = Path(files)
        chosen = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}
    if not chosen:
        raise DatasetError(f"{files if not isinstance(files, Mapping) else 'the snapshot'} holds no files to keep")
    for name, path in chosen.items():
        if name.startswith("/") or ".." in Path(name).parts or not Path(name).parts:
            raise DatasetError(f"{name!r} cannot be a file of a version; use a relative name without ..")
        if not path.is_file():
            raise DatasetError(f"{path} is not a file, so version file {name!r} cannot be kept")
    return chosen


def _stage(chosen: Mapping[str, Path], folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name, path in chosen.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)


def _pinned(text: str) -> dict[str, Any]:
    """The one output a `.dvc` text pins.

    Raises:
        DatasetError: it is no `.dvc` text of a folder.
    """
    try:
        out: dict[str, Any] = yaml.safe_load(text)["outs"][0]
        if not re.fullmatch(r"[0-9a-f]{32}\.dir", out["md5"]):
            raise ValueError(f"md5 {out['md5']!r}")
        return out
    except (yaml.YAMLError, KeyError, IndexError, TypeError, ValueError) as error:
        raise DatasetError(
            f"this is not the .dvc text of a version ({error!r}); take it from the model's run"
        ) from None
