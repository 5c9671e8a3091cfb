"""Keep-rules: named SQL expressions over columns, in order; the first one a pair fails is its reason.

    rules = [Rule("large_enough", "least(width, height) >= 64"),
             Rule("well_aligned", "align.score >= quantile(align.score, 0.3)")]
    selected = apply_rules(view, rules)
    selected.kept, selected.verdicts, selected.thresholds, selected.funnel

What holds:

- An aggregate is computed over the pairs that passed every earlier rule, once, and stored as the
  rule's threshold; `frozen` gives thresholds of an earlier run instead. So columns that were only
  made for the pairs that reached them (lazy) select the same rows as columns made for all (eager).
- A rule that comes out NULL drops the pair with the detail `missing:<column>`. A pair with an error
  in a step the rule reads has failed, as has every pair whose picture cannot be read.
- No row of the population passes through Python; DuckDB works out of core within `memory_limit`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.errors import InvalidRule, PairwrightError
from pairwright.components.filter.rules import population
from pairwright.components.filter.rules.expression import PAIR, PAIR_FACTS, Aggregate, Bound, Names, Rule, bind
from pairwright.components.filter.rules.sql_functions import quoted
from pairwright.components.filter.rules.verdicts import Tally, kept_of, verdict_table

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from pairwright.components.filter.rules.ledger import Ledger

__all__ = ["Judgement", "Rule", "Selected", "apply_rules", "check_rules", "judge"]

Thresholds = Mapping[str, Mapping[str, Any]]
PICTURE_ERRORS = ("decode:", "read:")
BATCH_ROWS = 100_000
MEMORY = "2GB"  # of DuckDB alone for a quantile, which holds its column; beyond it goes to disk
STREAMING = "192MB"  # while rows pass through it; with more it would keep in memory what it has on disk
KEPT, PAIR_FAILED, PICTURE_FAILED = 0, -1, -2
FAILED, MISSING, FALSE = 1, 2, 3  # of rule i: 3 i + one of these


@dataclass(frozen=True)
class Selected:
    """What the rules decided.

    Attributes:
        kept: (shard, row, key) of the pairs that passed, in the dataset's order.
        verdicts: one row a pair: shard, row, key, status ("kept", "dropped", "failed"), rule, value
            (JSON of the columns the rule read), threshold, detail (an error, `missing:<column>`,
            `near_duplicate_of:<key>`).
        thresholds: rule -> {aggregate: value}.
        funnel: one dict a rule: rule, expression, pairs_in, kept, dropped, missing, failed.
    """

    kept: pa.Table
    verdicts: pa.Table
    thresholds: dict[str, dict[str, Any]]
    funnel: list[dict[str, Any]]
    ledger: Ledger
    rules: tuple[Rule, ...] = ()


def check_rules(
    rules: Sequence[Rule], columns: Mapping[str, pa.DataType], sidecar_columns: Sequence[str] = PAIR_FACTS
) -> list[Bound]:
    """The rules, checked against the columns there will be, before any long work starts.

    Raises:
        InvalidRule: a name twice, an unknown column, anything but one expression, or one that is no condition.
    """
    names = Names(columns, [fact for fact in sidecar_columns if fact in PAIR_FACTS])
    bounds = _bound(rules, names)
    with population.scratch_database("256MB") as connection:
        wanted = population.wanted_columns(bounds, columns)
        population.create_table(connection, columns, wanted, population.pair_facts(bounds))
        for one in bounds:
            _check_types(connection, one)
    return bounds


def apply_rules(
    view: ColumnsView, rules: Sequence[Rule], *, frozen: Thresholds | None = None, memory_limit: str = MEMORY
) -> Selected:
    """Judge every pair and hold the result in memory; `judge` streams it.

    Raises:
        InvalidRule: a rule that cannot be right, or that fails on a value (a cast, say).
        ColumnError: a column file is missing or damaged.
    """
    with judge(view, rules, frozen=frozen, memory_limit=memory_limit) as judgement:
        verdicts = verdict_table(judgement.batches())
        return Selected(
            kept_of(verdicts),
            verdicts,
            judgement.thresholds,
            judgement.funnel(),
            judgement.ledger(),
            tuple(rules),
        )


@dataclass
class Judgement:
    """Rules with their thresholds over a filled population; `batches` may be read once."""

    view: ColumnsView
    bounds: list[Bound]
    thresholds: dict[str, dict[str, Any]]
    tally: Tally
    _connection: DuckDBPyConnection = field(repr=False)
    _code: str = field(repr=False)
    _types: Mapping[str, pa.DataType] = field(repr=False)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Verdicts in the dataset's order, some BATCH_ROWS rows at a time."""
        digests = pa.array([shard.digest for shard in self.view.dataset.shards], pa.string())
        makers = {step: place.component for step, place in self.view.steps.items()}
        sql = _verdict_sql(self._code, self.bounds, self._types, makers)
        limits = [one.readable(self.thresholds[one.rule.name]) for one in self.bounds]
        try:
            reader = self._connection.sql(sql).to_arrow_reader(BATCH_ROWS)
            for batch in reader:
                yield self.tally.add(batch, digests, limits)
        except _duckdb_errors() as error:
            raise _value_error(self.bounds, error) from None

    def outcomes(self) -> Iterator[pa.RecordBatch]:
        """(shard position, row, code) of every pair in the dataset's order: cheap, and nothing is counted.

        A code is 0 for a pair that passed every rule, negative for one that failed outside any, and of
        rule i 3 i + FAILED, MISSING or FALSE.
        """
        columns = f'"{population.SHARD}" AS shard, "{population.ROW}" AS "row", ({self._code})::SMALLINT AS code'
        try:
            yield from self._connection.sql(f"SELECT {columns} FROM {population.TABLE}").to_arrow_reader(BATCH_ROWS)
        except _duckdb_errors() as error:
            raise _value_error(self.bounds, error) from None

    def kept(self) -> np.ndarray:
        """(rows,) bool in the dataset's order, instead of `batches`: whom every rule keeps, and nothing of why."""
        sql = f"SELECT ({self._code}) = {KEPT} AS kept FROM {population.TABLE}"
        try:
            reader = self._connection.sql(sql).to_arrow_reader(BATCH_ROWS)
            parts = [batch.column("kept").to_numpy(zero_copy_only=False) for batch in reader]
        except _duckdb_errors() as error:
            raise _value_error(self.bounds, error) from None
        return np.concatenate([np.zeros(0, bool), *parts]).astype(bool)

    def funnel(self) -> list[dict[str, Any]]:
        return self.tally.funnel()

    def ledger(self) -> Ledger:
        return self.tally.ledger(self.view.dataset.unknown)


