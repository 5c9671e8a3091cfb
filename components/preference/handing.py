"""Who gets which picture: different ones to different labellers, some to several, some twice to the same.

    desk = Desk(store, [shard.digest for shard in dataset.shards])
    for serving in desk.open("ann", 3): ...

A labeller gets what they took back, then what is open with them (so a reload goes on where it was), then
now and then a picture they answered before with its captions in the opposite order (their own
consistency), then new pictures in the items' order. A picture wanted from one labeller is leased: nobody
else gets it before the lease ends. Captions are shuffled for each labeller and picture.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pairwright.components.hashing import sha256_text
from pairwright.components.preference.answers import Answer, BadAnswer, checked_answer
from pairwright.components.preference.criteria import Criteria
from pairwright.components.preference.items import StoredItem
from pairwright.components.preference.store import ANSWER, SKIP, UNDO, UNREADABLE, LabelStore

LEASE_SECONDS = 15 * 60.0
AWAY_SECONDS = 60.0  # before a shard that could not be read is tried again
REPEAT_AFTER = 5  # answers that must lie between a picture and its repetition

_OPEN = "NOT EXISTS (SELECT 1 FROM events o WHERE o.token = s.token)"
_NEW = f"""
WITH taken AS (
  SELECT item, labeller FROM live WHERE kind = '{ANSWER}' AND repeat = 0
  UNION SELECT item, labeller FROM servings s WHERE repeat = 0 AND until > :now AND {_OPEN}),
enough AS (SELECT item FROM taken JOIN items ON id = item GROUP BY item HAVING count(*) >= wanted)
SELECT id FROM items
WHERE shard IN (SELECT value FROM json_each(:shards))
  AND id NOT IN (SELECT item FROM enough)
  AND id NOT IN (SELECT item FROM live WHERE labeller = :me)
  AND id NOT IN (SELECT item FROM servings s WHERE labeller = :me AND {_OPEN})
  AND id NOT IN (SELECT item FROM events WHERE kind = '{UNREADABLE}')
ORDER BY id"""
_MINE = f"""
SELECT * FROM servings s
WHERE labeller = :me AND {_OPEN}
  AND EXISTS (SELECT 1 FROM items i WHERE i.id = s.item AND i.shard IN (SELECT value FROM json_each(:shards)))
  AND NOT EXISTS (SELECT 1 FROM events e WHERE e.item = s.item AND e.kind = '{UNREADABLE}')
  AND NOT (until < :now AND place > 0 AND repeat = 0 AND
    (SELECT count(DISTINCT l.labeller) FROM live l
      WHERE l.item = s.item AND l.kind = '{ANSWER}' AND l.repeat = 0 AND l.labeller <> :me)
    >= (SELECT wanted FROM items WHERE id = s.item))
ORDER BY place"""

_SESSION = f"""
SELECT count(*) AS items,
  coalesce(sum(id IN (SELECT item FROM live WHERE kind = '{ANSWER}')), 0) AS answered,
  coalesce(sum(id IN (SELECT item FROM events WHERE kind = '{UNREADABLE}')), 0) AS unreadable
FROM items WHERE shard IN (SELECT value FROM json_each(:shards))"""


@dataclass(frozen=True)
class Serving:
    """A picture in a labeller's hands: `ordering[p]` is the number of the caption shown at position p."""

    token: str
    item: StoredItem
    labeller: str
    ordering: tuple[int, ...]
    repeat: bool


