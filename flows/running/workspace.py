"""Whether a workspace can be worked in."""

from __future__ import annotations

import shutil
from pathlib import Path

from pairwright.components.errors import WorkspaceError

FREE_BYTES = 256 << 20  # what the servers' databases alone may want; columns and models come on top


def check_workspace(workspace: str) -> None:
    """Refuse a workspace that cannot be written or is as good as full, before any work.

    Raises:
        WorkspaceError: read-only or full, with the remedy.
    """
    from pairwright.components.dataset.shards.storage import write_bytes

    probe = Path(workspace) / ".writable"
    write_bytes(str(probe), b"pairwright\n")
    probe.unlink(missing_ok=True)
    free = shutil.disk_usage(workspace).free
    if free < FREE_BYTES:
        raise WorkspaceError(
            f"{workspace} has {free / 2**20:.0f} MiB left, a run needs {FREE_BYTES / 2**20:.0f}; "
            "free space or set PAIRWRIGHT_WORKSPACE elsewhere"
        )
