"""Answers already paid for, and what was spent: one SQLite file that the workers of a machine share.

An answer is committed the moment it arrives, so a killed job asks again only what was in flight.
The budget is taken before asking, so that concurrent workers cannot overspend it together.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

from pairwright.components.errors import TextModelError

_TABLES = """
create table if not exists answers (prompt text primary key, answer text not null, tokens integer not null);
create table if not exists spent (job text primary key, requests integer not null, tokens integer not null);
"""


def default_path() -> str:
    """`<workspace>/text_answers.sqlite`."""
    return str(Path(os.environ.get("PAIRWRIGHT_WORKSPACE", "workspace")) / "text_answers.sqlite")


class Answers:
    """Answers by the digest of what was asked; spending by job.

    Raises:
        TextModelError: the file cannot be created or is no answers file.
    """

    def __init__(self, path: str, job: str) -> None:
        self.job = job
        self._lock = threading.Lock()
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
            self._database.execute("pragma journal_mode=wal")
            self._database.executescript(_TABLES)
            self._database.execute("insert or ignore into spent values (?, 0, 0)", (job,))
        except (OSError, sqlite3.Error) as error:
            raise TextModelError(
                f"{path} cannot keep answers ({error}); set text_model.cache to a local file"
            ) from None

    def get(self, prompt_digest: str) -> str | None:
        with self._lock:
            row = self._database.execute("select answer from answers where prompt = ?", (prompt_digest,)).fetchone()
        return row[0] if row else None

    def reserve(self, max_requests: int | None, max_tokens: int | None) -> bool:
        """Take one request from the budget; False if it is used up."""
        with self._lock:
            taken = self._database.execute(
                "update spent set requests = requests + 1 where job = ?1"
                " and (?2 is null or requests < ?2) and (?3 is null or tokens < ?3)",
                (self.job, max_requests, max_tokens),
            )
        return taken.rowcount == 1

    def give_back(self) -> None:
        """Return a reserved request that got no answer."""
        with self._lock:
            self._database.execute("update spent set requests = requests - 1 where job = ?", (self.job,))

    def keep(self, prompt_digest: str, answer: str, tokens: int) -> None:
        """Commit an answer and its tokens."""
        with self._lock:
            self._database.execute("begin immediate")
            self._database.execute("insert or replace into answers values (?, ?, ?)", (prompt_digest, answer, tokens))
            self._database.execute("update spent set tokens = tokens + ? where job = ?", (tokens, self.job))
            self._database.execute("commit")

    @property
    def spent(self) -> tuple[int, int]:
        """(requests, tokens) of this job, over all its runs and workers."""
        with self._lock:
            row = self._database.execute("select requests, tokens from spent where job = ?", (self.job,)).fetchone()
        return int(row[0]), int(row[1])

    def close(self) -> None:
        self._database.close()
