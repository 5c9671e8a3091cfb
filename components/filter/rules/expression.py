"""One keep-rule as a checked expression: parsed by DuckDB, refused unless it is only arithmetic on columns.

    bound = bind("well_aligned", "align.score >= quantile(align.score, 0.3)", names)
    bound.columns       # ("align.score",)
    bound.aggregates    # (Aggregate("quantile(align.score, 0.3)"),)
    bound.sql({"quantile(align.score, 0.3)": 0.21}, types)    # what DuckDB evaluates a row at a time

The tree comes from `json_serialize_sql` and goes back through `json_deserialize_sql`, so the text
that runs is DuckDB's own, of a tree in which every node is of a kind listed here: no statement,
subquery, window, file or table function, parameter, setting or function whose value may change from
one run to the next.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pairwright.components.errors import InvalidRule, nearest
from pairwright.components.filter.rules.sql_functions import AGGREGATES, ask, exists, functions

Node = dict[str, Any]

EXPRESSION_CLASSES = {
    *("COMPARISON", "CONJUNCTION", "CONSTANT", "COLUMN_REF", "FUNCTION", "OPERATOR", "CAST", "BETWEEN", "CASE"),
    *("LAMBDA", "COLLATE", "TYPE"),
}
REFUSED_CLASSES = {
    "SUBQUERY": "a subquery",
    "WINDOW": "a window function",
    "STAR": "a star",
    "PARAMETER": "a parameter",
    "POSITIONAL_REFERENCE": "a positional reference",
    "DEFAULT": "DEFAULT",
}
PAIR = "pair"
PAIR_FACTS = ("key", "licence", "author", "origin", "group", "label")


@dataclass(frozen=True)
class Rule:
    """A named keep-rule: one SQL expression, true for the pairs that stay."""

    name: str
    expression: str


@dataclass(frozen=True)
class Aggregate:
    """One aggregate call of a rule; `text` names its threshold, `tree` is its node over real columns."""

    text: str
    tree: Node = field(repr=False, compare=False)

    def sql(self) -> str:
        return to_sql(self.tree)


@dataclass(frozen=True)
class Bound:
    """A rule whose names are resolved.

    Attributes:
        text: the expression as DuckDB prints it, names in full.
        columns: the `step.column`s and `pair.fact`s it reads, in order of appearance.
        tree: over table columns that are called `step.column` in one piece.
    """

    rule: Rule
    text: str
    columns: tuple[str, ...]
    aggregates: tuple[Aggregate, ...]
    tree: Node = field(repr=False, compare=False)

    def sql(self, thresholds: Mapping[str, Any], types: Mapping[str, str]) -> str:
        """The expression with each aggregate replaced by its value, cast to its type."""
        texts = {aggregate.sql(): aggregate.text for aggregate in self.aggregates}
        return to_sql(self._hoisted(self.tree, texts, thresholds, types))

    def readable(self, thresholds: Mapping[str, Any]) -> str:
        """What a value is compared with: the constant of a plain comparison, else the whole expression."""
        text = self.text
        for aggregate in self.aggregates:
            text = text.replace(aggregate.text, _plain(thresholds.get(aggregate.text)))
        if self.tree.get("class") == "COMPARISON":
            right = to_sql(self.tree["right"])
            found = next((a for a in self.aggregates if a.sql() == right), None)
            if found is not None:
                return _plain(thresholds.get(found.text))
            if self.tree["right"].get("class") == "CONSTANT":
                return right
        return _unwrapped(text)

    def _hoisted(
        self, tree: Any, texts: Mapping[str, str], thresholds: Mapping[str, Any], types: Mapping[str, str]
    ) -> Any:
        if isinstance(tree, list):
            return [self._hoisted(item, texts, thresholds, types) for item in tree]
        if not isinstance(tree, dict):
            return tree
        if _is_aggregate(tree):
            text = texts[to_sql(tree)]
            return _constant(thresholds.get(text), types[text])
        return {key: self._hoisted(value, texts, thresholds, types) for key, value in tree.items()}


class Names:
    """The names a rule may use: `step.column`, a column's own name where only one step has it, `pair.fact`."""

    def __init__(self, columns: Iterable[str], facts: Iterable[str] = PAIR_FACTS) -> None:
        self.columns = set(columns)
        self.facts = set(facts)
        self._by_last: dict[str, list[str]] = {}
        for name in [*sorted(self.columns), *(f"{PAIR}.{fact}" for fact in sorted(self.facts))]:
            self._by_last.setdefault(name.rpartition(".")[2], []).append(name)

    def resolve(self, parts: Sequence[str], rule: Rule) -> str:
        """The full name of a column reference.

        Raises:
            InvalidRule: nothing or more than one thing is called that; the nearest name is told.
        """
        name = ".".join(parts)
        if name in self.columns:
            return name
        if parts[0] == PAIR and len(parts) > 1:
            if parts[1] == "label" and "label" in self.facts and len(parts) == 3:
                return name
            if parts[1] in self.facts and len(parts) == 2:
                return name
        if len(parts) == 1:
            found = self._by_last.get(name, [])
            if len(found) == 1:
                return found[0]
            if found:
                raise InvalidRule(f'keep.{rule.name} uses "{name}", which could be {" or ".join(found)}; say which')
        known = [*self.columns, *(f"{PAIR}.{fact}" for fact in self.facts)]
        known += self._by_last if len(parts) == 1 else []
        raise InvalidRule(f'keep.{rule.name} uses "{name}", which no step makes{nearest(name, known)}')


