"""`lazy: true` keeps the same pairs for the same reasons, and no dropped pair reaches a model."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pairwright.components.component import Captions, Columns, Pixels, Scorer, Selection
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.dataset.shards import reading
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView
from pairwright.components.dataset.shards.scan import ScanTask, run_local
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.errors import ModelError
from pairwright.components.filter.rules.rules import Rule, Selected, apply_rules
from pairwright.components.filter.rules.spare import write_spared
from pairwright.components.models.resolve import resolve_model
from pairwright.components.recipe import Recipe
from pairwright.components.registry import scorer, selection
from pairwright.components.settings import Settings
from pairwright.flows.planning.plan import Plan, job_of
from pairwright.flows.planning.planning import plan_recipe

pytestmark = pytest.mark.platform

SEEN: dict[str, list[str]] = {"model": [], "second": []}  # component -> keys of the pairs it was given
LOADED: list[str] = []
STOPS_AT: set[str] = set()  # keys at which `lazy_second` stops the run


def said(pairs: PairBatch) -> list[dict[str, float]]:
    """The numbers a caption spells, "x=0.5 y=1"; a pair says only what it has."""
    parts = [(text or "").split() for text in pairs.captions("alt")]
    return [{part[0]: float(part[2:]) for part in some} for some in parts]


class SourceSettings(Settings):
    source: str = "alt"


@scorer("lazy_cheap")
class Cheap(Scorer[SourceSettings]):
    columns = {"x": pa.float32(), "w": pa.float32()}
    requires = Captions("source")

    def score(self, pairs: PairBatch) -> dict[str, Any]:
        return {name: [one.get(name) for one in said(pairs)] for name in self.columns}


@scorer("lazy_look")
class Look(Scorer[Settings]):
    columns = {"light": pa.float32()}
    requires = Pixels(8)

    def score(self, pairs: PairBatch) -> dict[str, Any]:
        return {"light": [float(image.mean()) for image in pairs.images if image is not None]}


@scorer("lazy_model")
class Model(Scorer[SourceSettings]):
    runs_model = True
    columns = {"y": pa.float32(), "pixels": pa.int32()}
    requires = Pixels(16) + Captions("source")

    def setup(self, device: str) -> None:
        LOADED.append(self.name)

    def score(self, pairs: PairBatch) -> dict[str, Any]:
        SEEN["model"] += pairs.keys
        sizes = [min(image.shape[:2]) for image in pairs.images if image is not None]
        return {"y": [one.get("y") for one in said(pairs)], "pixels": sizes}


class SecondSettings(Settings):
    of: str = "model.y"


@scorer("lazy_second")
class Second(Scorer[SecondSettings]):
    runs_model = True
    columns = {"z": pa.float32()}
    requires = Columns("of")

    def score(self, pairs: PairBatch) -> dict[str, Any]:
        if STOPS_AT & set(pairs.keys):
            raise ModelError("the weights are gone; fetch them again")
        SEEN["second"] += pairs.keys
        return {"z": [value / 2 for value in pairs.columns[self.settings.of]]}


class RankSettings(Settings):
    of: str = "cheap.x"


@selection("lazy_rank")
class Rank(Selection[RankSettings]):
    columns = {"above": pa.bool_()}
    requires = Columns("of")

    def select(self, view: ColumnsView) -> Mapping[str, Any]:
        values = view.column(self.settings.of).to_numpy()
        known = values[~np.isnan(values)]
        return {"above": pa.array(values > (known.mean() if len(known) else 0), mask=np.isnan(values))}


def png(shade: int, size: int = 32) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (shade, shade, shade)).save(buffer, "PNG")
    return buffer.getvalue()


EXAMPLES = int(os.environ.get("PAIRWRIGHT_LAZY_EXAMPLES", "12"))
GOOD, BROKEN = png(90), png(90)[:60]
NUMBER = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
PAIR = st.tuples(
    st.sampled_from([GOOD, GOOD, GOOD, BROKEN, None]), st.dictionaries(st.sampled_from("xwy"), NUMBER, min_size=0)
)
RULES = {
    "wide": "cheap.x >= 0.25",
    "not_null": "cheap.w IS NOT NULL",
    "not_low": "cheap.w >= quantile(cheap.w, 0.2)",
    "above": "rank.above",
    "light": "look.light >= 10",
    "modelled": "model.y >= quantile(model.y, 0.3)",
    "both": "model.y + cheap.x >= avg(model.y)",
    "second": "second.z >= quantile(second.z, 0.25)",
}


def made(root: Path, pairs: list[tuple[bytes | None, dict[str, float]]], shards: int = 3) -> Dataset:
    with ShardWriter(str(root / "data"), "raw", pairs_per_shard=-(-len(pairs) // shards)) as writer:
        for number, (picture, numbers) in enumerate(pairs):
            text = " ".join(f"{name}={value}" for name, value in numbers.items())
            media = [] if picture is None else [("image", "image", "png", picture)]
            writer.add(f"{number:04d}", media, [caption(text)])
    return writer.dataset


def recipe(keep: dict[str, str], lazy: bool, **changes: Any) -> Recipe:
    score: dict[str, Any] = {
        "cheap": "lazy_cheap",
        "look": "lazy_look",
        "model": "lazy_model",
        "second": "lazy_second",
    }
    score |= changes.pop("score", {})
    score = {name: spec for name, spec in score.items() if spec}
    said = {"score": score, "select": {"rank": "lazy_rank"}, "keep": keep, "lazy": lazy} | changes.pop("filter", {})
    return Recipe.parse({"name": "lazy", "filter": said} | changes, "lazy")


def planned(said: Recipe, dataset: Dataset) -> Plan:
    return plan_recipe(said, dataset, resolve_model)


def curated(plan: Plan, root: Path) -> Selected:
    """What the curate flow does, without a server: eager passes, lazy passes, the rules."""
    store, done = ColumnStore(str(root / "columns")), set()

    def scan(names: list[str], **options: Any) -> None:
        task = ScanTask(
            [job_of(plan.steps[name]) for name in names], store.root, inputs=plan.where(done - set(names)), **options
        )
        run_local(task, plan.dataset.shards)
        done.update(names)

    for scorers, selections in plan.passes("filter"):
        scan([step.name for step in scorers])
        for step in selections:
            view = ColumnsView(plan.dataset, store, plan.where(done))
            columns, start = step.component.select(view), 0
            for shard in plan.dataset.shards:
                part = {name: array.slice(start, shard.rows) for name, array in columns.items()}
                store.write(step.columns, shard.digest, part, shard.rows)
                start += shard.rows
            done.add(step.name)
    for one in plan.lazy:
        view = ColumnsView(plan.dataset, store, plan.where(set(one.reads)))
        write_spared(view, one.rules, one.spared, pictures_known=one.pictures_known)
        scan(list(one.steps), spared=one.spared, min_pixels=one.min_pixels)
    rules = [Rule(name, expression) for name, expression in plan.recipe.filter.keep.items()]
    return apply_rules(ColumnsView(plan.dataset, store, plan.where(done)), rules)


def column(plan: Plan, root: Path, name: str) -> list[Any]:
    return ColumnsView(plan.dataset, ColumnStore(str(root / "columns")), plan.where()).column(name).to_pylist()


@pytest.mark.slow
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pairs=st.lists(PAIR, min_size=1, max_size=14),
    names=st.permutations(sorted(RULES)),
    count=st.integers(1, 6),
    pictures=st.booleans(),
)
def test_lazy_and_eager_keep_the_same_pairs_for_the_same_reasons(
    tmp_path_factory: pytest.TempPathFactory, pairs: Any, names: list[str], count: int, pictures: bool
) -> None:
    root = tmp_path_factory.mktemp("lazy")
    dataset = made(root, pairs)
    keep = {name: RULES[name] for name in names[:count] if pictures or name != "light"}
    without = {} if pictures else {"score": {"look": None}}  # then the model alone opens pictures
    eager = curated(planned(recipe(keep, False, **without), dataset), root / "eager")
    lazy = curated(planned(recipe(keep, True, **without), dataset), root / "lazy")
    assert lazy.verdicts.to_pylist() == eager.verdicts.to_pylist()
    assert lazy.kept == eager.kept
    assert lazy.thresholds == eager.thresholds
    assert lazy.ledger == eager.ledger


@pytest.fixture
def crawl(tmp_path: Path) -> Dataset:
    """24 pairs in 3 shards; x runs from 0 to 1, every picture is good."""
    return made(tmp_path, [(GOOD, {"x": number / 23, "w": 1.0, "y": number % 4 / 4}) for number in range(24)])


KEEP = {"wide": "cheap.x > 0.5", "modelled": "model.y >= 0.25", "second": "second.z >= 0.25"}


@pytest.mark.slow
def test_no_dropped_pair_reaches_a_model(tmp_path: Path, crawl: Dataset) -> None:
    for seen in SEEN.values():
        seen.clear()
    plan = planned(recipe(KEEP, True), crawl)
    selected = curated(plan, tmp_path)
    wide = [f"{number:04d}" for number in range(12, 24)]
    assert SEEN["model"] == wide
    assert SEEN["second"] == [key for key in wide if int(key) % 4 >= 1]
    assert selected.kept["key"].to_pylist() == [key for key in wide if int(key) % 4 >= 2]
    errors = column(plan, tmp_path, "second._error")
    assert errors[:12] == ["lazy:wide"] * 12
    assert errors[12:16] == ["lazy:modelled", None, None, None]
    assert column(plan, tmp_path, "model.y")[11:13] == [None, 0.0]


def test_a_spared_picture_is_not_decoded_and_a_spared_shard_loads_no_model(
    tmp_path: Path, crawl: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(recipe({"wide": "cheap.x > 0.68", "modelled": "model.y >= 0"}, True, score={"look": None}), crawl)
    sides: list[int] = []
    decode = reading.decode
    monkeypatch.setattr(reading, "decode", lambda data, side: sides.append(side) or decode(data, side))
    LOADED.clear()
    curated(plan, tmp_path)
    assert len(sides) == 8
    assert LOADED == ["lazy_model"], "once, by the one shard of three that has a pair left"


def test_a_model_sees_the_pixels_it_would_have_seen_in_the_eager_pass(tmp_path: Path, crawl: Dataset) -> None:
    sharp = {"sharp": {"uses": "lazy_sharp"}}
    for lazy in (False, True):
        plan = planned(recipe(KEEP, lazy, score=sharp), crawl)
        curated(plan, tmp_path / str(lazy))
        assert column(plan, tmp_path / str(lazy), "model.pixels")[12:] == [32] * 12
    alone = planned(recipe(KEEP, True, score={"look": None}), crawl)
    curated(alone, tmp_path / "alone")
    assert column(alone, tmp_path / "alone", "model.pixels")[12:] == [16] * 12


@scorer("lazy_sharp")
class Sharp(Look):
    requires = Pixels(32)


def test_a_pass_that_stopped_goes_on_where_it_stopped(tmp_path: Path, crawl: Dataset) -> None:
    undisturbed = curated(planned(recipe(KEEP, True), crawl), tmp_path / "whole")
    plan = planned(recipe(KEEP, True), crawl)
    STOPS_AT.add("0019")
    try:
        with pytest.raises(ModelError):
            curated(plan, tmp_path / "stopped")
    finally:
        STOPS_AT.clear()
    for seen in SEEN.values():
        seen.clear()
    again = curated(plan, tmp_path / "stopped")
    assert SEEN["model"] == []
    assert SEEN["second"] == ["0017", "0018", "0019", "0021", "0022", "0023"], "the shard in hand, and no other"
    assert again.verdicts == undisturbed.verdicts


CHILD = """
import importlib.util, json, os, signal, sys
from pathlib import Path
from pairwright.components.dataset.dataset import open_dataset
spec = importlib.util.spec_from_file_location("lazy_child", sys.argv[1])
lazy = sys.modules["lazy_child"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lazy)
deadly = sys.argv[4]
score = lazy.Second.score
def deadly_score(self, pairs):
    if deadly in pairs.keys:
        os.kill(os.getpid(), signal.SIGKILL)
    return score(self, pairs)
