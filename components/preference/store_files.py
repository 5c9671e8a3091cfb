"""Which file keeps a dataset's labels: the one whose pictures it still has, however it has grown since.

    store_files("workspace/labels", dataset)[0]

A store is named by the dataset and by the digest it had when labelling began. What makes it the dataset's
is not that digest, which every ingested shard changes, but a shard in common: two datasets of one name
share none, and each keeps a file of its own.
"""

from __future__ import annotations

import glob
from pathlib import Path

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.preference.store import LabelStore

DIGITS = 8  # of the digest


def store_files(folder: str | Path, dataset: Dataset) -> list[Path]:
    """The dataset's stores in a folder, the one with most answers first; where to begin one if there is none.

    Raises:
        WorkspaceError: a file of this name is damaged or a newer release's, so that it cannot be told whose it is.
    """
    new = Path(folder) / f"{dataset.name}-{dataset.digest[:DIGITS]}.sqlite"
    shards = {shard.digest for shard in dataset.shards}
    answers: dict[Path, int] = {}
    for path in Path(folder).glob(f"{glob.escape(dataset.name)}-{'[0-9a-f]' * DIGITS}.sqlite"):
        store = LabelStore(path)
        try:
            if shards & store.shards():
                answers[path] = len(store.given())
        finally:
            store.close()
    return sorted(answers, key=lambda path: (-answers[path], path != new, path)) or [new]
