"""A workspace that was moved or copied takes its MLflow store with it.

MLflow writes down where each artifact lies as an absolute path. The store beside `mlartifacts` says so of another
folder only if the workspace was moved or copied since; then every such path is rewritten, in one transaction, before
anything is read: a copy never reads the original's models.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

ARTIFACTS = "mlartifacts"
LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
LOCK_SECONDS = 30.0


def follow_the_workspace(database: Path) -> bool:
    """Rewrite the paths of artifacts if the store's folder is not where it was; whether it was not.

    Only what lies in the store's own `mlartifacts` moves with it; artifacts elsewhere, or on a server, stay named.
    """
    if not database.is_file():
        return False
    here = f"{database.resolve().parent}/{ARTIFACTS}/"
    with closing(sqlite3.connect(database, timeout=LOCK_SECONDS)) as store, store:
        elsewhere = [root for root in _roots(store) if root != here]
        for root in elsewhere:
            for table, column in LOCATIONS:
                store.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    (here, len(root) + 1, len(root), root),
                )
    return bool(elsewhere)


def _roots(store: sqlite3.Connection) -> list[str]:
    """Every `.../mlartifacts/` that an experiment of ours lies in."""
    try:
        found = store.execute("SELECT artifact_location FROM experiments").fetchall()
    except sqlite3.DatabaseError:  # no tables yet, or not MLflow's
        return []
    marker = f"/{ARTIFACTS}/"
    locations = [str(location) for (location,) in found if location]
    return sorted({location[: location.rindex(marker) + len(marker)] for location in locations if marker in location})
