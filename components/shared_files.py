"""Files that several artifacts of a workspace hold are there once, as hard links: nine models, one locked tower.

<root>/shared/<SHA-256>    a link to the file, for as long as another folder links to it, too

A folder is whole whether or not its files are links, and may be copied, moved or deleted like any other. Nothing of
ours writes into a committed file. Where the file system knows no hard links, files stay copies.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairwright.components.dataset.shards.integrity import verified
from pairwright.components.errors import DatasetError

SHARED = "shared"
WORTH_BYTES = 1 << 20  # a smaller file is not worth a link


def share_files(root: Path, folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Replace large files of `folder` by links to the same bytes an earlier folder has; offer the rest to later ones.

    Args:
        files: relative name -> `bytes` and `sha256`, as in a commit record.
    """
    pool = root / SHARED
    with contextlib.suppress(OSError, DatasetError):
        _forget_unused(pool)
        for name, entry in files.items():
            if entry["bytes"] >= WORTH_BYTES:
                pool.mkdir(parents=True, exist_ok=True)
                _share(pool / entry["sha256"], folder / name, entry["sha256"])


def _share(kept: Path, file: Path, sha256: str) -> None:
    if kept.exists() and verified(str(kept), sha256):
        _link(kept, file)
    else:  # none yet, or one that was damaged: the file is what its hash says, just now
        _link(file, kept)


def _link(source: Path, target: Path) -> None:
    """Put a link to `source` in the place of `target`, in one step."""
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    os.link(source, beside)
    os.replace(beside, target)  # does nothing where both are one file already
    beside.unlink(missing_ok=True)


def _forget_unused(pool: Path) -> None:
    """Drop what no folder links to any more."""
    for kept in pool.iterdir() if pool.is_dir() else ():
        with contextlib.suppress(OSError):
            if kept.stat().st_nlink == 1:
                kept.unlink()
