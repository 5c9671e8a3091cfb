"""Artifacts that are folders: selections, models, metrics. Committed whole or not at all.

<root>/<kind>/<digest>/...        the files
<root>/<kind>/<digest>/COMMIT.json    rows of {file: bytes}; written last; only then is it trusted
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.dataset import storage
from components.digest import file_sha256
from components.errors import DatasetError

COMMIT = "COMMIT.json"
STALE_SECONDS = 24 * 3600


@dataclass(frozen=True)
class ArtifactStore:
    """Folders by (kind, digest) under a local root."""

    root: str

    def path(self, kind: str, digest: str) -> Path:
        return Path(self.root) / kind / digest

    def has(self, kind: str, digest: str) -> bool:
        """Whether it is committed and no file of it was cut short since."""
        folder = self.path(kind, digest)
        try:
            files = storage.read_json(str(folder / COMMIT))["files"]
            return all((folder / name).stat().st_size == entry["bytes"] for name, entry in files.items())
        except (OSError, KeyError, DatasetError):
            return False

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
            storage.write_json(str(partial / COMMIT), {"files": files})
            os.chmod(partial, 0o755)
            if final.exists():
                shutil.rmtree(final)
            os.replace(partial, final)
        except OSError as error:
            raise storage.workspace_error(str(final), error) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left half-made; a day old, it is nobody's any more."""
    for left in folder.glob(".partial-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(left)
