"""Gates by real Great Expectations on real datasets: what passes, what blocks, what it says, how it looks."""

from __future__ import annotations

import html.parser
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

pytest.importorskip("great_expectations")

from pairwright.components.component import Metric
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.errors import DatasetError, GateFailed, InvalidRecipe
from pairwright.components.validation.gates import curated_gate, evaluation_gate, raw_gate
from pairwright.components.validation.result import GateResult
from pairwright.components.validation.settings import CuratedGateSettings, EvaluationGateSettings, RawGateSettings
from pairwright.components.validation.statistics import raw_frames

pytestmark = pytest.mark.platform

Shapes = Callable[..., Dataset]


@dataclass
class Ledger:
    """The parts of the selection's ledger that the gate reads."""

    pairs_in: int
    kept: int
    dropped: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    unknown: int = 0


@pytest.fixture
def damaged(tmp_path: Path) -> Dataset:
    """Four shards of ten pairs; the third has six duplicate keys and the fourth one."""
    with ShardWriter(f"{tmp_path}/damaged", "damaged", pairs_per_shard=10) as writer:
        for number in range(40):
            key = "same" if 20 <= number < 27 or number == 30 else f"{number:03d}"
            writer.add(key, [("image", "image", "jpg", b"\xff\xd8 not looked at")], [caption(f"number {number}")])
    return writer.dataset


def view_of(dataset: Dataset, root: Path) -> ColumnsView:
    """`language.lang`: "de" in the first shard, "en" elsewhere; `size.width` 64 to 64 + rows."""
    store = ColumnStore(str(root / "columns"))
    steps = {"language": StepColumns("language", "l"), "size": StepColumns("size", "s")}
    for number, shard in enumerate(dataset.shards):
        lang = pa.array(["en" if number else "de"] * shard.rows)
        store.write(steps["language"], shard.digest, {"lang": lang}, shard.rows)
        width = pa.array([64 + row for row in range(shard.rows)], pa.int32())
        store.write(steps["size"], shard.digest, {"width": width}, shard.rows)
    return ColumnsView(dataset, store, steps)


def kept_of(dataset: Dataset, rows: int | None = None) -> pa.Table:
    """The first `rows` rows of every shard, as a selection's kept table."""
    tables = []
    for shard, sidecar in dataset.iter_sidecars(["key"]):
        part = sidecar.slice(0, rows)
        ids = {"shard": pa.array([shard.digest] * len(part)), "row": pa.array(range(len(part)), pa.int32())}
        tables.append(pa.table({**ids, "key": part["key"]}))
    return pa.concat_tables(tables)


def check(result: GateResult, name: str) -> dict[str, Any]:
    return next(check for check in result.checks if check["name"] == name)


def test_a_sound_dataset_passes_the_raw_gate(shapes: Shapes, tmp_path: Path) -> None:
    result = raw_gate(shapes(pairs=48, shards=2), docs=tmp_path / "gx")
    result.raise_if_failed()
    assert result.passed
    assert check(result, "pairs")["observed"] == 48
    assert check(result, "pairs")["expectation"] == "expect_column_values_to_be_between"
    assert not result.warnings


def test_a_failed_gate_names_expectation_observed_value_and_worst_shards_in_one_line(
    damaged: Dataset, tmp_path: Path
) -> None:
    result = raw_gate(damaged, docs=tmp_path / "gx")
    assert not result.passed
    with pytest.raises(GateFailed) as caught:
        result.raise_if_failed()
    message = str(caught.value)
    assert "\n" not in message
    third, fourth = damaged.shards[2].name, damaged.shards[3].name
    failed = sum(table["error"].drop_null().length() for _, table in damaged.iter_sidecars(["error"]))
    assert failed == 7
    assert f"failed_share is {failed / 40:.4g}, expected at most 0.05" in message
    assert f"worst shards: {third} (0.6), {fourth} (0.1)" in message
    assert result.docs in message
    assert [shard["shard"] for shard in result.worst_shards] == [third, fourth]
    assert check(result, "shard_failed_share")["observed"] == f"off in 1 of 4 (failed_share 0.6, shard {third})"


def test_a_warning_annotates_and_a_recipe_may_make_it_block(damaged: Dataset, tmp_path: Path) -> None:
    lenient = RawGateSettings(max_failed_share=0.5)
    result = raw_gate(damaged, settings=lenient, docs=tmp_path / "gx")
    assert result.passed
    assert [warning["name"] for warning in result.warnings] == ["shard_failed_share"]
    strict = lenient.model_copy(update={"severity": {"shard_failed_share": "critical"}})
    assert not raw_gate(damaged, settings=strict, docs=tmp_path / "gx").passed
    with pytest.raises(InvalidRecipe, match='did you mean "shard_failed_share"'):
        raw_gate(damaged, settings=RawGateSettings(severity={"shard_faild_share": "warning"}), docs=tmp_path / "gx")


