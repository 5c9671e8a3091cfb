"""Which of DuckDB's functions a keep-rule may call, and the one door to DuckDB's parser.

The list is DuckDB's own catalogue, less what is volatile, reads the session, or is machinery: a new
release's scalar functions are allowed without a change here, its table functions never are.
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable
from typing import Any

# Aggregates whose value depends on which rows there are, and not on their order.
AGGREGATES = frozenset(
    {
        *("avg", "mean", "median", "sum", "product", "min", "max", "count", "count_star", "count_if", "countif"),
        *("quantile", "quantile_cont", "quantile_disc", "stddev", "stddev_pop", "stddev_samp", "variance", "var_pop"),
        *("var_samp", "mad", "skewness", "kurtosis", "corr", "covar_pop", "covar_samp", "entropy", "bool_and"),
        *("bool_or", "approx_count_distinct"),
    }
)
# Macros that hide neither an aggregate nor a subquery nor the session; list_ and array_ macros are safe too.
MACROS = {
    *("date_add", "days_in_month", "fdiv", "fmod", "if", "nullif", "split_part"),
    *("map_contains_entry", "map_contains_value"),
}
# Scalar functions of DuckDB's own machinery, or of the session (clock, version) though marked consistent.
NOT_FOR_RULES = (
    *("_", "json_serialize", "json_deserialize", "create_sort_key", "hive_partition", "invoke", "current_", "collate_"),
    *(
        "icu_",
        "st_",
        "parse_duckdb",
        "variant_",
        "version",
        "age",
        "index_key",
        "vertex_extract",
        "finalize",
        "combine",
    ),
    *("to_aggregate_state", "remap_struct", "cast_to_type"),
)

_lock = threading.Lock()


@functools.cache
def functions() -> frozenset[str]:
    """Scalar functions a rule may call: built in, and the same arguments always give the same value."""
    rows = json.loads(
        ask(
            "SELECT to_json(list(DISTINCT function_name)) FROM duckdb_functions() WHERE database_name = 'system' AND "
            "((function_type = 'scalar' AND stability = 'CONSISTENT') OR (function_type = 'macro' AND "
            "(function_name IN (SELECT unnest(?)) OR function_name LIKE 'list\\_%' ESCAPE '\\' "
            "OR function_name LIKE 'array\\_%' ESCAPE '\\')))",
            sorted(MACROS),
        )
    )
    volatile = json.loads(
        ask("SELECT to_json(list(DISTINCT function_name)) FROM duckdb_functions() WHERE stability <> 'CONSISTENT'")
    )
    return frozenset(name for name in rows if not name.startswith(NOT_FOR_RULES)) - frozenset(volatile)


def exists(name: str) -> bool:
    """Whether DuckDB has any function of this name."""
    return ask("SELECT count(*)::VARCHAR FROM duckdb_functions() WHERE function_name = ?", name) != "0"


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def ask(sql: str, *parameters: Any) -> str:
    """The one text a query of our own answers, on an empty database cut off from files and network."""
    with _lock:
        return _parser()(sql, list(parameters))


@functools.cache
def _parser() -> Callable[[str, list[Any]], str]:
    import duckdb

    connection = duckdb.connect(":memory:", config={"threads": 1})
    connection.execute("SET enable_external_access = false; SET lock_configuration = true")

    def answer(sql: str, parameters: list[Any]) -> str:
        row = connection.execute(sql, parameters).fetchone()
        return str(row[0]) if row else ""

    return answer
