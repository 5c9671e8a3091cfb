"""Finding pairs: a filter in the language of keep-rules, an order by any column, a class, a page.

    explorer = Search(tables, verdicts)
    wanted = Wanted(filter="align.score >= quantile(align.score, 0.9)", sort="align.score", first="a run")
    explorer.found(wanted).numbers[:60]        # the first page

A filter is evaluated once over every pair into a mask, an order once into a permutation; both are kept, so
that a page, another class or another order costs an indexing and no query. An aggregate in a filter is over
every pair of the dataset. The filter is read and worked out in a process of its own, which may be killed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pairwright.components.errors import PairwrightError, nearest
from pairwright.components.explore.filtering import FILTER, LABELS
from pairwright.components.explore.queries import QueryFailed, TooMuch
from pairwright.components.explore.recent import Recent
from pairwright.components.explore.scratch import Scope
from pairwright.components.explore.tables import Tables
from pairwright.components.explore.verdict_tables import OTHER, VERDICT, Verdicts
from pairwright.components.filter.rules.sql_functions import quoted

HELD_BYTES = 192 << 20  # of masks, and as much of orders
RANDOM = "random"  # an order that favours nobody, the same every time
LONGEST_FILTER = 20_000  # characters, as in the page's box
REFUSED_SECONDS = 60.0  # for which a filter that took too much is not tried again


class InvalidQuery(PairwrightError):
    """A filter, a column or a class that cannot be right, in one line for the person who wrote it."""


@dataclass(frozen=True)
class Wanted:
    """What is asked for; every part is in the page's address.

    Attributes:
        filter: one SQL condition, or "".
        sort: a column's full name, "random", or "" for the dataset's order.
        show: a class (`Verdicts.classes`), or "" for all.
        first, second: names of selections, or None.
    """

    filter: str = ""
    sort: str = ""
    descending: bool = False
    show: str = ""
    first: str | None = None
    second: str | None = None


@dataclass(frozen=True)
class Found:
    """What was found.

    Attributes:
        numbers: the pairs' numbers in the order asked for, int32.
        classes: class -> how many pairs of it pass the filter, whichever class is shown.
        thresholds: the filter's aggregates and their values.
    """

    numbers: np.ndarray
    classes: Mapping[str, int]
    thresholds: Mapping[str, Any]


@dataclass(frozen=True)
class Mask:
    passes: np.ndarray  # (rows,) bool
    thresholds: Mapping[str, Any]


class Search:
    """Filters and orders over one exploration's tables. Every method may be called from any thread."""

    def __init__(self, tables: Tables, verdicts: Verdicts) -> None:
        self.tables, self.verdicts = tables, verdicts
        self._refused: dict[tuple[str, str | None, str | None], tuple[float, str]] = {}  # -> (until, why)
        self._masks: Recent[Mask] = Recent(HELD_BYTES, lambda mask: mask.passes.nbytes)
        self._orders: Recent[np.ndarray] = Recent(HELD_BYTES, lambda order: order.nbytes)
        self._found: Recent[Found] = Recent(HELD_BYTES, lambda found: found.numbers.nbytes + 1000)

    def found(self, wanted: Wanted) -> Found:
        """The pairs that pass, in order.

        Raises:
            InvalidQuery: the filter, the column or the class cannot be right, or fails on a value.
        """
        return self._found.get(wanted, lambda: self._find(wanted))

    def mask(self, wanted: Wanted) -> Mask:
        """Which pairs pass the filter. Raises InvalidQuery."""
        text = wanted.filter.strip()
        return self._masks.get((text, wanted.first, wanted.second), lambda: self._evaluate(text, wanted))

    def shown(self, wanted: Wanted) -> np.ndarray:
        """(rows,) bool: which pairs pass the filter and are of the class shown. Raises InvalidQuery."""
        names, classes = self.verdicts.classes(wanted.first, wanted.second)
        passes = self.mask(wanted).passes
        if not wanted.show:
            return passes
        if wanted.show not in names:
            raise InvalidQuery(f'no pair is "{wanted.show}"{nearest(wanted.show, names)}')
        both: np.ndarray = passes & (classes == names.index(wanted.show))
        return both

    def order(self, wanted: Wanted) -> np.ndarray | None:
        """Every pair's number, int32, in the order asked for, those without a value last; None: the dataset's."""
        if not wanted.sort:
            return None
        key = (wanted.sort, wanted.descending, *self._judged_by(wanted, wanted.sort))
        return self._orders.get(key, lambda: self._sorted(wanted))

    def scope(self, wanted: Wanted) -> Scope:
        return self.verdicts.scope(wanted.first, wanted.second)

    def _find(self, wanted: Wanted) -> Found:
        names, classes = self.verdicts.classes(wanted.first, wanted.second)
        mask = self.mask(wanted)
        counts = np.bincount(classes[mask.passes], minlength=len(names))
        shown, order = self.shown(wanted), self.order(wanted)
        numbers = np.flatnonzero(shown).astype(np.int32) if order is None else order[shown[order]]
        by_class = {name: int(count) for name, count in zip(names, counts, strict=True)}
        return Found(numbers, by_class, mask.thresholds)

    def _evaluate(self, text: str, wanted: Wanted) -> Mask:
        if not text:
            return Mask(np.ones(self.tables.rows, bool), {})
        if len(text) > LONGEST_FILTER:
            raise InvalidQuery(f"the filter is longer than {LONGEST_FILTER:,} characters")
        key = (text, wanted.first, wanted.second)
        until, why = self._refused.get(key, (0.0, ""))
        if time.monotonic() < until:
            raise InvalidQuery(why)
        try:
            said, data = self._asked(text, self.scope(wanted))
        except TooMuch as error:
            why = f"the filter fails: {error}"
            self._refused = {k: v for k, v in self._refused.items() if v[0] > time.monotonic()}
            self._refused[key] = (time.monotonic() + REFUSED_SECONDS, why)
            raise InvalidQuery(why) from None
        except QueryFailed as error:
            raise InvalidQuery(str(error)) from None
        self._check(said, wanted)
        passes = np.unpackbits(np.frombuffer(data, np.uint8), count=self.tables.rows).astype(bool)
        return Mask(passes, said["thresholds"])

    def _asked(self, text: str, scope: Scope) -> tuple[dict[str, Any], bytes]:
        """What the filter's process says of it, once the tables it needs are filled."""
        columns = [[c.name, c.table, c.bare, c.type] for c in scope.values()]
        while True:
            asked = {"filter": text, "columns": columns, "filled": self.tables.filled}
            said, data = self.tables.queries.ask(asked)
            if "need" not in said:
                return said, data
            self.tables.need(said["need"])

    def _check(self, said: Mapping[str, Any], wanted: Wanted) -> None:
        """Raises InvalidQuery with what is wrong with the filter, if something is."""
        if "refused" in said:
            raise InvalidQuery(self._plainly(said["refused"], wanted))
        if "failed" in said:
            raise InvalidQuery(f"the filter fails: {said['failed']}")
        if "label" in said:
            known = [name.removeprefix(LABELS) for name in self.scope(wanted) if name.startswith(LABELS)]
            raise InvalidQuery(f'no pair has a label "{said["label"]}"{nearest(said["label"], known)}')

    def _sorted(self, wanted: Wanted) -> np.ndarray:
        if wanted.sort == RANDOM:
            return np.random.default_rng(0).permutation(self.tables.rows).astype(np.int32)
        scope = self.scope(wanted)
        if wanted.sort not in scope:
            message = f'cannot sort by "{wanted.sort}", which no step makes{nearest(wanted.sort, scope)}'
            raise InvalidQuery(self._plainly(message, wanted))
        column = scope[wanted.sort]
        if column.kind == "nested":
            raise InvalidQuery(f'cannot sort by "{wanted.sort}", a {column.type.lower()}; choose a number or a text')
        value = quoted(column.name)
        if column.type in ("FLOAT", "DOUBLE"):
            value = f"CASE WHEN isnan({value}) THEN NULL ELSE {value} END"
        direction = "DESC" if wanted.descending else "ASC"
        source = self.tables.source(scope, [column.name])
        found = self.tables.numbers(
            f"SELECT _id::INTEGER AS n FROM {source} ORDER BY {value} {direction} NULLS LAST, _id"
        )
        return np.asarray(found["n"], dtype=np.int32)

    def _judged_by(self, wanted: Wanted, name: str) -> tuple[str | None, str | None]:
        """The selections that a column's values depend on."""
        prefix = name.partition(".")[0]
        return (wanted.first, wanted.second) if prefix in (VERDICT, OTHER) else (None, None)

    def _plainly(self, message: str, wanted: Wanted) -> str:
        """The rule language's message, without the name it gave the filter; what a name lacks, where that is known."""
        if f'"{OTHER}.' in message and not wanted.second:
            return f'"{OTHER}" is the selection compared with, and none is chosen; choose one'
        message = message.replace(f"keep.{FILTER.name}", "the filter")
        for name, kind in self.tables.vectors.items():
            if f'"{name}"' in message:
                return f'the filter uses "{name}", {kind} a pair, which the explorer does not hold; filter by a score'
        return message
