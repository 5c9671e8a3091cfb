"""A server's SQLite database, empty and migrated: made once for each version and user, then copied to new workspaces.

    if not take_empty(database, "prefect-3.4.25.db"):
        ...                                             # migrate, which takes seconds
        keep_empty(database, "prefect-3.4.25.db")

What opens a database migrates what stands there in any case, so a copy that is missing, old, damaged or not to be
written costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from pairwright.components.environment import cache_folder


def take_empty(database: Path, name: str) -> bool:
    """Put a copy of what was kept under this name where no database is yet; whether one stands there now."""
    with contextlib.suppress(OSError, sqlite3.Error):
        if not database.exists():
            _copy(cache_folder() / name, database, os.link)  # which replaces nothing
    return database.exists()


def keep_empty(database: Path, name: str, without: tuple[str, ...] = ()) -> None:
    """Keep a copy of a database that was just made, its rows in the tables `without` left out."""
    with contextlib.suppress(OSError, sqlite3.Error):
        cache_folder().mkdir(parents=True, exist_ok=True)
        _copy(database, cache_folder() / name, os.replace, without)


def _copy(source: Path, target: Path, publish: Callable[[Path, Path], None], without: tuple[str, ...] = ()) -> None:
    """Copy a migrated SQLite database, its log included, whole or not at all.

    Raises:
        OSError, sqlite3.Error: there is none, or no room.
    """
    partial = target.with_name(f".{target.name}-{os.getpid()}")
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as read,
            contextlib.closing(sqlite3.connect(partial)) as written,
        ):
            read.execute("SELECT version_num FROM alembic_version")
            read.backup(written)
            for table in without:
                written.execute(f"DELETE FROM {table}")
            written.commit()
            written.execute("PRAGMA journal_mode = DELETE")  # one file, to be read where nothing can be written
        publish(partial, target)
    finally:
        partial.unlink(missing_ok=True)
