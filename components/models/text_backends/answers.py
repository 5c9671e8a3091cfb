"""Answers already paid for, and what was spent: one SQLite file that the workers of a machine share.

An answer is committed the moment it arrives, so a killed job asks again only what was in flight. It is known by the
digest of what was asked, so that any recipe that asks the same has it for nothing. The budget is taken before asking,
by what an answer may cost at most, and given back by what it did not: concurrent workers cannot overspend it together.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pairwright.components.errors import TextModelError
from pairwright.components.models.text_backends.budget import Budget, Spent, Usage

VERSION = 2
MOST_WAITING = 4096  # slots; a time further ahead was written by a clock that was set back since
_TABLES = """
create table if not exists answers (prompt text primary key, answer text, problem text, prompt_tokens integer not null,
  completion_tokens integer not null);
create table if not exists spent (job text primary key, requests integer not null, prompt_tokens integer not null,
  completion_tokens integer not null);
create table if not exists pace (server text primary key, free_at real not null);
create table if not exists batches (batch text primary key, job text not null, id text);
create table if not exists asked (prompt text primary key, batch text not null, prompt_tokens integer not null,
  completion_tokens integer not null);
"""
_FROM_1 = """
alter table answers rename to answers_1;
alter table spent rename to spent_1;
"""
_MOVED = """
insert into answers select prompt, answer, null, 0, tokens from answers_1;
insert into spent select job, requests, 0, tokens from spent_1;
drop table answers_1;
drop table spent_1;
"""


def default_path() -> str:
    """`<workspace>/text_answers.sqlite`."""
    return str(Path(os.environ.get("PAIRWRIGHT_WORKSPACE", "workspace")) / "text_answers.sqlite")


class Answer(NamedTuple):
    """What came back: a text, or why it is none or not whole; and what it cost, None where it was turned down."""

    text: str | None
    problem: str | None = None
    usage: Usage | None = None


class Answers:
    """Answers by the digest of what was asked; spending by job; whose turn it is at a server.

    Raises:
        TextModelError: the file cannot be created, is no answers file or is of a newer release.
    """

    def __init__(self, path: str, job: str) -> None:
        self.path, self.job = path, job
        self._lock = threading.RLock()
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
            self._database.execute("pragma journal_mode=wal")
            # A killed process loses nothing by it; a power cut may lose the last answers, which are asked again.
            self._database.execute("pragma synchronous=normal")
            self._open()
        except (OSError, sqlite3.Error) as error:
            raise TextModelError(
                f"{path} cannot keep answers ({error}); set text_model.cache to a local file"
            ) from None

    def _open(self) -> None:
        with self.transaction() as database:
            version = database.execute("pragma user_version").fetchone()[0]
            if version > VERSION:
                raise TextModelError(f"{self.path} was written by a newer release; update, or set text_model.cache")
            old = database.execute("select 1 from pragma_table_info('answers') where name = 'tokens'").fetchone()
            for script in (_FROM_1 if old else "", _TABLES, _MOVED if old else ""):
                for statement in script.split(";"):
                    database.execute(statement)
            database.execute(f"pragma user_version = {VERSION}")
            database.execute("insert or ignore into spent values (?, 0, 0, 0)", (self.job,))

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is written inside, or nothing of it; no other worker writes meanwhile. May stand inside another.

        Raises:
            TextModelError: the disk is full, or another worker holds the file for a minute.
        """
        with self._lock:
            if self._database.in_transaction:
                yield self._database
                return
            try:
                self._database.execute("begin immediate")
                try:
                    yield self._database
                except BaseException:
                    self._database.execute("rollback")
                    raise
                self._database.execute("commit")
            except sqlite3.Error as error:
                raise TextModelError(f"{self.path} cannot be written ({error}); answers so far are kept") from None

    def get(self, prompt: str) -> Answer | None:
        with self._lock:
            row = self._database.execute("select answer, problem from answers where prompt = ?", (prompt,)).fetchone()
        return Answer(*row) if row else None

    def reserve(self, most: Usage, budget: Budget) -> bool:
        """Take one request, at most as dear, from the budget; False if that does not fit any more."""
        with self.transaction():
            requests, prompt, completion = self.spent
            if not budget.allows(Spent(requests + 1, prompt + most.prompt, completion + most.completion)):
                return False
            self.charge(1, most)
            return True

    def give_back(self, most: Usage) -> None:
        """Return a reserved request that cost nothing."""
        with self.transaction():
            self.charge(-1, Usage(-most.prompt, -most.completion))

    def keep(self, prompt: str, answer: Answer, most: Usage) -> None:
        """Commit an answer, and what it cost in the place of what was reserved."""
        with self.transaction() as database:
            cost = answer.usage or Usage()
            row = (prompt, answer.text, answer.problem, *cost)
            database.execute("insert or replace into answers values (?, ?, ?, ?, ?)", row)
            self.charge(0, Usage(cost.prompt - most.prompt, cost.completion - most.completion))

    def charge(self, requests: int, usage: Usage) -> None:
        """Add to what this job spent."""
        self._database.execute(
            "update spent set requests = requests + ?, prompt_tokens = prompt_tokens + ?,"
            " completion_tokens = completion_tokens + ? where job = ?",
            (requests, *usage, self.job),
        )

    def wait_s(self, server: str, seconds: float) -> float:
        """Take the next turn at a server that is asked once in so many seconds: how long until it comes."""
        with self.transaction() as database:
            row = database.execute("select free_at from pace where server = ?", (server,)).fetchone()
            now = time.time()
            turn = max(now, row[0]) if row and row[0] < now + MOST_WAITING * seconds else now
            database.execute("insert or replace into pace values (?, ?)", (server, turn + seconds))
        return turn - now

    @property
    def spent(self) -> Spent:
        with self._lock:
            row = self._database.execute(
                "select requests, prompt_tokens, completion_tokens from spent where job = ?", (self.job,)
            ).fetchone()
        return Spent(*row)

    def close(self) -> None:
        self._database.close()