def bind(rule: Rule, names: Names) -> Bound:
    """The rule, checked and with its names resolved.

    Raises:
        InvalidRule: it is not one expression, or holds something a rule may not.
    """
    tree = parse(rule)
    columns: list[str] = []
    named = _resolved(tree, names, rule, columns, frozenset())
    aggregates: dict[str, Aggregate] = {}
    for node in _aggregates(named, rule):
        text = to_sql(node)
        aggregates.setdefault(text, Aggregate(text, _physical(node)))
    ordered = tuple(dict.fromkeys(columns))
    return Bound(rule, to_sql(named), ordered, tuple(aggregates.values()), _physical(named))


def parse(rule: Rule) -> Node:
    """The expression's tree.

    Raises:
        InvalidRule: the text is not one SQL expression.
    """
    if not rule.expression.strip():
        raise InvalidRule(f"keep.{rule.name} is empty; write a condition on columns")
    # The closing bracket stands on a line of its own, so that a comment cannot swallow it.
    text = f"SELECT (\n{rule.expression}\n)"
    answer = ask("SELECT json_serialize_sql(?)", text)
    parsed = json.loads(answer)
    if parsed["error"]:
        reason = parsed.get("error_message", "").splitlines()[0]
        raise InvalidRule(f"keep.{rule.name} is not one SQL expression: {reason}; write a condition on columns")
    statements = parsed["statements"]
    node = statements[0]["node"] if len(statements) == 1 else {}
    select = node.get("select_list", [])
    # An expression that closes our bracket and goes on ("1) FROM t WHERE (1") is a query.
    plain = (
        node.get("type") == "SELECT_NODE"
        and len(select) == 1
        and node["from_table"]["type"] == "EMPTY"
        and not any(node.get(part) for part in ("where_clause", "group_expressions", "having", "qualify", "modifiers"))
        and not node["cte_map"]["map"]
        and not select[0].get("alias")
    )
    if not plain:
        raise InvalidRule(f"keep.{rule.name} is not one SQL expression but a query; write a condition on columns")
    return dict(select[0])


def to_sql(node: Node) -> str:
    """DuckDB's own text of an expression's tree."""
    statement = copy.deepcopy(_template())
    statement["statements"][0]["node"]["select_list"] = [node]
    text = ask("SELECT json_deserialize_sql(?::JSON)", json.dumps(statement))
    return text.removeprefix("SELECT ").strip()