@contextmanager
def judge(
    view: ColumnsView, rules: Sequence[Rule], *, frozen: Thresholds | None = None, memory_limit: str = MEMORY
) -> Iterator[Judgement]:
    """Fill the population, compute the thresholds, and leave the verdicts to be streamed."""
    types = population.view_columns(view)
    bounds = _bound(rules, Names(types))
    facts, wanted = population.pair_facts(bounds), population.wanted_columns(bounds, types)
    with population.scratch_database(STREAMING) as connection:
        population.create_table(connection, types, wanted, facts)
        for one in bounds:
            _check_types(connection, one)
        population.fill_table(connection, view, wanted, facts)
        connection.execute(f"SET memory_limit = '{memory_limit}'")
        thresholds, code = _thresholds(connection, bounds, types, frozen)
        connection.execute(f"SET memory_limit = '{STREAMING}'")
        population.open_threads(connection)
        yield Judgement(view, bounds, thresholds, Tally(bounds, view.rows), connection, code, types)


def _bound(rules: Sequence[Rule], names: Names) -> list[Bound]:
    seen: set[str] = set()
    for rule in rules:
        if rule.name in seen:
            raise InvalidRule(f'two keep-rules are called "{rule.name}"; rename one')
        seen.add(rule.name)
    return [bind(rule, names) for rule in rules]


