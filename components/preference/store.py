"""Labels as they are given: one SQLite file, in which every acknowledged answer is on the disk.

    store = LabelStore("workspace/labels/raw.sqlite")
    store.add_items(sample_items(pool, 200))
    serving = store.open_servings("ann", 1)[0]
    store.answer(serving.token, answer)

Write-ahead log with `synchronous=FULL`: the commit returns after fsync, so a killed process, and a lost
power supply, lose nothing that was acknowledged. Events (answer, skip, undo, unreadable) are only ever
appended; triggers refuse the rest. What counts is the view `live`: answers and skips not undone. Any
number of servers may open the file; who gets which picture is in components/preference/handing.py.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pairwright.components.dataset.shards.storage import workspace_error
from pairwright.components.errors import DatasetError, WorkspaceError
from pairwright.components.hashing import canonical, sha256_text
from pairwright.components.preference.answers import Answer
from pairwright.components.preference.candidates import Candidate
from pairwright.components.preference.criteria import Criteria
from pairwright.components.preference.items import RANDOM, SHARES, Item, StoredItem

STORE_VERSION = 1
BUSY_SECONDS = 20
OVERLAP = 0.2  # share of items answered by several labellers
REMEDIES = {
    "SQLITE_FULL": "free space on its disk",
    "SQLITE_BUSY": "another process has held it for long; end that one",
    "SQLITE_READONLY": "make the file and its folder writable",
}
REMEDY = "see that its disk is there and can be written, or name another file with --store"
ANSWER, SKIP, UNDO, UNREADABLE = "answer", "skip", "undo", "unreadable"

SCHEMA = """
CREATE TABLE items (
  id INTEGER PRIMARY KEY, shard TEXT NOT NULL, row INTEGER NOT NULL, key TEXT NOT NULL,
  candidates TEXT NOT NULL, share TEXT NOT NULL, uncertainty REAL NOT NULL, wanted INTEGER NOT NULL,
  UNIQUE (shard, row));
