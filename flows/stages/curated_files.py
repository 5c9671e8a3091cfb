"""The files of a curated version."""

from __future__ import annotations

from pathlib import Path

from pairwright.components.dataset.shards import storage
from pairwright.flows.running.run import Run


def files_of(run: Run, selection: Path) -> dict[str, Path]:
    """What a curated version holds: manifest, sidecars, local shards, the selection and the captions made.

    Shards on object storage stay where they are; the manifest names them by path and hash.
    """
    files = {f"selection/{p.name}": p for p in sorted(selection.iterdir()) if p.is_file()}
    root = Path(run.dataset.root)
    files["dataset/dataset.json"] = root / "dataset.json"
    for shard in run.dataset.shards:
        for path in (shard.tar, shard.sidecar):
            if not storage.is_remote(path):
                files[f"dataset/{Path(path).name}"] = Path(path)
    for step in run.plan.steps.values():
        if step.kind == "captioner" and not storage.is_remote(run.store.root):
            for shard in run.dataset.shards:
                files[f"captions/{step.name}/{shard.name}.parquet"] = Path(run.store.path(step.columns, shard.digest))
    return files
