"""Filters, orders, classes and histograms against the same asked in plain Python; refusals; gaps."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from populations import view_of

from pairwright.components.dataset.dataset import Dataset, Shard
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
from pairwright.components.dataset.shards.schema import SIDECAR
from pairwright.components.dataset.shards.sidecar import write_sidecar
from pairwright.components.explore.bins import Histograms
from pairwright.components.explore.exploration import Exploration, SelectionPlace
from pairwright.components.explore.explorer import Explorer, open_explorer
from pairwright.components.explore.search import InvalidQuery, Wanted
from pairwright.components.filter.rules.rules import Rule
from pairwright.components.filter.rules.selection import load_selection, write_selection

ROWS = 60
WORDS = ["red", "green", "o'clock", "", None]


def values() -> dict[str, list[Any]]:
    random = np.random.default_rng(11)
    score = [float(np.float32(x)) for x in random.normal(0, 1, ROWS)]
    score[3] = math.nan
    return {
        "a.score": [None if i % 7 == 0 else score[i] for i in range(ROWS)],
        "a.whole": [None if i % 11 == 0 else int(random.integers(-5, 6)) for i in range(ROWS)],
        "b.word": [WORDS[int(random.integers(0, len(WORDS)))] for _ in range(ROWS)],
        "b.flag": [bool(random.integers(0, 2)) if i % 5 else None for i in range(ROWS)],
    }


TYPES = {"a.score": pa.float32(), "a.whole": pa.int32(), "b.word": pa.string(), "b.flag": pa.bool_()}
RULES = {"one": [Rule("flagged", "b.flag")], "two": [Rule("high", "a.whole >= 0"), Rule("worded", "b.word <> 'red'")]}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Explorer, dict[str, list[Any]]]]:
    root = tmp_path_factory.mktemp("search")
    said = values()
    columns = {name: pa.array(column, TYPES[name]) for name, column in said.items()}
    labels = {str(i): [("kind", "even" if i % 2 == 0 else "odd")] for i in range(ROWS - 1)}
    captions = {str(i): f"caption {i} of a thing" for i in range(0, ROWS, 2)}
    view = view_of(root, columns, shards=4, labels=labels, captions=captions)
    for name, rules in RULES.items():
        write_selection(view, rules, root / name)
    places = tuple(SelectionPlace(name, str(root / name), name) for name in RULES)
    with open_explorer(Exploration("planted", view, places, "one")) as explorer:
        yield explorer, said


# ---- conditions as SQL, and as a function of a row with SQL's three values: True, False, None ----

Condition = tuple[str, Callable[[dict[str, Any]], bool | None]]


def compared(name: str, sign: str, constant: Any) -> Condition:
    written = "'" + constant.replace("'", "''") + "'" if isinstance(constant, str) else repr(constant)

    def holds(row: dict[str, Any]) -> bool | None:
        value = row[name]
        if value is None:
            return None
        if isinstance(value, float) and math.isnan(value):  # DuckDB: NaN equals itself and exceeds all else
            return sign in (">", ">=", "<>")
        return {
            ">": value > constant,
            ">=": value >= constant,
            "<": value < constant,
            "<=": value <= constant,
            "=": value == constant,
            "<>": value != constant,
        }[sign]

    return f"{name} {sign} {written}", holds


signs = st.sampled_from([">", ">=", "<", "<=", "=", "<>"])
leaves = st.one_of(
    st.builds(compared, st.just("a.score"), signs, st.integers(-20, 20).map(lambda n: n / 8)),  # exact as float32
    st.builds(compared, st.just("a.whole"), signs, st.integers(-6, 6)),
    st.builds(compared, st.just("b.word"), signs, st.sampled_from(["red", "o'clock", "", "zebra"])),
    st.just(("b.flag", lambda row: row["b.flag"])),
    st.sampled_from(["a.score", "b.word"]).map(lambda n: (f"{n} IS NULL", lambda row: row[n] is None)),
)


def negated(one: Condition) -> Condition:
    return f"NOT ({one[0]})", lambda row: None if one[1](row) is None else not one[1](row)


def joined(one: Condition, word: str, two: Condition) -> Condition:
    def holds(row: dict[str, Any]) -> bool | None:
        found = {one[1](row), two[1](row)}
        decides = word == "OR"
        return decides if decides in found else (None if None in found else not decides)

    return f"({one[0]}) {word} ({two[0]})", holds


conditions = st.recursive(
    leaves, lambda c: st.one_of(c.map(negated), st.builds(joined, c, st.sampled_from(["AND", "OR"]), c)), max_leaves=6
)
rows_of = lambda said: [{name: column[i] for name, column in said.items()} for i in range(ROWS)]  # noqa: E731
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(
    condition=conditions,
    sort=st.sampled_from(["", *TYPES, "random"]),
    descending=st.booleans(),
    show=st.sampled_from(["", "kept", "dropped"]),
)
def test_what_is_found_equals_a_plain_evaluation(
    opened: tuple[Explorer, dict[str, list[Any]]], condition: Condition, sort: str, descending: bool, show: str
) -> None:
    explorer, said = opened
    text, holds = condition
    rows = rows_of(said)
    passing = [i for i in range(ROWS) if holds(rows[i]) is True]
    status = ["kept" if row["b.flag"] else "dropped" for row in rows]
    found = explorer.search.found(Wanted(text, sort, descending, show, first="one"))
    assert dict(found.classes) == {
        "kept": sum(status[i] == "kept" for i in passing),
        "dropped": sum(status[i] == "dropped" for i in passing),
        "failed": 0,
        "not judged": 0,
    }
    shown = [i for i in passing if not show or status[i] == show]
    if sort == "random":
        assert sorted(found.numbers.tolist()) == shown
        return
    if sort:
        known = [i for i in shown if said[sort][i] is not None and said[sort][i] == said[sort][i]]
        known.sort(key=lambda i: said[sort][i], reverse=descending)  # stable: of equals the earlier pair first
        unknown = [i for i in shown if i not in set(known)]
        shown = [*known, *unknown]
    assert found.numbers.tolist() == shown


def test_a_random_order_is_the_same_every_time_and_not_the_datasets(opened: Any) -> None:
    explorer, _ = opened
    order = explorer.search.found(Wanted(sort="random")).numbers.tolist()
    assert order != sorted(order)
    assert order == explorer.search.found(Wanted(sort="random", descending=True)).numbers.tolist()


def test_an_aggregate_is_over_every_pair_and_its_value_is_told(opened: Any) -> None:
    explorer, said = opened
    found = explorer.search.found(Wanted("a.whole >= median(a.whole) AND b.flag"))
    middle = float(np.median([v for v in said["a.whole"] if v is not None]))
    assert list(found.thresholds.values()) == [middle]
    wanted = [i for i in range(ROWS) if (said["a.whole"][i] or 0) >= middle and said["a.whole"][i] is not None]
    assert found.numbers.tolist() == [i for i in wanted if said["b.flag"][i]]


def test_two_selections_compared_pair_by_pair(opened: Any) -> None:
    explorer, _ = opened
    kept = {}
    for name in RULES:
        table = load_selection(explorer.verdicts.places[name].folder).kept
        kept[name] = set(table["key"].to_pylist())
    everyone = {str(i) for i in range(ROWS)}
    expected = {
        "both": kept["one"] & kept["two"],
        "first": kept["one"] - kept["two"],
        "second": kept["two"] - kept["one"],
        "neither": everyone - kept["one"] - kept["two"],
    }
    assert all(expected.values()), "the test's selections must differ in every way"
    for name, keys in expected.items():
        page = explorer.page(Wanted(show=name, first="one", second="two"), 0, ROWS)
        assert {item["key"] for item in page["items"]} == keys
        assert page["classes"][name] == len(keys)
        assert {item["class"] for item in page["items"]} == {name}


def test_verdicts_of_both_selections_are_columns(opened: Any) -> None:
    explorer, _ = opened
    text = "verdict.status = 'dropped' AND other.rule = 'high' AND other.value IS NOT NULL"
    found = explorer.search.found(Wanted(text, first="one", second="two")).numbers.tolist()
    verdicts = {name: load_selection(explorer.verdicts.places[name].folder).verdicts.to_pylist() for name in RULES}
    pairs = zip(verdicts["one"], verdicts["two"], strict=True)
    expected = [i for i, (a, b) in enumerate(pairs) if a["status"] == "dropped" and b["rule"] == "high" and b["value"]]
    assert found == expected
    assert found
    with pytest.raises(InvalidQuery, match="none is chosen"):
        explorer.search.found(Wanted("other.status = 'kept'", first="one"))


def test_facts_labels_and_captions_are_columns(opened: Any) -> None:
    explorer, _ = opened
    found = explorer.search.found(Wanted("pair.label.kind = 'odd' AND pair.key <> '1'")).numbers.tolist()
    assert found == list(range(3, ROWS - 1, 2))
    assert explorer.search.found(Wanted("caption.alt = 'caption 4 of a thing'")).numbers.tolist() == [4]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a.scor > 1", 'did you mean "a.score"'),
        ("pair.label.kin = 'odd'", 'did you mean "kind"'),
        ("a.score", "not a condition"),
        ("CAST(b.word AS INTEGER) > 1", "the filter fails"),
        ("b.word > a.score >", "not one SQL expression"),
        ("a.score > 1; DROP TABLE pairs", "not one SQL expression"),
        ("1) FROM pairs WHERE (1 = 1", "a query"),
        ("a.score > (SELECT 1)", "a subquery"),
        ("EXISTS (SELECT * FROM duckdb_settings())", "a subquery"),
        ("row_number() OVER () < 3", "a window function"),
        ("read_text('/etc/passwd') IS NULL", "may not call"),
        ("getenv('HOME') = ''", "may not call|does not exist"),
        ("current_setting('threads') = '1'", "may not call"),
        ("random() > 0.5", "may not call"),
        ("a.score > $1", "a parameter"),
        ("pairs.offset > 0", "no step makes"),
        ("_id > 3", "no step makes"),
        ("count(DISTINCT a.whole) OVER () > 1", "a window function"),
    ],
)
def test_what_is_no_condition_on_columns_is_refused_in_one_line(opened: Any, text: str, says: str) -> None:
    explorer, _ = opened
    with pytest.raises(InvalidQuery, match="(?s)" + says.replace("(", r"\(")) as refused:
        explorer.search.found(Wanted(text, first="one"))
    assert "\n" not in str(refused.value)
    assert "keep." not in str(refused.value), "the person wrote a filter, not a rule"
    assert len(explorer.search.found(Wanted(first="one")).numbers) == ROWS, "and the tables are as they were"


@pytest.mark.parametrize("sort", ["a.scor", 'a.score" DESC; DROP TABLE pairs --', "pair.label", "_id"])
def test_an_order_is_a_column_or_refused(opened: Any, sort: str) -> None:
    explorer, _ = opened
    with pytest.raises(InvalidQuery, match="cannot sort by"):
        explorer.search.found(Wanted(sort=sort))


@quick
@given(condition=conditions, name=st.sampled_from(["a.score", "a.whole", "b.word", "b.flag", "verdict.rule"]))
def test_a_histogram_counts_every_pair_found_once(opened: Any, condition: Condition, name: str) -> None:
    explorer, _ = opened
    wanted = Wanted(condition[0], first="one")
    histogram = Histograms(explorer.search).histogram(name, wanted)
    counted = Counter({c: sum(bars) for c, bars in histogram["classes"].items()})
    found = explorer.search.found(wanted)
    # A NaN is a value that no bar holds: it is counted with those without one.
    assert counted.total() + histogram["null"] + histogram["other"] == len(found.numbers)
    assert all(counted[c] <= found.classes[c] for c in counted)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.score", "a.whole"])
def test_what_a_brush_writes_finds_what_its_bars_hold(opened: Any, name: str) -> None:
    explorer, _ = opened
    histogram = explorer.histograms.histogram(name, Wanted(first="one"))
    edges, bars = histogram["edges"], histogram["all"]
    assert edges == sorted(edges)
    assert len(edges) == len(bars) + 1 >= 5
    for first in range(1, len(bars) - 1):
        for last in range(first, len(bars) - 1):
            text = f"{name} >= {edges[first]} AND {name} < {edges[last + 1]}"
            assert len(explorer.search.found(Wanted(text)).numbers) == sum(bars[first : last + 1])


def test_pages_are_slices_of_what_was_found(opened: Any) -> None:
    explorer, _ = opened
    wanted = Wanted("b.flag IS NOT NULL", "a.whole", True, first="one")
    everything = explorer.page(wanted, 0, ROWS)["items"]
    paged = [item for start in range(0, ROWS, 7) for item in explorer.page(wanted, start, 7)["items"]]
    assert paged == everything
    assert explorer.page(wanted, 10**9, 7)["items"] == []


@pytest.mark.slow
def test_rows_stay_beside_each_other_over_many_row_groups(tmp_path: Path) -> None:
    """DuckDB skips row groups that a condition rules out; a join by position must not slip by them."""
    rows, shards = 90_000, []
    store, steps = ColumnStore(f"{tmp_path}/columns"), {name: StepColumns(name, "d") for name in ("one", "two")}
    for number in range(5):
        first = number * rows
        keys = pa.array([str(first + i) for i in range(rows)])
        nulls = [pa.nulls(rows, field.type) for field in SIDECAR if field.name != "key"]
        write_sidecar(pa.table([keys, *nulls], schema=SIDECAR), f"{tmp_path}/{number}.parquet")
        shards.append(Shard(str(number), "", f"{tmp_path}/{number}.parquet", f"{number:032x}", rows, 0))
        for step in steps:
            store.write(steps[step], shards[-1].digest, {"at": pa.array(np.arange(first, first + rows))}, rows)
    view = ColumnsView(Dataset("long", str(tmp_path), tuple(shards)), store, steps)
    with open_explorer(Exploration("long", view)) as explorer:

        def count(text: str) -> int:
            return len(explorer.search.found(Wanted(text)).numbers)

        assert count("one.at = two.at AND CAST(pair.key AS BIGINT) = one.at") == 5 * rows
        found = explorer.search.found(Wanted("one.at >= 300000 AND two.at < 300777 AND pair.key <> '300001'", "two.at"))
        assert found.numbers.tolist() == [300_000, *range(300_002, 300_777)]
        assert count("one.at >= 400000 AND two.at < 300000") == 0
        page = explorer.page(Wanted("two.at % 50000 = 7", "one.at", True), 0, 20)
        assert [item["key"] for item in page["items"]] == [str(n) for n in range(400_007, 0, -50_000)]


def test_missing_and_damaged_columns_are_told_and_empty(tmp_path: Path) -> None:
    columns = {"a.score": pa.array(np.arange(12, dtype=np.float32)), "b.word": pa.array(["x"] * 12)}
    view = view_of(tmp_path, columns, shards=3)
    shards = view.dataset.shards
    path = {name: [Path(view.store.path(place, s.digest)) for s in shards] for name, place in view.steps.items()}
    path["a"][1].write_bytes(path["a"][1].read_bytes()[:-10])  # cut short: not as long as its record says
    data = bytearray(path["a"][2].read_bytes())
    end = len(data) - 8 - int.from_bytes(data[-8:-4], "little")  # of the pages, where the footer begins
    data[4:end] = bytes(end - 4)  # damaged inside: as long as it should be
    path["a"][2].write_bytes(bytes(data))
    for file in path["b"]:
        file.unlink()
    with open_explorer(Exploration("torn", view)) as explorer:
        found = explorer.search.found(Wanted("a.score >= 0")).numbers.tolist()
        assert found == [0, 1, 2, 3]
        assert len(explorer.search.found(Wanted("a.score IS NULL")).numbers) == 8
        gaps = explorer.about()["gaps"]
        torn = "a has no columns of 2 of 3 shards (00001, 00002): missing, cut short or damaged"
        assert any(torn in gap for gap in gaps), gaps
        assert any("b has no columns of every shard" in gap for gap in gaps), gaps
        with pytest.raises(InvalidQuery, match=r"b\.word"):
            explorer.search.found(Wanted("b.word = 'x'"))


def test_a_dataset_without_steps_or_selections_still_opens(tmp_path: Path) -> None:
    view = view_of(tmp_path, {"a.score": pa.array([1.0, 2.0])})
    bare = type(view)(view.dataset, view.store, {})
    with open_explorer(Exploration("bare", bare)) as explorer:
        assert explorer.about()["own"] is None
        page = explorer.page(Wanted(), 0, 10)
        assert page["classes"] == {"pairs": 2}
        assert [item["key"] for item in page["items"]] == ["0", "1"]


def test_a_damaged_selection_is_told_and_the_rest_opens(tmp_path: Path) -> None:
    view = view_of(tmp_path, {"a.score": pa.array([1.0, 2.0])})
    write_selection(view, [Rule("high", "a.score > 1")], tmp_path / "good")
    write_selection(view, [Rule("high", "a.score > 1")], tmp_path / "bad")
    (tmp_path / "bad" / "selection.json").write_text("{")
    places = tuple(SelectionPlace(name, str(tmp_path / name), name) for name in ("good", "bad"))
    with open_explorer(Exploration("run", view, places, "bad")) as explorer:
        about = explorer.about()
        assert [selection["name"] for selection in about["selections"]] == ["good"]
        assert about["own"] is None
        assert any("bad cannot be shown" in gap for gap in about["gaps"])


def test_verdicts_of_other_shards_leave_pairs_not_judged(tmp_path: Path) -> None:
    view = view_of(tmp_path, {"a.score": pa.array(np.arange(12, dtype=np.float32))}, shards=3)
    sample = type(view)(view.dataset.limited(1), view.store, view.steps)
    write_selection(sample, [Rule("high", "a.score > 1")], tmp_path / "sample")
    with open_explorer(
        Exploration("run", view, (SelectionPlace("s", str(tmp_path / "sample"), "s"),), "s")
    ) as explorer:
        page = explorer.page(Wanted(first="s"), 0, 12)
        assert page["classes"] == {"kept": 2, "dropped": 2, "failed": 0, "not judged": 8}
        assert [i["class"] for i in page["items"]][:5] == ["dropped", "dropped", "kept", "kept", "not judged"]
