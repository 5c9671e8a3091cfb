"""What the page asks for, as plain facts: about the run, a page of pairs, a histogram, one pair.

with open_explorer(exploration) as explorer:
    explorer.page(Wanted(filter="NOT near.drop"), start=0, count=60)["items"]
"""

from __future__ import annotations

import functools
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from pairwright.components.errors import DatasetError, PairwrightError
from pairwright.components.explore.bins import Histograms
from pairwright.components.explore.exploration import Exploration
from pairwright.components.explore.filtering import LABELS
from pairwright.components.explore.history import brief, captions_of, history
from pairwright.components.explore.opening import open_tables
from pairwright.components.explore.pictures import Pictures
from pairwright.components.explore.plain_values import plain
from pairwright.components.explore.saved import RULE, SavedSelections
from pairwright.components.explore.scratch import BASE, rows_of
from pairwright.components.explore.search import Search, Wanted
from pairwright.components.explore.tables import Tables
from pairwright.components.explore.verdict_tables import VERDICT, Verdicts
from pairwright.components.filter.rules.expression import Names, Rule, bind
from pairwright.components.filter.rules.ledger import Ledger
from pairwright.components.filter.rules.sql_functions import ask, quoted
from pairwright.components.filter.rules.verdicts import VERDICT as VERDICT_SCHEMA