def _check_types(connection: DuckDBPyConnection, one: Bound) -> None:
    """Bind the rule to the table's types.

    Raises:
        InvalidRule: types that do not fit, or a value that is not true or false.
    """
    try:
        types = {a.text: _type_of(connection, a) for a in one.aggregates}
        kind = str(connection.sql(f"SELECT {one.sql({}, types)} FROM {population.TABLE}").types[0])
    except _duckdb_errors() as error:
        raise InvalidRule(f"keep.{one.rule.name} does not fit its columns: {_first_line(error)}") from None
    if kind != "BOOLEAN":
        raise InvalidRule(
            f"keep.{one.rule.name} is a value ({kind.lower()}), not a condition; compare it with something"
        )


def _type_of(connection: DuckDBPyConnection, aggregate: Aggregate) -> str:
    return str(connection.sql(f"SELECT {aggregate.sql()} FROM {population.TABLE}").types[0])


def _thresholds(
    connection: DuckDBPyConnection, bounds: list[Bound], types: Mapping[str, pa.DataType], frozen: Thresholds | None
) -> tuple[dict[str, dict[str, Any]], str]:
    """Each rule's aggregates over the pairs that passed every earlier rule, and the SQL of a pair's code."""
    found: dict[str, dict[str, Any]] = {}
    conditions: list[tuple[str, str]] = []
    for one in bounds:
        errors = _errors_sql(population.error_columns(types, _steps(one)))
        found[one.rule.name] = _aggregate_values(connection, one, conditions, errors, types, frozen)
        kinds = {aggregate.text: _type_of(connection, aggregate) for aggregate in one.aggregates}
        conditions.append((errors, one.sql(found[one.rule.name], kinds)))
    return found, _code_sql(conditions, types)


def _aggregate_values(
    connection: DuckDBPyConnection,
    one: Bound,
    earlier: list[tuple[str, str]],
    errors: str,
    types: Mapping[str, pa.DataType],
    frozen: Thresholds | None,
) -> dict[str, Any]:
    texts = [aggregate.text for aggregate in one.aggregates]
    if not texts:
        return {}
    if frozen is not None:
        known = frozen.get(one.rule.name, {})
        for text in texts:
            if text not in known:
                raise InvalidRule(
                    f"keep.{one.rule.name} needs the frozen threshold {text}, which the earlier selection "
                    "does not hold; select anew, or keep the rule as it was"
                )
        return {text: known[text] for text in texts}
    passing = f"({_code_sql(earlier, types, final=False)}) = {KEPT} AND ({errors}) IS NULL"
    sql = f"SELECT {', '.join(a.sql() for a in one.aggregates)} FROM {population.TABLE} WHERE {passing}"
    try:
        row = connection.execute(sql).fetchone() or ()
    except _duckdb_errors() as error:
        raise _value_error([one], error) from None
    return {text: _json_value(value) for text, value in zip(texts, row, strict=True)}


def _code_sql(conditions: Sequence[tuple[str, str]], types: Mapping[str, pa.DataType], final: bool = True) -> str:
    """SQL of what happened to a pair, as a small integer: nested CASEs, so that later rules see only survivors."""
    pictures = _picture_error_sql(types)
    inner = f"CASE WHEN ({pictures}) IS NOT NULL THEN {PICTURE_FAILED} ELSE {KEPT} END" if final else str(KEPT)
    for i in reversed(range(len(conditions))):
        errors, condition = conditions[i]
        inner = (
            f"CASE WHEN ({errors}) IS NOT NULL THEN {3 * i + FAILED} WHEN {condition} THEN {inner} "
            f"WHEN NOT ({condition}) THEN {3 * i + FALSE} "
            f"WHEN ({pictures}) IS NOT NULL THEN {3 * i + FAILED} ELSE {3 * i + MISSING} END"
        )
    return f'CASE WHEN "{population.SIDECAR_ERROR}" IS NOT NULL THEN {PAIR_FAILED} ELSE {inner} END'


