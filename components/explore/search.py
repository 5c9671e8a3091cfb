"""Finding pairs: a filter in the language of keep-rules, an order by any column, a class, a page.

    explorer = Search(tables, verdicts)
    wanted = Wanted(filter="align.score >= quantile(align.score, 0.9)", sort="align.score", first="a run")
    explorer.found(wanted).numbers[:60]        # the first page

A filter is evaluated once over every pair into a mask, an order once into a permutation; both are kept, so
that a page, another class or another order costs an indexing and no query. An aggregate in a filter is over
every pair of the dataset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.errors import InvalidRule, PairwrightError, nearest
from components.explore.recent import Recent
from components.explore.tables import QueryFailed, Scope, Tables
from components.explore.verdict_tables import OTHER, VERDICT, Verdicts
from components.filter.expression import PAIR, PAIR_FACTS, Bound, Names, Rule, bind
from components.filter.population import quoted

HELD_BYTES = 192 << 20  # of masks, and as much of orders
RANDOM = "random"  # an order that favours nobody, the same every time
FILTER = Rule("filter", "")
LABELS = f"{PAIR}.label."


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

    def bound(self, wanted: Wanted) -> Bound:
        """The filter with its names resolved. Raises InvalidQuery."""
        scope = self.scope(wanted)
        names = Names([name for name in scope if not name.startswith(f"{PAIR}.")], {*PAIR_FACTS, "error"})
        try:
            bound = bind(Rule(FILTER.name, wanted.filter.strip()), names)
        except InvalidRule as error:
            raise InvalidQuery(self._plainly(str(error), wanted)) from None
        for name in bound.columns:
            if name not in scope:  # a label's name is not checked by the rule language
                known = [label.removeprefix(LABELS) for label in scope if label.startswith(LABELS)]
                wrong = name.removeprefix(LABELS)
                raise InvalidQuery(f'no pair has a label "{wrong}"{nearest(wrong, known)}')
        return bound

    def _find(self, wanted: Wanted) -> Found:
        names, classes = self.verdicts.classes(wanted.first, wanted.second)
        mask = self.mask(wanted)
        counts = np.bincount(classes[mask.passes], minlength=len(names))
        shown, order = self.shown(wanted), self.order(wanted)
        numbers = np.flatnonzero(shown).astype(np.int32) if order is None else order[shown[order]]
        by_class = {name: int(count) for name, count in zip(names, counts, strict=True)}
        return Found(numbers, by_class, mask.thresholds)

    def _evaluate(self, text: str, wanted: Wanted) -> Mask:
        passes = np.zeros(self.tables.rows, bool)
        if not text:
            return Mask(~passes, {})
        bound, scope = self.bound(wanted), self.scope(wanted)
        source = self.tables.source(scope, bound.columns)
        try:
            types = {a.text: self.tables.type_of(f"SELECT {a.sql()} FROM {source}") for a in bound.aggregates}
            kind = self.tables.type_of(f"SELECT {bound.sql({}, types)} FROM {source}")
            if kind != "BOOLEAN":
                raise InvalidQuery(
                    f"the filter is a value ({kind.lower()}), not a condition; compare it with something"
                )
            thresholds = self._thresholds(bound, source)
            found = self.tables.numbers(f"SELECT _id FROM {source} WHERE {bound.sql(thresholds, types)}")
        except QueryFailed as error:
            raise InvalidQuery(f"the filter fails: {error}") from None
        passes[np.asarray(found["_id"])] = True
        return Mask(passes, thresholds)

    def _thresholds(self, bound: Bound, source: str) -> dict[str, Any]:
        texts = [aggregate.text for aggregate in bound.aggregates]
        if not texts:
            return {}
        (values,) = self.tables.ask(f"SELECT {', '.join(a.sql() for a in bound.aggregates)} FROM {source}")
        return dict(zip(texts, values, strict=True))

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