def test_an_empty_dataset_fails_rather_than_passing_for_want_of_rows(tmp_path: Path) -> None:
    empty = Dataset("empty", str(tmp_path), ())
    result = raw_gate(empty, docs=tmp_path / "gx")
    assert [failure["name"] for failure in result.failures] == ["pairs"]
    assert check(result, "pairs")["observed"] == 0


def test_pairs_lost_with_a_truncated_tar_count_as_failed(shapes: Shapes, tmp_path: Path) -> None:
    whole = shapes(pairs=20, shards=2)
    first, second = whole.shards
    torn = replace(whole, shards=(first, replace(second, unknown=10, problem="truncated")))
    result = raw_gate(torn, docs=tmp_path / "gx")
    assert check(result, "failed_share")["observed"] == pytest.approx(10 / 30, abs=1e-4)
    assert result.worst_shards[0]["shard"] == second.name


def test_the_sample_is_bounded_spread_over_shards_and_always_the_same(shapes: Shapes) -> None:
    dataset = shapes(pairs=60, shards=3)
    first = raw_frames(dataset, None, "alt", [], 12)["sample"]
    again = raw_frames(dataset, None, "alt", [], 12)["sample"]
    assert len(first) == 12
    assert first.equals(again)
    assert {entry["counts"] for entry in pc.value_counts(first["shard"]).to_pylist()} == {4}
    assert first["key"].to_pylist() != [f"{n:06d}" for n in (0, 1, 2, 3, 20, 21, 22, 23, 40, 41, 42, 43)]


def test_a_recipe_may_expect_things_of_any_column(shapes: Shapes, tmp_path: Path) -> None:
    dataset = shapes(pairs=40, shards=4)
    view = view_of(dataset, tmp_path)
    wanted = {"columns": {"size.width": {"min": 64, "max": 72}, "language.lang": {"allowed": ["en"], "mostly": 0.7}}}
    result = raw_gate(dataset, view, settings=RawGateSettings.parse(wanted, "mine.yaml"), docs=tmp_path / "gx")
    assert [failure["name"] for failure in result.failures] == ["size.width"]
    assert str(check(result, "size.width")["observed"]).startswith("off in 4 of 40 (size.width 73, key 0000")
    assert check(result, "language.lang allowed")["success"]
    with pytest.raises(DatasetError, match="needs scored columns"):
        raw_gate(dataset, settings=RawGateSettings.parse(wanted, "mine.yaml"), docs=tmp_path / "gx")


def test_a_sound_selection_passes_the_curated_gate(shapes: Shapes, tmp_path: Path) -> None:
    dataset = shapes(pairs=48, shards=2)
    kept = kept_of(dataset, rows=10)
    ledger = Ledger(48, 20, {"large_enough": 28})
    result = curated_gate(view_of(dataset, tmp_path), kept, ledger, docs=tmp_path / "gx")
    result.raise_if_failed()
    assert check(result, "kept")["observed"] == 20
    assert check(result, "unaccounted")["success"]


@pytest.mark.parametrize(
    ("broken", "name", "observed"),
    [
        (lambda kept: pa.concat_tables([kept, kept.slice(0, 2)]), "repeated_rows", 2),
        (lambda kept: kept.set_column(1, "row", pc.add(kept["row"], pa.scalar(20, pa.int32()))), "stray_rows", 12),
        (lambda kept: kept.set_column(0, "shard", pa.array(["gone"] * len(kept))), "stray_rows", 20),
        (lambda kept: kept.slice(0, 0), "kept", 0),
    ],
)
def test_a_selection_that_does_not_fit_its_dataset_is_stopped(
    shapes: Shapes, tmp_path: Path, broken: Callable[[pa.Table], pa.Table], name: str, observed: int
) -> None:
    dataset = shapes(pairs=48, shards=2)
    kept = broken(kept_of(dataset, rows=10))
    ledger = Ledger(48, len(kept), {"large_enough": 48 - len(kept)})
    result = curated_gate(view_of(dataset, tmp_path), kept, ledger, docs=tmp_path / "gx")
    assert name in [failure["name"] for failure in result.failures]
    assert check(result, name)["observed"] == observed


def test_a_pair_the_ledger_cannot_account_for_stops_the_chain(shapes: Shapes, tmp_path: Path) -> None:
    dataset = shapes(pairs=48, shards=2)
    ledger = Ledger(48, 20, {"large_enough": 27})
    result = curated_gate(view_of(dataset, tmp_path), kept_of(dataset, 10), ledger, docs=tmp_path / "gx")
    with pytest.raises(GateFailed, match="unaccounted is 1, expected exactly 0"):
        result.raise_if_failed()


