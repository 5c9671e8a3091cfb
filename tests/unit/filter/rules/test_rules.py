"""Keep-rules: order, thresholds over survivors, NULL as a reason, refusals, lazy equal to eager."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from populations import view_of

from pairwright.components.errors import ColumnError, InvalidRule
from pairwright.components.filter.rules.rules import Rule, Selected, apply_rules, check_rules, judge

TYPES = {
    "image.width": pa.int32(),
    "image.height": pa.int32(),
    "image.error": pa.string(),
    "image._error": pa.string(),
    "align.score": pa.float32(),
    "other.score": pa.float32(),
    "imagenet_tags.tags": pa.list_(pa.string()),
    "text.words": pa.int32(),
    "text.lang": pa.string(),
}


def rules(*expressions: str) -> list[Rule]:
    return [Rule(f"r{i}", expression) for i, expression in enumerate(expressions)]


def kept(selected: Selected) -> list[str]:
    return selected.kept["key"].to_pylist()


def verdict(selected: Selected, key: str) -> dict[str, Any]:
    return next(row for row in selected.verdicts.to_pylist() if row["key"] == key)


@pytest.fixture
def small(tmp_path: Path) -> Any:
    columns = {
        "image.width": pa.array([100, 50, 200, 300, None, 120], pa.int32()),
        "image.height": pa.array([100, 90, 30, 300, None, 120], pa.int32()),
        "image.error": pa.array([None, None, None, None, "decode:truncated", None]),
        "align.score": pa.array([0.1, 0.9, 0.9, 0.5, None, None], pa.float32()),
        "text.words": pa.array([3, 3, 3, 3, 3, 3], pa.int32()),
        "text.lang": pa.array(["en", "en", "de", "en", "en", "en"]),
    }
    return view_of(tmp_path, columns, shards=2, labels={"3": [("category", "animals")]})


@pytest.mark.parametrize(
    "expressions",
    [["least(width, height) >= 64", "align.score >= quantile(align.score, 0.5)"], ["text.lang = 'de'"], []],
)
def test_whom_the_rules_keep_can_be_had_without_the_reasons(small: Any, expressions: list[str]) -> None:
    verdicts = apply_rules(small, rules(*expressions)).verdicts
    with judge(small, rules(*expressions)) as judgement:
        assert judgement.kept().tolist() == [row["status"] == "kept" for row in verdicts.to_pylist()]


def test_the_first_rule_a_pair_fails_is_its_reason_with_value_and_threshold(small: Any) -> None:
    selected = apply_rules(small, rules("least(width, height) >= 64", "align.score >= 0.3"))
    assert kept(selected) == ["3"]
    assert verdict(selected, "1")["rule"] == "r0"
    assert verdict(selected, "1")["threshold"] == "64"
    assert json.loads(verdict(selected, "1")["value"]) == {"image.width": 50, "image.height": 90}
    assert verdict(selected, "0")["rule"] == "r1"
    assert verdict(selected, "0")["threshold"] == "0.3"
    assert json.loads(verdict(selected, "0")["value"]) == {"align.score": 0.1}
    assert verdict(selected, "3") == {
        "shard": small.dataset.shards[1].digest,
        "row": 0,
        "key": "3",
        "status": "kept",
        "rule": None,
        "value": None,
        "threshold": None,
        "detail": None,
    }


def test_a_null_drops_the_pair_as_missing_and_a_picture_error_fails_it(small: Any) -> None:
    selected = apply_rules(small, rules("least(width, height) >= 64", "align.score >= 0.3"))
    assert (verdict(selected, "5")["status"], verdict(selected, "5")["detail"]) == ("dropped", "missing:align.score")
    assert (verdict(selected, "4")["status"], verdict(selected, "4")["detail"]) == ("failed", "decode:truncated")
    assert selected.ledger.failed == {"decode:truncated": 1}


def test_an_unreadable_picture_fails_even_where_no_rule_looks_at_it(small: Any) -> None:
    selected = apply_rules(small, rules("text.words >= 3"))
    assert verdict(selected, "4")["status"] == "failed"
    assert verdict(selected, "4")["rule"] is None
    assert apply_rules(small, []).ledger.as_dict() == {
        "pairs_in": 6,
        "kept": 5,
        "dropped": {},
        "failed": {"decode:truncated": 1},
        "unknown": 0,
    }


def test_a_threshold_is_of_the_pairs_that_passed_every_earlier_rule(small: Any) -> None:
    selected = apply_rules(small, rules("least(width, height) >= 64", "align.score >= max(align.score)"))
    assert selected.thresholds["r1"] == {"max(align.score)": 0.5}
    assert kept(selected) == ["3"]
    assert verdict(selected, "0")["threshold"] == "0.5"


def test_frozen_thresholds_are_used_as_they_are(small: Any) -> None:
    rule = rules("align.score >= quantile(align.score, 0.5)")
    first = apply_rules(small, rule)
    frozen = json.loads(json.dumps({"r0": {next(iter(first.thresholds["r0"])): 0.8}}))
    again = apply_rules(small, rule, frozen=frozen)
    assert kept(again) == ["1", "2"]
    assert again.thresholds == frozen
    with pytest.raises(InvalidRule, match=r"keep.r0 needs the frozen threshold max\(align.score\)"):
        apply_rules(small, rules("align.score >= max(align.score)"), frozen=frozen)


def test_a_frozen_threshold_selects_exactly_what_the_computed_one_did(small: Any) -> None:
    for expression in ("align.score >= avg(align.score)", "align.score >= median(align.score)"):
        first = apply_rules(small, rules(expression))
        frozen = json.loads(json.dumps(first.thresholds))
        assert apply_rules(small, rules(expression), frozen=frozen).kept == first.kept


def test_facts_of_the_pair_are_columns_too(small: Any) -> None:
    assert kept(apply_rules(small, rules("pair.label['category'] = 'animals'"))) == ["3"]
    assert kept(apply_rules(small, rules("pair.label.category = 'animals'"))) == ["3"]
    assert kept(apply_rules(small, rules("key in ('0', '3')"))) == ["0", "3"]
    assert kept(apply_rules(small, rules("pair.group is null and pair.author is null"))) == ["0", "1", "2", "3", "5"]
    assert verdict(apply_rules(small, rules("pair.licence = 'x'")), "0")["detail"] == "missing:pair.licence"


def test_a_duplicates_verdict_names_the_pair_it_repeats(tmp_path: Path) -> None:
    columns = {
        "twins.drop": pa.array([False, True, None]),
        "twins.of": pa.array([None, "0", None], pa.string()),
        "twins.distance": pa.array([None, 7, None], pa.int32()),
    }
    view = view_of(tmp_path, columns, components={"twins": "near_duplicates"})
    selected = apply_rules(view, [Rule("unique", "not twins.drop")])
    assert verdict(selected, "1")["detail"] == "near_duplicate_of:0"
    assert json.loads(verdict(selected, "1")["value"])["twins.distance"] == 7
    assert verdict(selected, "2")["detail"] == "missing:twins.drop"


def test_the_funnel_and_the_ledger_tell_the_same_story(small: Any) -> None:
    selected = apply_rules(small, rules("least(width, height) >= 64", "align.score >= 0.3"))
    assert [(f["pairs_in"], f["kept"], f["dropped"], f["missing"], f["failed"]) for f in selected.funnel] == [
        (6, 3, 2, 0, 1),
        (3, 1, 2, 1, 0),
    ]
    selected.ledger.check()
    assert selected.ledger.dropped == {"r0": 2, "r1": 2}


def test_a_pair_the_sidecar_marks_as_bad_has_failed(tmp_path: Path) -> None:
    view = view_of(tmp_path, {"a.x": pa.array([1, None, 3])}, errors={"1": "duplicate_key"})
    selected = apply_rules(view, rules("a.x > 1"))
    assert verdict(selected, "1")["status"] == "failed"
    assert selected.ledger.failed == {"duplicate_key": 1}
    assert selected.funnel[0]["pairs_in"] == 2


def test_an_error_of_a_step_the_rule_reads_is_a_failure_not_a_drop(tmp_path: Path) -> None:
    columns = {"a.x": pa.array([1, None, 3]), "a._error": pa.array([None, "ValueError: no", None])}
    selected = apply_rules(view_of(tmp_path, columns), rules("a.x > 1"))
    assert verdict(selected, "1")["status"] == "failed"
    assert selected.ledger.failed == {"ValueError": 1}


def test_an_empty_dataset_selects_nothing_and_balances(tmp_path: Path) -> None:
    selected = apply_rules(view_of(tmp_path, {"a.x": pa.array([], pa.int32())}), rules("a.x > quantile(a.x, 0.5)"))
    assert kept(selected) == []
    assert selected.thresholds == {"r0": {"quantile(a.x, 0.5)": None}}
    selected.ledger.check()


def test_later_rules_never_see_pairs_that_an_earlier_one_refused(tmp_path: Path) -> None:
    view = view_of(tmp_path, {"a.s": pa.array(["1", "x", "3"])})
    guarded = rules("a.s similar to '[0-9]+'", "a.s::int >= max(a.s::int)")
    assert kept(apply_rules(view, guarded)) == ["2"]
    with pytest.raises(InvalidRule, match=r"^keep\.r0 fails on a value: Conversion Error.*try_cast$"):
        apply_rules(view, rules("a.s::int >= 1"))


def test_a_damaged_column_file_is_one_clear_error(small: Any) -> None:
    place = small.steps["align"]
    path = Path(small.store.path(place, small.dataset.shards[1].digest))
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ColumnError, match="cut short"):
        apply_rules(small, rules("align.score > 0"))


REFUSED = [
    ("1; drop table pairs", "not one SQL expression"),
    ("true) from pairs where (true", "not one SQL expression"),
    ("true) union all select (true", "not one SQL expression"),
    ("true) limit (1", "not one SQL expression"),
    ("install httpfs", "not one SQL expression"),
    ("attach 'x' as y", "not one SQL expression"),
    ("", "is empty"),
    ("(select true)", "holds a subquery"),
    ("exists(from pairs)", "holds a subquery"),
    ("align.score in (select 1)", "holds a subquery"),
    ("row_number() over () > 3", "holds a window function"),
    ("*", "holds a star"),
    ("columns('.*') > 1", "holds a star"),
    ("? > 1", "holds a parameter"),
    ("read_text('/etc/passwd') = ''", 'calls "read_text", which a rule may not call'),
    ("read_csv('/etc/passwd') = ''", 'calls "read_csv", which a rule may not call'),
    ("query('select 1') = 1", "may not call"),
    ("random() < 0.5", "may not call"),
    ("now() > '2020-01-01'", "may not call"),
    ("current_localtimestamp() > '2020-01-01'", "may not call"),
    ("current_setting('threads') = '1'", "may not call"),
    ("getenv('HOME') = ''", "does not exist"),
    ("pg_sleep(10)", "may not call"),
    ("nextval('s') > 1", "may not call"),
    ("first(align.score) > 1", "may not call"),
    ("max(avg(align.score)) > 1", "inside"),
    ("main.abs(align.score) > 1", "of a schema"),
    ("score > 1", "could be align.score or other.score; say which"),
    ("align.scor > 1", 'did you mean "align.score"?'),
    ("widht >= 64", 'did you mean "width"?'),
    ("pair.licens = 'x'", 'did you mean "pair.licence"?'),
    ("align.score", "is a value .float., not a condition"),
    ("1, 2", "not a condition"),
    ("text.lang > 1 + []", "does not fit"),
]


@pytest.mark.parametrize(("expression", "reason"), REFUSED)
def test_what_is_not_one_condition_on_columns_is_refused_in_one_line(expression: str, reason: str) -> None:
    with pytest.raises(InvalidRule, match=reason) as refused:
        check_rules([Rule("mine", expression)], TYPES)
    assert str(refused.value).startswith("keep.mine ")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "expression",
    [
        "least(image.width, image.height) >= 64 -- a comment",
        "align.score >= quantile(align.score, 0.3) filter (where width > 100)",
        "align.score > avg(align.score) - 2 * stddev(align.score)",
        "text.lang in ('en', 'de') and text.words between 2 and 40",
        "text.lang is not null or lang like 'd%'",
        "list_contains(tags, 'dog') or len(list_filter(tags, lambda t: t like '%cat%')) > 0",
        "case when width > 100 then true else text.words > median(text.words) end",
        "coalesce(align.score, 0) > 0.2",
        "width::double / height <= 3",
        "pair.label['category'] = 'x' or pair.\"group\" is null",
        "count(*) > 10",
    ],
)
def test_the_usual_rules_are_accepted(expression: str) -> None:
    check_rules([Rule("mine", expression)], TYPES)


def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidRule, match="two keep-rules"):
        check_rules([Rule("a", "true"), Rule("a", "false")], TYPES)


def test_no_rule_reaches_a_file_even_past_the_parser(tmp_path: Path) -> None:
    from pairwright.components.filter.rules.population import open_threads, scratch_database

    (tmp_path / "secret.csv").write_text("a\n1\n")
    with scratch_database("100MB") as connection:
        open_threads(connection)
        for sql in (f"SELECT * FROM '{tmp_path}/secret.csv'", "SET enable_external_access = true", "INSTALL httpfs"):
            with pytest.raises(duckdb.Error):
                connection.execute(sql).fetchall()


scores = st.one_of(st.none(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]), st.floats(0, 1, width=32))
rows = st.lists(st.tuples(scores, scores, st.sampled_from([None, "decode:corrupt"])), min_size=1, max_size=40)
CHAIN = rules(
    "a.x >= quantile(a.x, 0.3)", "b.y > avg(b.y) - stddev_pop(b.y)", "a.x + b.y <= max(a.x)", "b.y <= median(b.y)"
)


def _columns(values: Sequence[tuple[Any, Any, Any]]) -> Mapping[str, pa.Array]:
    return {
        "a.x": pa.array([v[0] for v in values], pa.float32()),
        "b.y": pa.array([None if v[2] else v[1] for v in values], pa.float32()),
        "b._error": pa.array([v[2] for v in values], pa.string()),
    }


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows)
def test_lazy_columns_select_the_same_rows_as_eager_ones(tmp_path_factory: Any, values: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("lazy")
    eager = _columns(values)
    whole = apply_rules(view_of(folder / "eager", eager, shards=3), CHAIN)
    survivors = set(kept(apply_rules(view_of(folder / "first", {"a.x": eager["a.x"]}, shards=3), CHAIN[:1])))
    reached = pa.array([str(i) in survivors for i in range(len(values))])
    lazy = {name: array if name == "a.x" else _only(array, reached) for name, array in eager.items()}
    again = apply_rules(view_of(folder / "lazy", lazy, shards=3), CHAIN)
    assert kept(again) == kept(whole)
    assert again.thresholds == whole.thresholds


def _only(array: pa.Array, mask: pa.Array) -> pa.Array:
    return pa.compute.if_else(mask, array, pa.scalar(None, array.type))


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows, st.lists(st.sampled_from(CHAIN), unique=True, max_size=4))
def test_every_pair_is_counted_once_whatever_the_rules(tmp_path_factory: Any, values: list[Any], chain: Any) -> None:
    selected = apply_rules(view_of(tmp_path_factory.mktemp("ledger"), _columns(values), shards=2), chain)
    selected.ledger.check()
    assert selected.ledger.pairs_in == len(values) == len(selected.verdicts)
    assert selected.verdicts["key"].to_pylist() == [str(i) for i in range(len(values))]
    statuses = selected.verdicts["status"].to_pylist()
    assert statuses.count("kept") == selected.ledger.kept == len(selected.kept)
    assert statuses.count("dropped") == selected.ledger.pairs_dropped
    assert statuses.count("failed") == selected.ledger.pairs_failed


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows, st.floats(0, 1), st.floats(0, 1))
def test_a_stricter_threshold_keeps_a_subset(tmp_path_factory: Any, values: list[Any], a: float, b: float) -> None:
    view = view_of(tmp_path_factory.mktemp("monotone"), _columns(values), shards=2)
    loose, strict = min(a, b), max(a, b)
    many = kept(apply_rules(view, rules(f"a.x >= {loose!r}")))
    few = kept(apply_rules(view, rules(f"a.x >= {strict!r}")))
    assert set(few) <= set(many)