MOST_ITEMS = 400  # of one answer
MOST_CAPTIONS = 8  # of one tile
MOST_TEXT = 400  # characters of one of them
FIRST_HISTOGRAMS = 6
PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Explorer:
    """One exploration, open. Every method may be called from any thread."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.exploration = tables.exploration
        self.verdicts = Verdicts(tables)
        self.search = Search(tables, self.verdicts)
        self.histograms = Histograms(self.search)
        self.pictures = Pictures(tables)
        self.closing = threading.Event()
        self._saving = threading.Lock()
        workspace = tables.exploration.workspace
        self.saved = SavedSelections(workspace, tables.exploration.view.dataset.name) if workspace else None
        for one in self.saved.all() if self.saved else ():
            self.verdicts.add(one.place)

    def about(self) -> dict[str, Any]:
        """The run, its columns and selections, and what is missing."""
        dataset = self.exploration.view.dataset
        selections, broken = self._selections()
        known = {selection["name"] for selection in selections}
        own = self.exploration.own if self.exploration.own in known else None
        columns = self.verdicts.scope(own, own if len(selections) > 1 else None).values()
        return {
            "name": self.exploration.name,
            "dataset": {
                "name": dataset.name,
                "pairs": dataset.rows,
                "shards": len(dataset.shards),
                "licence": dataset.licence,
            },
            "columns": [{"name": c.name, "sql": sql_name(c.name), "type": c.type, "kind": c.kind} for c in columns],
            "selections": selections,
            "own": own,
            "saves": self.saved is not None,
            "histograms": self._telling(own),
            "gaps": [gap.says() for gap in self.tables.gaps.values()] + broken,
        }

    def page(self, wanted: Wanted, start: int, count: int) -> dict[str, Any]:
        """Some pairs of what was found, and how many there are. Raises InvalidQuery."""
        found = self.search.found(wanted)
        numbers = [int(n) for n in found.numbers[max(start, 0) : max(start, 0) + min(count, MOST_ITEMS)]]
        return {
            "found": len(found.numbers),
            "of": self.tables.rows,
            "classes": found.classes,
            "thresholds": found.thresholds,
            "start": max(start, 0),
            "items": self._items(wanted, numbers),
        }

    def pair(self, digest: str, row: int, wanted: Wanted) -> dict[str, Any] | None:
        """One pair's whole history, with its neighbours in what was found; None if there is no such pair."""
        number = self.tables.number(digest, row)
        if number is None:
            return None
        chosen = [name for name in (wanted.first, wanted.second) if name]
        return history(self.search, number, chosen) | self._neighbours(wanted, number)

    def save(self, name: Any, tags: Any, wanted: Wanted, asked: Mapping[str, str]) -> dict[str, Any]:
        """Save what is found as a selection. Raises DatasetError, WorkspaceError, InvalidQuery."""
        with self._saving:
            verdicts = self._verdict_table(self.search.shown(wanted))
            made = self._saves().save(name, tags, verdicts, asked, self.exploration.view)
            self.verdicts.add(made.place)
        return {"saved": made.place.name, "label": made.place.label}

    def delete(self, name: Any) -> dict[str, Any]:
        """Delete a saved selection. Raises DatasetError, WorkspaceError."""
        with self._saving:
            places = [one.place.name for one in self._saves().all() if one.name == name]
            self._saves().delete(name)
            for place in places:
                self.verdicts.remove(place)
        return {"deleted": name, "places": places}

    def _saves(self) -> SavedSelections:
        if self.saved is None:
            raise DatasetError("nothing can be saved here; open a run of a workspace")
        return self.saved

    def _verdict_table(self, shown: np.ndarray) -> pa.Table:
        """Kept: the pairs shown, but those that could not be read, which failed whatever was asked."""
        found = self.tables.numbers(f'SELECT "key", error IS NOT NULL AS broken, error FROM {rows_of(BASE)}')
        broken = np.asarray(found["broken"], dtype=bool)
        status = np.where(broken, "failed", np.where(shown, "kept", "dropped"))
        rule = pa.array(np.where(status == "dropped", RULE, ""), mask=status != "dropped")
        shards = [shard.digest for shard in self.exploration.shards]
        rows = [shard.rows for shard in self.exploration.shards]
        columns = {
            "shard": pa.array(np.repeat(np.array(shards, dtype=object), rows)),
            "row": pa.array(np.concatenate([np.arange(n, dtype=np.int32) for n in rows] or [np.zeros(0, np.int32)])),
            "key": pa.array(found["key"].tolist(), pa.string()),
            "status": pa.array(status),
            "rule": rule,
            "detail": pa.array(np.ma.filled(found["error"], "").tolist(), mask=~broken),
        }
        nulls = {field.name: pa.nulls(len(shown), field.type) for field in VERDICT_SCHEMA}
        return pa.table(
            [columns.get(f.name, nulls[f.name]).cast(f.type) for f in VERDICT_SCHEMA], schema=VERDICT_SCHEMA
        )

    def warm(self) -> None:
        """Lay down every table, so that nobody waits for one; ends early when the explorer closes."""
        for table in self.tables.tables:
            if self.closing.is_set():
                return
            try:
                self.tables.need([table])
            except PairwrightError:  # told to whoever asks for it
                continue

    def stop(self) -> None:
        """Give up what is being worked out, so that nobody who closes the explorer waits for it."""
        self.closing.set()
        self.tables.stop()

    def _items(self, wanted: Wanted, numbers: list[int]) -> list[dict[str, Any]]:
        scope = self.search.scope(wanted)
        names = [wanted.sort] if wanted.sort in scope else []
        if wanted.first:
            names += [f"{VERDICT}.status", f"{VERDICT}.rule"]
        values = self.tables.lookup(scope, numbers, names)
        classes, codes = self.verdicts.classes(wanted.first, wanted.second)
        items = []
        told = captions_of(self.search, numbers, MOST_CAPTIONS)
        for number, pair, said, value in zip(numbers, brief(self.search, numbers), told, values, strict=True):
            items.append(
                pair
                | {
                    "class": classes[codes[number]],
                    "rule": value.get(f"{VERDICT}.rule"),
                    "value": plain(value.get(wanted.sort)),
                    "captions": [{"source": c["source"], "text": c["text"][:MOST_TEXT]} for c in said],
                }
            )
        return items

    def _neighbours(self, wanted: Wanted, number: int) -> dict[str, Any]:
        """Where the pair stands in what was found, and the pairs before and after it."""
        numbers = self.search.found(wanted).numbers
        at = np.flatnonzero(numbers == number)
        if not len(at):
            return {"rank": None, "found": len(numbers), "before": None, "after": None}
        rank = int(at[0])
        around = {"before": rank - 1, "after": rank + 1}
        places = {name: self._address(int(numbers[i])) if 0 <= i < len(numbers) else None for name, i in around.items()}
        return {"rank": rank, "found": len(numbers), **places}

    def _address(self, number: int) -> str:
        shard, row = self.tables.place(number)
        return f"{shard.digest}/{row}"

    def _selections(self) -> tuple[list[dict[str, Any]], list[str]]:
        """The selections that can be read, and in words those that cannot."""
        readable, broken = [], []
        saved = {one.place.name: one for one in self.saved.all()} if self.saved else {}
        for place in list(self.verdicts.places.values()):
            try:
                summary = self.verdicts.summary(place.name)
                ledger = Ledger.from_dict(summary["ledger"])
                counts = {"kept": ledger.kept, "dropped": ledger.pairs_dropped, "failed": ledger.pairs_failed}
            except (PairwrightError, KeyError, TypeError) as error:
                broken.append(f"the selection {place.label} cannot be shown: {error}")
                continue
            entry = {"name": place.name, "label": place.label, "counts": counts, "rules": summary["rules"]}
            if place.name in saved:
                one = saved[place.name]
                entry["saved"] = {"name": one.name, "tags": one.tags, "asked": one.asked}
            readable.append(entry)
        return readable, broken

    def _telling(self, own: str | None) -> list[str]:
        """Columns whose histograms are shown first: those that the rules read, else the first scores."""
        columns = self.tables.columns
        named: list[str] = []
        if own:
            for name, expression in self.verdicts.rules(own).items():
                try:
                    named += bind(
                        Rule(name, expression), Names(n for n in columns if not n.startswith("pair."))
                    ).columns
                except PairwrightError:  # a rule over a step that is not here
                    continue
        numbers = [name for name, column in columns.items() if column.kind == "number"]
        chosen = (
            [name for name in named if name in numbers] or [n for n in numbers if columns[n].type == "FLOAT"] or numbers
        )
        return ([f"{VERDICT}.rule"] if own else []) + list(dict.fromkeys(chosen))[:FIRST_HISTOGRAMS]


def sql_name(name: str) -> str:
    """A column's full name as a filter writes it: parts that are no plain word are quoted."""
    step, *rest = name.split(".", 2 if name.startswith(LABELS) else 1)
    first = quoted(step) if step.lower() in _reserved() or not PLAIN.fullmatch(step) else step
    return ".".join([first, *(part if PLAIN.fullmatch(part) else quoted(part) for part in rest)])


@functools.cache
def _reserved() -> frozenset[str]:
    words = ask("SELECT to_json(list(keyword_name)) FROM duckdb_keywords() WHERE keyword_category = 'reserved'")
    return frozenset(json.loads(words))


@contextmanager
def open_explorer(exploration: Exploration, *, memory_limit: str = "2GB") -> Iterator[Explorer]:
    """An explorer whose scratch database is removed however it ends."""
    with open_tables(exploration, memory_limit=memory_limit) as tables:
        explorer = Explorer(tables)
        try:
            yield explorer
        finally:
            explorer.stop()