def test_the_kept_captions_must_be_in_the_language_asked_for(shapes: Shapes, tmp_path: Path) -> None:
    dataset = shapes(pairs=48, shards=2)
    settings = CuratedGateSettings(lang="en", min_lang_share=0.8)
    ledger = Ledger(48, 48)
    result = curated_gate(view_of(dataset, tmp_path), kept_of(dataset), ledger, settings=settings, docs=tmp_path / "gx")
    assert [failure["name"] for failure in result.failures] == ["language.lang allowed"]
    passes = settings.model_copy(update={"min_lang_share": 0.5})
    assert curated_gate(
        view_of(dataset, tmp_path), kept_of(dataset), ledger, settings=passes, docs=tmp_path / "gx"
    ).passed


GOOD = Metric("retrieval.R@1", 0.4, 200, 0.35, 0.45, "share of captions whose own picture comes first")


def test_the_evaluation_gate_wants_every_metric_measured_defined_and_inside_its_interval(tmp_path: Path) -> None:
    docs = tmp_path / "gx"
    assert evaluation_gate([GOOD], docs=docs).passed
    for bad, name in [
        (asdict(GOOD) | {"value": float("nan")}, "measured"),
        (replace(GOOD, low=0.41), "low_to_value"),
        (replace(GOOD, high=0.39), "value_to_high"),
    ]:
        assert [failure["name"] for failure in evaluation_gate([bad], docs=docs).failures] == [name]
    assert [failure["name"] for failure in evaluation_gate([GOOD, GOOD], docs=docs).failures] == ["named_once"]
    assert [failure["name"] for failure in evaluation_gate([], docs=docs).failures] == ["metrics_measured"]


def test_a_model_below_its_floor_is_stopped(tmp_path: Path) -> None:
    settings = EvaluationGateSettings(floors={"retrieval.R@1": 0.5}, min_items=300)
    result = evaluation_gate([GOOD], settings=settings, docs=tmp_path / "gx")
    with pytest.raises(GateFailed, match=r"floor retrieval.R@1 is 0.4, expected at least 0.5"):
        result.raise_if_failed()
    assert [warning["name"] for warning in result.warnings] == ["items"]
    with pytest.raises(InvalidRecipe, match=r'did you mean "retrieval\.R@1"'):
        evaluation_gate([GOOD], settings=EvaluationGateSettings(floors={"retrieval.R1": 0.5}), docs=tmp_path / "gx")


class Links(html.parser.HTMLParser):
    """Every address a page asks a browser to load or offers to open."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.opens: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.loads += [v for v in [found.get("src"), found.get("href") if tag == "link" else None] if v]
        self.opens += [found["href"]] if tag == "a" and found.get("href") else []


def test_data_docs_load_nothing_and_every_link_leads_to_a_page(damaged: Dataset, tmp_path: Path) -> None:
    docs = tmp_path / "gx"
    failed = raw_gate(damaged, docs=docs)
    evaluation_gate([GOOD], docs=docs)
    pages = list(docs.rglob("*.html"))
    assert len(pages) >= 1 + 2 + 4  # the index, a page a gate, Great Expectations' own
    for page in pages:
        text = page.read_text(encoding="utf-8")
        links = Links()
        links.feed(text)
        assert links.loads == []
        assert not re.search(r"url\(\s*['\"]?https?:|@import", text)
        for link in links.opens:
            if not link.startswith(("#", "http")):
                assert (page.parent / link.split("#")[0]).exists(), f"{page}: {link}"
    index = (docs / "index.html").read_text()
    assert "✗ failed" in index
    assert "✓ passed" in index
    page = Path(failed.docs).read_text()
    assert "at most 0.05" in page
    assert damaged.shards[2].name in page
    assert not list(docs.rglob(".partial-*"))


def test_a_result_survives_json_and_sums_itself_up_for_the_pedigree(damaged: Dataset, tmp_path: Path) -> None:
    result = raw_gate(damaged, docs=tmp_path / "gx")
    again = GateResult.from_dict(json.loads(json.dumps(result.as_dict())))
    assert again == result
    with pytest.raises(GateFailed):
        again.raise_if_failed()
    summary = json.loads(json.dumps(result.summary()))
    assert summary["passed"] is False
    assert summary["failed"][0]["observed"] == 0.175
    assert not any("/" in str(value) for value in summary.values())


def test_a_gate_says_nothing_on_the_terminal(
    damaged: Dataset, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    raw_gate(damaged, docs=tmp_path / "gx")
    assert capfd.readouterr() == ("", "")
