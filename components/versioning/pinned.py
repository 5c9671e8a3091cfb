"""The corpora under `data/`, pinned by `data.dvc` and pulled from the remote inside the repository.

    pull_data(".")                                       # all of them
    pull_data(".", pulled_together("emoji-dev"))         # data/emoji, data/emoji-dev, data/emoji-test

`data_version` and `is_current` read `data.dvc` and the remote's manifest themselves, so that DVC is
imported only when something has to be pulled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from pairwright.components.errors import DatasetError

PIN = "data.dvc"
REMOTE = "infra/dvc-remote"
DEMO = ("raw", "dev", "test")  # the demo corpus's folders


def data_version(root: str | Path) -> str:
    """The md5 that `data.dvc` pins, e.g. "0123...cdef.dir".

    Raises:
        DatasetError: there is no `data.dvc`, or it pins nothing.
    """
    return str(_pinned(Path(root))["md5"])


def pulled_together(name: str) -> tuple[str, ...]:
    """The folders of one corpus, named by one of them: the demo corpus's, or `X`, `X-dev` and `X-test`."""
    if name in DEMO:
        return DEMO
    stem = name.removesuffix("-dev").removesuffix("-test")
    return (stem, f"{stem}-dev", f"{stem}-test")


def is_current(root: str | Path, folders: Sequence[str] = ()) -> bool:
    """Whether every pinned file is there with the pinned bytes (reads them all: 0.1 s for 40 MiB).

    Args:
        folders: of the data folder, that are looked at; none: the whole.
    """
    data = Path(root) / _pinned(Path(root))["path"]
    try:
        return all(_md5(data / name) == md5 for name, md5 in _manifest(Path(root), folders))
    except OSError:
        return False


def pull_data(root: str | Path, folders: Sequence[str] = ()) -> Path:
    """The data folder, pulled from the embedded remote if it is absent, incomplete or changed.

    Idempotent. A file that is not pinned is removed from what is pulled, as DVC does.

    Args:
        folders: of the data folder, that are pulled; none: the whole. One that is not pinned is passed over.

    Raises:
        DatasetError: the pin or the remote is missing or damaged.
        MissingDependency: something has to be pulled and dvc is not installed.
        WorkspaceError: another process holds DVC's lock for too long.
    """
    base = Path(root).resolve()
    data = base / _pinned(base)["path"]
    if not is_current(base, folders):
        from pairwright.components.versioning.repository import pull

        pinned = {_folder_of(name) for name, _ in _manifest(base, folders)}
        pull(base, [str(data / one) for one in sorted(pinned)] if folders else [str(base / PIN)])
        if not is_current(base, folders):
            raise DatasetError(f"{data} still differs from {PIN} after a pull; delete {data} and .dvc/cache, retry")
    return data


def _pinned(root: Path) -> dict[str, Any]:
    pin = root / PIN
    try:
        out: dict[str, Any] = yaml.safe_load(pin.read_text(encoding="utf-8"))["outs"][0]
        return {"md5": out["md5"], "path": out["path"]}
    except FileNotFoundError:
        raise DatasetError(f"{pin} is missing; run inside a clone of the repository, or name your own data") from None
    except (OSError, yaml.YAMLError, KeyError, IndexError, TypeError) as error:
        raise DatasetError(f"{pin} is damaged ({error!r}); restore it with `git checkout {PIN}`") from None


def _manifest(root: Path, folders: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """(relative path, md5) of every pinned file (of these folders), from the embedded remote.

    Raises:
        DatasetError: the remote does not hold the pinned version.
    """
    md5 = data_version(root)
    listing = root / REMOTE / "files" / "md5" / md5[:2] / md5[2:]
    try:
        for entry in json.loads(listing.read_bytes()):
            if not folders or _folder_of(entry["relpath"]) in folders:
                yield entry["relpath"], entry["md5"]
    except (OSError, ValueError, KeyError, TypeError):
        raise DatasetError(f"{listing} is missing or damaged; restore it with `git checkout {REMOTE}`") from None


def _folder_of(name: str) -> str:
    """The first part of a pinned file's path."""
    return name.partition("/")[0]


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
