"""Artifacts that are folders: selections, models, metrics. Committed whole or not at all.

<root>/<kind>/<digest>/...        the files, fsynced
<root>/<kind>/<digest>/COMMIT.json    {file: its bytes and SHA-256}; written last; only then is it trusted

Trusted means checked: whoever reads such a folder calls `check_committed`, which hashes its files once a
process. What was damaged is made again where that is cheap; a trained model and what was released to
others is refused with the file's name, because the user may have a copy and it took hours to make.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.integrity import verified
from pairwright.components.errors import DatasetError, WorkspaceError
from pairwright.components.hashing import canonical, file_sha256, sha256_text
from pairwright.components.shared_files import share_files

COMMIT = "COMMIT.json"
STALE_SECONDS = 24 * 3600
COSTLY = frozenset({"models", "releases", "versions"})  # refused when damaged, not made again
SHARING = frozenset({"models"})  # whose large files are there once, however many folders hold them


@dataclass(frozen=True)
class ArtifactStore:
    """Folders by (kind, digest) under a local root."""

    root: str

    def path(self, kind: str, digest: str) -> Path:
        return Path(self.root) / kind / digest

    def has(self, kind: str, digest: str) -> bool:
        """Whether it is committed and every file of it still what was committed.

        Raises:
            WorkspaceError: a file of one of the `COSTLY` kinds is damaged.
        """
        folder = self.path(kind, digest)
        if not (folder / COMMIT).exists():
            return False
        if kind in COSTLY:
            check_committed(folder)
            return True
        damaged = _damaged(folder)
        if damaged is not None:
            _say_once(f"{damaged} changed since it was committed; it is made again")
        return damaged is None

    @contextmanager
    def commit(self, kind: str, digest: str) -> Iterator[Path]:
        """A fresh folder to fill; it takes its place, with its commit record, on leaving cleanly.

        Raises:
            WorkspaceError: the disk is full or read-only.
        """
        final = self.path(kind, digest)
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            _sweep(final.parent)
            partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=final.parent))
        except OSError as error:
            raise storage.workspace_error(str(final), error) from None
        try:
            yield partial
            files = {
                str(p.relative_to(partial)): {"bytes": p.stat().st_size, "sha256": file_sha256(p)}
                for p in sorted(partial.rglob("*"))
                if p.is_file()
            }
            if kind in SHARING:
                share_files(Path(self.root), partial, files)
            for path in sorted(partial.rglob("*"), reverse=True):  # a folder after what is in it
                storage.fsync(path)
            storage.write_json(str(partial / COMMIT), {"files": files})
            os.chmod(partial, 0o755)
            if final.exists():
                shutil.rmtree(final)
            os.replace(partial, final)
            storage.fsync(final.parent)
        except OSError as error:
            raise storage.workspace_error(str(final), error) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def content_digest(folder: str | Path) -> str:
    """Of the files of a committed folder, as its record has them: neither its place nor its name counts.

    Raises:
        DatasetError: it holds no commit record.
    """
    files = storage.read_json(str(Path(folder) / COMMIT))["files"]
    return sha256_text(canonical({name: entry["sha256"] for name, entry in files.items()}))


def check_committed(folder: str | Path) -> None:
    """Nothing, if each file of the folder is what its commit record says, or it has no record (a folder of the user's).

    Raises:
        WorkspaceError: a file is not.
    """
    damaged = _damaged(Path(folder)) if (Path(folder) / COMMIT).exists() else None
    if damaged is not None:
        raise WorkspaceError(
            f"{damaged} changed since it was committed; restore it, or delete {folder} and run the recipe again"
        )


def _damaged(folder: Path) -> Path | None:
    """The first file that is not what was committed: gone, cut short or changed."""
    try:
        files = storage.read_json(str(folder / COMMIT))["files"]
        for name, entry in files.items():
            if not verified(str(folder / name), entry["sha256"]):
                return folder / name
    except (KeyError, TypeError, AttributeError, DatasetError):
        return folder / COMMIT
    except OSError:
        return folder / name
    return None


@functools.lru_cache(1024)
def _say_once(line: str) -> None:
    logging.getLogger(__name__).warning(line)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left half-made; a day old, it is nobody's any more."""
    for left in folder.glob(".partial-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(left)