lazy.Second.score = deadly_score
plan = lazy.planned(lazy.recipe(lazy.KEEP, True), open_dataset(sys.argv[2]))
selected = lazy.curated(plan, Path(sys.argv[3]))
print(json.dumps({"seen": lazy.SEEN, "kept": selected.kept["key"].to_pylist()}))
"""


@pytest.mark.slow
def test_a_killed_pass_redoes_the_shard_in_hand_alone(tmp_path: Path, crawl: Dataset) -> None:
    def child(deadly: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", CHILD, __file__, crawl.root, str(tmp_path), deadly]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[4])

    assert child("0019").returncode == -signal.SIGKILL
    again = child("nobody")
    assert again.returncode == 0, again.stderr[-2000:]
    found = json.loads(again.stdout)
    assert found["seen"] == {"model": [], "second": ["0017", "0018", "0019", "0021", "0022", "0023"]}
    assert found["kept"] == ["0014", "0015", "0018", "0019", "0022", "0023"]


# ---- what is planned


def waits(said: Recipe, dataset: Dataset) -> dict[str, list[str]]:
    plan = planned(said, dataset)
    return {step: [rule.name for rule in one.rules] for one in plan.lazy for step in one.steps}


def test_each_model_waits_for_the_rules_before_the_first_that_needs_it(crawl: Dataset) -> None:
    assert waits(recipe(KEEP, True), crawl) == {"model": ["wide"], "second": ["wide", "modelled"]}
    assert waits(recipe(KEEP, False), crawl) == {}
    late_first = {name: KEEP[name] for name in ("second", "wide", "modelled")}
    assert waits(recipe(late_first, True), crawl) == {}, "the first rule needs both models: nothing can be spared"
    unread = waits(recipe({"wide": KEEP["wide"]}, True), crawl)
    assert unread == {"model": ["wide"], "second": ["wide"]}, "no rule reads them, so kept pairs alone are scored"


def test_what_a_global_step_reads_is_never_lazy_and_the_plan_says_so(crawl: Dataset) -> None:
    ranked = recipe(KEEP, True, filter={"select": {"rank": {"uses": "lazy_rank", "with": {"of": "second.z"}}}})
    assert waits(ranked, crawl) == {}
    reasons = planned(ranked, crawl).not_spared
    assert reasons["second"] == "selection rank reads it"
    assert reasons["model"] == "selection rank reads it, by way of others"


def test_what_an_arm_with_dropped_pairs_trains_on_is_never_lazy(crawl: Dataset) -> None:
    trained = {"pretrain": {"with": {"image_features": "second.z"}}}
    evaluate = {"dev": "d", "test": "t", "benchmarks": {}}
    for arms, expected in ((["curated"], {"model", "second"}), (["curated", "random"], set())):
        said = recipe(KEEP, True, **trained, evaluate=evaluate | {"ablation": arms})
        assert set(waits(said, crawl)) == expected
    assert planned(said, crawl).not_spared["second"] == "arm random trains on dropped pairs, too"


def test_recaptioning_is_for_the_kept_unless_an_arm_needs_the_others(crawl: Dataset) -> None:
    recaption = {"recaption": {"again": {"uses": "lazy_cheap"}}}
    assert waits(recipe(KEEP, True, **recaption), crawl)["again"] == list(KEEP)
    trained = {"pretrain": {"with": {"captions": {"again": 1.0}}}}
    evaluate = {"evaluate": {"dev": "d", "test": "t", "benchmarks": {}, "ablation": ["curated", "raw"]}}
    assert "again" not in waits(recipe(KEEP, True, **recaption, **trained, **evaluate), crawl)


def digests(said: Recipe, dataset: Dataset) -> dict[str, str]:
    return {name: step.digest for name, step in planned(said, dataset).steps.items()}


def test_a_lazy_digest_heeds_the_rules_before_it_and_no_later_one(crawl: Dataset, tmp_path: Path) -> None:
    base, eager = digests(recipe(KEEP, True), crawl), digests(recipe(KEEP, False), crawl)
    assert {name for name in base if base[name] != eager[name]} == {"model", "second"}

    def changed(rule: str, text: str) -> set[str]:
        after = digests(recipe(KEEP | {rule: text}, True), crawl)
        return {name for name, digest in after.items() if digest != base[name]}

    assert changed("wide", "cheap.x > 0.6") == {"model", "second"}
    assert changed("modelled", "model.y > 0.5") == {"second"}
    assert changed("second", "second.z > 0.5") == set()


def test_a_new_shard_leaves_lazy_columns_alone_unless_a_rule_saw_the_population(crawl: Dataset, tmp_path: Path) -> None:
    grown = made(tmp_path / "grown", [(GOOD, {"x": 1.0})] * 40, shards=5)
    assert digests(recipe(KEEP, True), crawl)["second"] == digests(recipe(KEEP, True), grown)["second"]
    population = KEEP | {"wide": "cheap.x >= quantile(cheap.x, 0.5)"}
    assert digests(recipe(population, True), crawl)["second"] != digests(recipe(population, True), grown)["second"]
    frozen = {"filter": {"frozen": {"wide": {"quantile(cheap.x, 0.5)": 0.5}}}}
    first, second = (digests(recipe(population, True, **frozen), dataset)["second"] for dataset in (crawl, grown))
    assert first == second
