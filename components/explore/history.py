"""One pair's whole history: picture, captions and who wrote them, every column of every step, verdicts, relatives.

history(explorer, number, first, second)["verdicts"][0]["rule"]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pairwright.components.dataset.captions.word_changes import marks_worth_seeing
from pairwright.components.explore.plain_values import plain
from pairwright.components.explore.scratch import BASE, Column, Scope, rows_of
from pairwright.components.explore.search import Search
from pairwright.components.explore.tables import Tables
from pairwright.components.explore.verdict_tables import COLUMNS, VERDICT
from pairwright.components.filter.rules.sql_functions import quoted

MEMBERS = 24  # of a group, shown; the rest is counted
ORIGINAL_CAPTION = "alt"  # the source that captioners' captions are held against
GROUPS = ("group", "cluster")  # columns whose equal values are pairs that belong together
ORIGINAL = "of"  # the column of a duplicate selection that holds the key of the kept pair


def history(search: Search, number: int, selections: Sequence[str]) -> dict[str, Any]:
    """Everything that is known of a pair; `selections` are those whose verdicts are told."""
    tables, scope = search.tables, search.tables.scope()
    steps = {name: column for name, column in scope.items() if column.table.startswith("step")}
    values = tables.lookup(scope, [number], list(steps))[0]
    verdicts = [_verdict(search, number, name) for name in selections]
    facts = tables.lookup(scope, [number], [n for n, c in scope.items() if c.table == BASE])[0]
    return {
        **brief(search, [number])[0],
        "facts": {name.partition(".")[2]: plain(value) for name, value in facts.items() if name != "pair.label"},
        "labels": plain(facts.get("pair.label")) or {},
        "captions": captions(search, number),
        "steps": _by_step(search, values),
        "verdicts": verdicts,
        "originals": list(_originals(search, steps, values, verdicts)),
        "groups": list(_groups(search, number, scope, {**values, "pair.group": facts.get("pair.group")})),
    }


def brief(search: Search, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """What a tile needs to show a pair: its place and its key."""
    found = search.tables.lookup(search.tables.scope(), numbers, ["pair.key", "pair.error"])
    briefs = []
    for number, facts in zip(numbers, found, strict=True):
        shard, row = search.tables.place(number)
        place = {"id": int(number), "shard": shard.digest, "row": row, "in": shard.name}
        briefs.append(place | {"key": facts["pair.key"], "error": facts["pair.error"]})
    return briefs


def captions(search: Search, number: int) -> list[dict[str, Any]]:
    """Every caption of a pair: the sidecar's in their order, then those that captioners wrote.

    Those have `changes`: (kind, words) against the pair's original caption, none where they share no word.
    """
    found = captions_of(search, [number], most=None)[0]
    before = next((caption["text"] for caption in found if caption["source"] == ORIGINAL_CAPTION), None)
    made = set(search.tables.exploration.captioners)
    return [
        caption | ({"changes": marks_worth_seeing(before, caption["text"])} if caption["source"] in made else {})
        for caption in found
    ]


def captions_of(search: Search, numbers: Sequence[int], most: int | None) -> list[list[dict[str, Any]]]:
    """At most `most` captions of each pair, with source, language and producer; those of captioners always."""
    tables, columns = search.tables, search.tables.columns
    texts = [f"{step}.text" for step in tables.exploration.captioners if f"{step}.text" in columns]
    langs = [name.replace(".text", ".lang") for name in texts if name.replace(".text", ".lang") in columns]
    said = {"captions": Column("captions", BASE, "captions", "STRUCT[]")}
    own = tables.lookup(said, numbers, ["captions"])
    made = tables.lookup(columns, numbers, [*texts, *langs])
    found = []
    for sidecar, written in zip(own, made, strict=True):
        first = [c for c in sidecar["captions"] or () if c["text"] is not None]
        by_steps = [
            {"source": step, "text": written[f"{step}.text"], "lang": written.get(f"{step}.lang"), "producer": step}
            for step in tables.exploration.captioners
            if written.get(f"{step}.text") is not None
        ]
        shown = first if most is None else first[: max(most - len(by_steps), 1)]
        found.append([{k: c[k] for k in ("source", "text", "lang", "producer")} for c in [*shown, *by_steps]])
    return found


def _by_step(search: Search, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each step with what made it and its values; vectors are named by their length."""
    steps = []
    for step, place in search.tables.exploration.view.steps.items():
        prefix = f"{step}."
        own = {name.removeprefix(prefix): plain(v) for name, v in values.items() if name.startswith(prefix)}
        own |= {n.removeprefix(prefix): kind for n, kind in search.tables.vectors.items() if n.startswith(prefix)}
        steps.append({"step": step, "component": place.component, "digest": place.digest, "values": own})
    return steps


def _verdict(search: Search, number: int, name: str) -> dict[str, Any]:
    scope = search.verdicts.scope(name, None)
    found = search.tables.lookup(scope, [number], [f"{VERDICT}.{column}" for column in COLUMNS])[0]
    said = {column: found[f"{VERDICT}.{column}"] for column in COLUMNS}
    place = search.verdicts.places[name]
    expression = search.verdicts.rules(name).get(said["rule"] or "")
    return {"selection": name, "label": place.label, "expression": expression, **said}


def _originals(
    search: Search, steps: Scope, values: Mapping[str, Any], verdicts: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The pairs that this one repeats: by a duplicate selection's columns, or by what a verdict says."""
    named = [(name.rpartition(".")[0], values[name]) for name in steps if name.endswith(f".{ORIGINAL}")]
    for verdict in verdicts:
        kind, found, key = str(verdict["detail"] or "").partition("duplicate_of:")
        if found and key not in [value for _, value in named]:
            named.append((f"{kind}duplicate", key))
    for step, key in named:
        if key is None:
            continue
        numbers = _called(search.tables, str(key))
        pair = brief(search, numbers[:1])[0] if numbers else None
        yield {"step": step, "key": str(key), "distance": plain(values.get(f"{step}.distance")), "pair": pair}


def _called(tables: Tables, key: str) -> list[int]:
    return [
        int(n)
        for (n,) in tables.ask(f'SELECT rowid FROM {rows_of(BASE)} WHERE "key" = ? ORDER BY rowid LIMIT 2', [key])
    ]


def _groups(search: Search, number: int, scope: Scope, values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The groups and clusters the pair is in, where it is not alone."""
    for name, value in values.items():
        if value is None or value == -1 or name.rpartition(".")[2] not in GROUPS or scope[name].kind == "nested":
            continue
        source = search.tables.source(scope, [name])
        sql = f"SELECT _id, count(*) OVER () FROM {source} WHERE {quoted(name)} = ? AND _id <> ? ORDER BY _id"
        found = search.tables.ask(f"{sql} LIMIT {MEMBERS}", [value, number])
        if found:
            members = brief(search, [int(member) for member, _ in found])
            yield {"column": name, "value": plain(value), "pairs": int(found[0][1]) + 1, "members": members}