class Desk:
    """Hands out a store's items, of these shards only, and takes answers, skips and undos."""

    def __init__(self, store: LabelStore, shards: Iterable[str], *, seed: int = 0, repeat_share: float = 0.1) -> None:
        self.store = store
        self.shards = tuple(sorted(shards))
        self._away: dict[str, tuple[float, str]] = {}  # shard -> (until, why), by time.monotonic()
        self.seed = seed
        self.repeat_share = repeat_share

    def open(self, labeller: str, count: int) -> list[Serving]:
        """The labeller's next `count` servings, fewer at the end; those still open come first, their leases renewed."""
        now = time.time()
        with self.store.transaction() as db:
            mine = self._mine(labeller)
            while len(mine) < count and self._open_one(db, labeller, now):
                mine = self._mine(labeller)
            for serving in mine[:count]:
                db.execute("UPDATE servings SET until = ? WHERE token = ?", (now + LEASE_SECONDS, serving.token))
        return mine[:count]

    def _mine(self, labeller: str) -> list[Serving]:
        """What is open with them, but pictures that others answered after the lease had ended."""
        return [self._serving(row) for row in self.store.read(_MINE, self._asked(labeller))]

    def _asked(self, labeller: str) -> dict[str, Any]:
        away = self.away()
        here = json.dumps([shard for shard in self.shards if shard not in away])
        return {"me": labeller, "now": time.time(), "shards": here}

    def _serving(self, row: Any) -> Serving:
        item = self.store.item(row["item"])
        assert item is not None, "a serving is of an item"
        return Serving(row["token"], item, row["labeller"], tuple(json.loads(row["ordering"])), bool(row["repeat"]))

    def _open_one(self, db: Any, labeller: str, now: float) -> bool:
        """Open a repetition if one is due, else the first free new item; False if there is none."""
        again = self._due_again(labeller)
        if again is not None:
            number, ordering = again
            self._insert(db, number, labeller, ordering, repeat=True, place=now)
            return True
        row = db.execute(f"{_NEW} LIMIT 1", self._asked(labeller)).fetchone()
        if row is None:
            return False
        item = self.store.item(row["id"])
        assert item is not None, "it was just read"
        self._insert(db, item.id, labeller, self.shuffled(item, labeller), repeat=False, place=now)
        return True

    def _insert(self, db: Any, item: int, labeller: str, ordering: list[int], *, repeat: bool, place: float) -> None:
        last = db.execute("SELECT max(place) FROM servings WHERE labeller = ?", (labeller,)).fetchone()[0]
        place = place if place < 0 else max(place, (last or 0.0) + 1e-3)  # in the order opened, whatever the clock
        db.execute(
            "INSERT INTO servings VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                secrets.token_hex(12),
                item,
                labeller,
                json.dumps(ordering),
                int(repeat),
                place,
                time.time() + LEASE_SECONDS,
            ),
        )

    def shuffled(self, item: StoredItem, labeller: str) -> list[int]:
        """The order a labeller sees an item's captions in; the same for the same seed, labeller and item."""
        words = sha256_text(f"{self.seed} {labeller} {item.shard} {item.row}")
        generator = np.random.default_rng(int(words, 16))
        return [int(i) for i in generator.permutation(len(item.candidates))]

    def _due_again(self, labeller: str) -> tuple[int, list[int]] | None:
        """(item, reversed order) of the oldest answer due to be asked again, or None."""
        answered = self.store.read(
            "SELECT l.item, s.ordering, l.answer FROM live l JOIN servings s ON s.token = l.token "
            "JOIN items i ON i.id = l.item AND i.shard IN (SELECT value FROM json_each(:shards)) "
            "WHERE l.labeller = :me AND l.kind = 'answer' AND l.repeat = 0 ORDER BY l.id",
            self._asked(labeller),
        )
        repeated = {
            row["item"]
            for row in self.store.read(
                f"SELECT item FROM live WHERE labeller = ? AND repeat = 1 "
                f"UNION SELECT item FROM servings s WHERE labeller = ? AND repeat = 1 AND {_OPEN}",
                labeller,
                labeller,
            )
        }
        if len(repeated) >= int(self.repeat_share * len(answered) + 1e-9):
            return None
        for row in answered[: max(len(answered) - REPEAT_AFTER, 0)]:
            if row["item"] not in repeated and json.loads(row["answer"])["picture"] is None:
                return row["item"], json.loads(row["ordering"])[::-1]
        return None

    def answer(
        self, token: str, labeller: str, said: Mapping[str, Any], criteria: Criteria
    ) -> tuple[int, Answer | None]:
        """Keep what the page said of a serving; (its event, the answer, None for a skip). Sent twice, it is kept once.

        Raises:
            BadAnswer: no such serving of this labeller, or the answer does not fit it.
        """
        with self.store.transaction() as db:
            row = db.execute("SELECT * FROM servings WHERE token = ? AND labeller = ?", (token, labeller)).fetchone()
            if row is None:
                raise BadAnswer(f"{labeller} was handed no such picture; reload the page")
            serving = self._serving(row)
            skipped = said.get("skip") is True
            answer = None if skipped else checked_answer(said, serving.ordering, criteria)
            known = db.execute("SELECT id FROM events WHERE token = ?", (token,)).fetchone()
            if known is not None:
                return int(known["id"]), answer
            event = self.store.append(
                db,
                SKIP if skipped else ANSWER,
                labeller,
                serving.item.id,
                token=token,
                repeat=serving.repeat,
                answer=answer,
                criteria=criteria.digest,
            )
        return event, answer

    def undo(self, labeller: str) -> int | None:
        """Take the labeller's last answer or skip back and hand its picture out again.

        Returns its event, None if there is nothing to take back.
        """
        with self.store.transaction() as db:
            last = db.execute(
                "SELECT l.id, l.item, l.repeat, s.ordering FROM live l JOIN servings s ON s.token = l.token "
                "WHERE l.labeller = ? ORDER BY l.id DESC LIMIT 1",
                (labeller,),
            ).fetchone()
            if last is None:
                return None
            self.store.append(db, UNDO, labeller, last["item"], undoes=last["id"])
            ordering = json.loads(last["ordering"])
            self._insert(db, last["item"], labeller, ordering, repeat=bool(last["repeat"]), place=-time.time())
            return int(last["id"])

    def set_aside(self, item: int) -> None:
        """Hand an item out no more: its picture cannot be read."""
        with self.store.transaction() as db:
            self.store.append(db, UNREADABLE, "", item)

    def leave_out(self, shard: str, reason: str) -> None:
        """Hand out nothing of a shard for AWAY_SECONDS: its tar cannot be read.

        Unlike a picture that is none, a tar may be back as soon as its disk is, so the file notes nothing.
        """
        self._away[shard] = (time.monotonic() + AWAY_SECONDS, reason)

    def away(self) -> dict[str, str]:
        """The shards that are left out now, and why."""
        now = time.monotonic()
        return {shard: reason for shard, (until, reason) in list(self._away.items()) if until > now}

    def progress(self, labeller: str) -> dict[str, int]:
        """Counts for a progress bar: what this labeller did and may still do, and what all have done of how much.

        `items` is the session: it moves neither with an answer, a skip or a picture that cannot be read, nor with
        what others hold; `left`, which does, is no part of a share.
        """
        read = self.store.read
        mine = read("SELECT kind, repeat, count(*) AS n FROM live WHERE labeller = ? GROUP BY kind, repeat", labeller)
        counts = {(row["kind"], row["repeat"]): row["n"] for row in mine}
        with self.store.transaction() as db:
            free = len(db.execute(_NEW, self._asked(labeller)).fetchall())
        opened = sum(not serving.repeat for serving in self._mine(labeller))
        (whole,) = read(_SESSION, {"shards": json.dumps(self.shards)})
        return {
            "answered": counts.get((ANSWER, 0), 0),
            "repeated": counts.get((ANSWER, 1), 0),
            "skipped": counts.get((SKIP, 0), 0) + counts.get((SKIP, 1), 0),
            "left": free + opened,
            "items": whole["items"],
            "items_answered": whole["answered"],
            "unreadable": whole["unreadable"],
        }