CREATE TABLE criteria (digest TEXT PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE servings (
  token TEXT PRIMARY KEY, item INTEGER NOT NULL REFERENCES items, labeller TEXT NOT NULL,
  ordering TEXT NOT NULL, repeat INTEGER NOT NULL, place REAL NOT NULL, until REAL NOT NULL);
CREATE INDEX servings_of ON servings (labeller, item);
CREATE TABLE events (
  id INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, kind TEXT NOT NULL, labeller TEXT NOT NULL,
  item INTEGER NOT NULL REFERENCES items, token TEXT UNIQUE, repeat INTEGER NOT NULL DEFAULT 0,
  answer TEXT, criteria TEXT, undoes INTEGER UNIQUE REFERENCES events);
CREATE INDEX events_of ON events (item, labeller);
CREATE INDEX spoilt ON events (item) WHERE kind = 'unreadable';
CREATE TRIGGER events_stay BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are only appended'); END;
CREATE TRIGGER events_last BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are only appended'); END;
CREATE VIEW live AS SELECT * FROM events e WHERE kind IN ('answer', 'skip')
  AND NOT EXISTS (SELECT 1 FROM events u WHERE u.undoes = e.id);
"""


@dataclass(frozen=True)
class Given:
    """One answer that counts: whose, of which item, and whether it was asked again (`repeat`)."""

    event: int
    time: float
    labeller: str
    item: StoredItem
    answer: Answer
    repeat: bool
    criteria: str | None


@dataclass(frozen=True)
class Annotated:
    """An answer given elsewhere: whose, to which item."""

    item: Item
    labeller: str
    answer: Answer


class LabelStore:
    """The file of one labelling session. Safe to use from many threads.

    Raises:
        WorkspaceError: the file cannot be opened, is no label store, or a newer release wrote it; from any
            method, the disk is full or gone, or another process does not let go of the file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._db.row_factory = sqlite3.Row
            self._open()
        except OSError as error:
            raise workspace_error(str(self.path), error) from None
        except sqlite3.Error as error:
            raise WorkspaceError(f"{self.path} cannot be opened as a label store: {error}; name another file") from None

    def _open(self) -> None:
        self._db.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        with self.transaction() as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > STORE_VERSION:
                raise WorkspaceError(f"{self.path} was written by a newer release; upgrade pairwright")
            if version == 0:
                for statement in _statements(SCHEMA):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {STORE_VERSION}")

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @property
    def name(self) -> str:
        """Tells this file from every other and stays when the dataset grows; says nothing of where it is."""
        return sha256_text(str(self.path.resolve()))[:16]

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection inside one write transaction; on leaving it is committed and on the disk."""
        with self._lock, self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the disk or another process keeps SQLite from doing, as an error with its remedy.

        A broken constraint is neither: it stays SQLite's own error, for it is a mistake of ours.
        """
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            remedy = REMEDIES.get(getattr(error, "sqlite_errorname", ""), REMEDY)
            raise WorkspaceError(f"{self.path} cannot be used: {error}; {remedy}") from error

    def read(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """Rows of a query; `values` are its `?`s, or one mapping of its `:names`."""
        named = values[0] if len(values) == 1 and isinstance(values[0], Mapping) else values
        with self._lock, self._told():
            return self._db.execute(query, named).fetchall()

    def add_items(self, items: Iterable[Item], *, overlap: float = OVERLAP, labellers: int = 2) -> int:
        """Append items; how many were new. One that is there stays, and counts as random if it comes again as that.

        Args:
            overlap: share of items wanted from several labellers, for agreement.
            labellers: how many that is.
        """
        with self.transaction() as db:
            added = 0
            for item in items:
                added += _insert(db, item, overlap, labellers)
                if item.share == RANDOM:
                    db.execute("UPDATE items SET share = ? WHERE shard = ? AND row = ?", (RANDOM, item.shard, item.row))
            return added

    def items(self) -> list[StoredItem]:
        return [_item(row) for row in self.read("SELECT * FROM items ORDER BY id")]

    def shards(self) -> set[str]:
        """Digests of the shards its items are of."""
        return {row["shard"] for row in self.read("SELECT DISTINCT shard FROM items")}

    def item(self, number: int) -> StoredItem | None:
        rows = self.read("SELECT * FROM items WHERE id = ?", number)
        return _item(rows[0]) if rows else None

    def remember(self, criteria: Criteria) -> None:
        """Keep the criteria's text, so that every answer can name what was asked."""
        with self.transaction() as db:
            db.execute("INSERT OR IGNORE INTO criteria VALUES (?, ?)", (criteria.digest, criteria.text))

    def criteria_texts(self) -> dict[str, str]:
        return {row["digest"]: row["text"] for row in self.read("SELECT * FROM criteria ORDER BY digest")}

    def append(
        self,
        db: sqlite3.Connection,
        kind: str,
        labeller: str,
        item: int,
        *,
        token: str | None = None,
        repeat: bool = False,
        answer: Answer | None = None,
        criteria: str | None = None,
        undoes: int | None = None,
    ) -> int:
        """One event, inside a transaction; its number."""
        said = None if answer is None else json.dumps(answer.as_dict(), ensure_ascii=False)
        values = (time.time(), kind, labeller, item, token, int(repeat), said, criteria, undoes)
        cursor = db.execute(
            "INSERT INTO events (time, kind, labeller, item, token, repeat, answer, criteria, undoes) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )
        return int(cursor.lastrowid or 0)

    def take_in(self, annotated: Iterable[Annotated], rows: Mapping[str, int]) -> int:
        """Append answers given elsewhere, with their items where they are not here; how many were new.

        Args:
            rows: shard digest -> rows, of the dataset they are of.

        Raises:
            DatasetError: a pair is not in the dataset, is of no known share, or has other captions here;
                nothing is taken in.
        """
        annotated = list(annotated)
        with self.transaction() as db:
            self._check(annotated, rows)
            for one in annotated:
                _insert(db, one.item)
            numbers = {(item.shard, item.row): item.id for item in self.items()}
            return sum(self._take_in(db, one, numbers[one.item.shard, one.item.row]) for one in annotated)

    def _check(self, annotated: Iterable[Annotated], rows: Mapping[str, int]) -> None:
        captions = {(item.shard, item.row): item.candidates for item in self.items()}
        for item in (one.item for one in annotated):
            if not 0 <= item.row < rows.get(item.shard, 0):
                raise DatasetError(f"{item.key} is in no shard of this dataset; import into the one it came from")
            if item.share not in SHARES:
                raise DatasetError(
                    f'{item.key} is of share "{item.share}", which nothing reads; its share is {" or ".join(SHARES)}'
                )
            if captions.setdefault((item.shard, item.row), item.candidates) != item.candidates:
                raise DatasetError(f"{item.key} has other captions in {self.path}; import into another --store")

    def _take_in(self, db: sqlite3.Connection, one: Annotated, item: int) -> bool:
        """Whether the answer is new: neither given already, here or by an earlier import, nor taken back since."""
        said = canonical([one.labeller, one.item.shard, one.item.row, one.answer.as_dict()])
        token = "import-" + sha256_text(said)
        given = "SELECT 1 FROM live WHERE item = ? AND labeller = ? UNION SELECT 1 FROM events WHERE token = ?"
        if db.execute(given, (item, one.labeller, token)).fetchone():
            return False
        self.append(db, ANSWER, one.labeller, item, token=token, answer=one.answer)
        return True

    def given(self) -> list[Given]:
        """Every answer that counts, in the order given."""
        items = {item.id: item for item in self.items()}
        return [
            Given(
                row["id"],
                row["time"],
                row["labeller"],
                items[row["item"]],
                Answer.from_dict(json.loads(row["answer"])),
                bool(row["repeat"]),
                row["criteria"],
            )
            for row in self.read("SELECT * FROM live WHERE kind = 'answer' ORDER BY id")
        ]


def _insert(db: sqlite3.Connection, item: Item, overlap: float = OVERLAP, labellers: int = 2) -> bool:
    """Whether the item is new; of one that is there nothing changes."""
    wanted = labellers if _share_of(f"{item.shard} {item.row}") < overlap else 1
    captions = canonical([asdict(one) for one in item.candidates])
    added = db.execute(
        "INSERT OR IGNORE INTO items (shard, row, key, candidates, share, uncertainty, wanted) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (item.shard, item.row, item.key, captions, item.share, item.uncertainty, wanted),
    ).rowcount
    return added > 0


def _item(row: Mapping[str, Any] | sqlite3.Row) -> StoredItem:
    values = dict(row)
    values["candidates"] = tuple(Candidate(**one) for one in json.loads(values["candidates"]))
    return StoredItem(**values)


def _share_of(text: str) -> float:
    """A number in [0, 1) that follows from the text."""
    return int(sha256_text(text)[:12], 16) / 16**12


def _statements(script: str) -> list[str]:
    """The script's statements; a trigger's own `;` stands before END."""
    found, part = [], ""
    for line in script.strip().splitlines():
        part += line + "\n"
        if sqlite3.complete_statement(part):
            found.append(part)
            part = ""
    return found