def _resolved(tree: Any, names: Names, rule: Rule, found: list[str], bound: frozenset[str]) -> Any:
    """The tree with every column reference spelt in full; `bound` are names of enclosing lambdas."""
    if isinstance(tree, list):
        return [_resolved(item, names, rule, found, bound) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if "class" in tree:
        _check_node(tree, rule)
    if tree.get("class") == "COLUMN_REF":
        parts = list(tree["column_names"])
        if parts[0] in bound:
            return tree
        name = names.resolve(parts, rule)
        found.append(name)
        return tree | {"column_names": [*name.split(".", 1)]}
    if tree.get("class") == "LAMBDA":
        parameters = frozenset(_parameters(tree["lhs"]))
        return tree | {"expr": _resolved(tree["expr"], names, rule, found, bound | parameters)}
    return {key: _resolved(value, names, rule, found, bound) for key, value in tree.items()}


def _parameters(lhs: Node) -> Iterator[str]:
    if lhs.get("class") == "COLUMN_REF":
        yield lhs["column_names"][0]
    for argument in lhs.get("arguments") or lhs.get("children") or ():
        yield from _parameters(argument.get("expression", argument))


def _check_node(node: Node, rule: Rule) -> None:
    kind = node["class"]
    if kind not in EXPRESSION_CLASSES:
        what = REFUSED_CLASSES.get(kind, kind.lower().replace("_", " "))
        raise InvalidRule(f"keep.{rule.name} holds {what}; a rule is one expression over columns")
    if kind != "FUNCTION":
        return
    name = node["function_name"].lower()
    if node.get("schema") or node.get("catalog"):
        raise InvalidRule(f'keep.{rule.name} calls "{name}" of a schema; only built-in functions may be called')
    known = functions()
    if name not in known and name not in AGGREGATES:
        reason = "which a rule may not call" if exists(name) else "which does not exist"
        near = nearest(name, known | AGGREGATES)
        raise InvalidRule(f'keep.{rule.name} calls "{name}", {reason}{near if "did you mean" in near else ""}')
    if (node.get("order_bys") or {}).get("orders"):
        raise InvalidRule(f'keep.{rule.name} orders the rows of "{name}"; an aggregate here sees a set of rows')


def _aggregates(tree: Any, rule: Rule, inside: str | None = None) -> Iterator[Node]:
    """Aggregate calls, outermost only; an aggregate in an aggregate or in a lambda has no meaning."""
    if isinstance(tree, list):
        for item in tree:
            yield from _aggregates(item, rule, inside)
    elif isinstance(tree, dict):
        if _is_aggregate(tree):
            if inside:
                raise InvalidRule(f'keep.{rule.name} calls "{tree["function_name"]}" inside {inside}; split the rule')
            yield tree
            inside = f'"{tree["function_name"]}"'
        elif tree.get("class") == "LAMBDA":
            inside = "a lambda"
        for value in tree.values():
            yield from _aggregates(value, rule, inside)


def _is_aggregate(node: Node) -> bool:
    return node.get("class") == "FUNCTION" and node.get("function_name", "").lower() in AGGREGATES


def _physical(tree: Any) -> Any:
    """The tree with `step.column` as the name of one table column."""
    if isinstance(tree, list):
        return [_physical(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if tree.get("class") == "COLUMN_REF":
        return tree | {"column_names": [".".join(tree["column_names"])]}
    return {key: _physical(value) for key, value in tree.items()}


def _constant(value: Any, kind: str) -> Node:
    """A node for `value` of DuckDB type `kind`; the text of a number casts back to the same number."""
    text = "NULL" if value is None else "'" + str(value).replace("'", "''") + "'"
    answer = json.loads(ask("SELECT json_serialize_sql(?)", f"SELECT CAST({text} AS {kind})"))
    return dict(answer["statements"][0]["node"]["select_list"][0])


def _plain(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _unwrapped(text: str) -> str:
    return text[1:-1] if text.startswith("(") and text.endswith(")") and _balanced(text[1:-1]) else text


def _balanced(text: str) -> bool:
    depth = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return False
    return depth == 0


@functools.cache
def _template() -> Node:
    return dict(json.loads(ask("SELECT json_serialize_sql('SELECT 1')")))


def referenced(rule: Rule) -> list[str]:
    """The column names an expression writes, as it writes them, unresolved."""
    found: list[str] = []

    def walk(tree: Any, bound: frozenset[str]) -> None:
        if isinstance(tree, list):
            for item in tree:
                walk(item, bound)
        elif isinstance(tree, dict):
            if tree.get("class") == "COLUMN_REF" and tree["column_names"][0] not in bound:
                found.append(".".join(tree["column_names"]))
            if tree.get("class") == "LAMBDA":
                bound = bound | frozenset(_parameters(tree["lhs"]))
            for value in tree.values():
                walk(value, bound)

    walk(parse(rule), frozenset())
    return list(dict.fromkeys(found))
