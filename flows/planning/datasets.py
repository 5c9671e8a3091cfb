"""Finding the dataset a path names: a pinned corpus is pulled, and what is made from one made, on first use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# (folder, dataset) -> (kind of source, what it is made from if anything, where it goes), beside the pinned data.
MADE: dict[tuple[str, str], tuple[str, str | None, str]]
MADE = {("build", "demo-shop"): ("demo-shop", "data/raw", "build/demo-shop")}
MADE |= {("build", "figures"): ("figures", "data/emoji", "build/figures")}
MADE |= {("build", f"scenes{ending}"): ("scenes", "data/emoji", "build") for ending in ("", "-dev", "-test")}
MADE |= {("build", f"sounds{ending}"): ("sounds", None, "build") for ending in ("", "-dev", "-test")}


def find_dataset(path: str) -> Any:
    """The dataset at a path; a pinned corpus is pulled, and what is made from one made, when it is not there yet.

    A corpus comes whole (data/emoji with data/emoji-dev and data/emoji-test) and alone: the others stay away.

    Raises:
        DatasetError: there is no dataset.
    """
    from pairwright.components.dataset.dataset import open_dataset
    from pairwright.components.dataset.shards.storage import exists, is_remote, join

    if not is_remote(path) and not exists(join(path, "dataset.json")):
        root = Path(path).resolve().parent
        if root.name == "data" and (root.parent / "data.dvc").is_file():
            from pairwright.components.versioning import pull_data, pulled_together

            pull_data(root.parent, pulled_together(Path(path).name))
        elif (root.name, Path(path).name) in MADE and (root.parent / "data.dvc").is_file():
            from pairwright.components.dataset.ingest import ingest

            kind, source, dest = MADE[root.name, Path(path).name]
            made_from = None if source is None else str(root.parent / source)
            if made_from is not None:
                find_dataset(made_from)
            ingest(kind, made_from, str(root.parent / dest))
    return open_dataset(str(Path(path).resolve()) if not is_remote(path) else path)