def _verdict_sql(code: str, bounds: list[Bound], types: Mapping[str, pa.DataType], makers: Mapping[str, str]) -> str:
    """One row a pair: shard position, row, key, code, value, detail. `makers` are the steps' components."""
    pictures = _picture_error_sql(types)
    values, details = [], [f'WHEN code < 0 THEN coalesce("{population.SIDECAR_ERROR}", {pictures})']
    for i, one in enumerate(bounds):
        errors = _errors_sql(population.error_columns(types, _steps(one)))
        details.append(f"WHEN code = {3 * i + FAILED} THEN coalesce({errors}, {pictures})")
        shown = _shown(one, types)
        if shown:
            packed = ", ".join(f"{quoted(name)} := {sql}" for name, sql in shown.items())
            values.append(f"WHEN code IN ({3 * i + MISSING}, {3 * i + FALSE}) THEN to_json(struct_pack({packed}))")
        nulls = " ".join(f"WHEN {quoted(name)} IS NULL THEN '{_text(name)}'" for name in one.columns)
        nulls = f"CASE {nulls} ELSE '{_text(one.text)}' END" if nulls else f"'{_text(one.text)}'"
        details.append(f"WHEN code = {3 * i + MISSING} THEN 'missing:' || {nulls}")
        repeated = next((step for step in _steps(one) if f"{step}.of" in types), None)
        if repeated:
            kind = makers[repeated].removesuffix("s")
            details.append(f"WHEN code = {3 * i + FALSE} THEN '{_text(kind)}_of:' || {quoted(repeated + '.of')}")
    value = f"CASE {' '.join(values)} END" if values else "NULL"
    return (
        f'SELECT "{population.SHARD}" AS shard, "{population.ROW}" AS "row", "{PAIR}.key" AS "key", '
        f"code::SMALLINT AS code, ({value})::VARCHAR AS value, (CASE {' '.join(details)} END)::VARCHAR AS detail "
        f"FROM (SELECT *, ({code}) AS code FROM {population.TABLE})"
    )


def _shown(one: Bound, types: Mapping[str, pa.DataType]) -> dict[str, str]:
    """Columns whose values a verdict shows, as SQL: the rule's own and whom a duplicate repeats; no vectors."""
    names = list(one.columns)
    for step in _steps(one):
        names += [f"{step}.{other}" for other in ("of", "distance") if f"{step}.{other}" in types]
    shown: dict[str, str] = {}
    for name in dict.fromkeys(names):
        kind = types.get(name, pa.string())
        if pa.types.is_fixed_size_list(kind):
            continue
        text = pa.types.is_string(kind) and not name.startswith(f"{PAIR}.label")
        if pa.types.is_fixed_size_binary(kind) or pa.types.is_binary(kind):
            shown[name] = f"hex({quoted(name)})"
        elif pa.types.is_float32(kind):
            shown[name] = f"{quoted(name)}::VARCHAR::DOUBLE"  # 0.7, not 0.699999988079071
        else:
            shown[name] = f"left({quoted(name)}, 200)" if text else quoted(name)
    return shown


def _steps(one: Bound) -> list[str]:
    return list(dict.fromkeys(step for name in one.columns if (step := name.partition(".")[0]) != PAIR))


def _errors_sql(columns: Sequence[str]) -> str:
    return f"coalesce({', '.join(quoted(name) for name in columns)})" if columns else "NULL::VARCHAR"


def _picture_error_sql(types: Mapping[str, pa.DataType]) -> str:
    """SQL of the first error of any step that says the picture cannot be read; NULL if it can."""
    columns = population.error_columns(types)
    cases = [
        f"WHEN {' OR '.join(f'starts_with({quoted(name)}, {start!r})' for start in PICTURE_ERRORS)} THEN {quoted(name)}"
        for name in columns
    ]
    return f"CASE {' '.join(cases)} END" if cases else "NULL::VARCHAR"


def _text(value: str) -> str:
    return value.replace("'", "''")


def _json_value(value: Any) -> Any:
    """A threshold as what JSON keeps exactly: numbers, texts, booleans; decimals and dates as text."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _duckdb_errors() -> type[Exception]:
    import duckdb

    return duckdb.Error


def _value_error(bounds: list[Bound], error: Exception) -> PairwrightError:
    names = ", ".join(one.rule.name for one in bounds)
    line = _first_line(error)
    if type(error).__name__ in ("OutOfMemoryException", "IOException"):
        return PairwrightError(f"the rules ran out of memory or scratch space: {line}; free disk space in TMPDIR")
    return InvalidRule(f"keep.{names} fails on a value: {line}; guard it with an earlier rule or try_cast")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
