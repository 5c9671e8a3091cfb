"""Pictures, histograms and caption changes drawn from a real dataset and its columns."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
from pairwright.components.report.captions import caption_ends, captioned_pairs
from pairwright.components.report.distributions import distributions
from pairwright.components.report.gallery import gallery
from pairwright.components.report.pictures import SIDE, thumbnail


def verdicts_of(dataset, rules: dict[int, tuple[str, str, str]]) -> pa.Table:
    """Every pair kept but those named: number -> (status, rule, detail)."""
    rows = []
    for shard in dataset.shards:
        for row, key in enumerate(shard.read_sidecar(["key"])["key"].to_pylist()):
            status, rule, detail = rules.get(int(key), ("kept", None, None))
            value = '{"align.score":0.07,"text.words":null}' if rule == "aligned" else None
            threshold = "0.25" if rule == "aligned" else None
            rows.append((shard.digest, row, key, status, rule, value, threshold, detail))
    names = ["shard", "row", "key", "status", "rule", "value", "threshold", "detail"]
    return pa.table([pa.array(column) for column in zip(*rows, strict=True)], names=names)


def _encoded(verdicts: pa.Table) -> pa.Table:
    names = ("shard", "status", "rule", "threshold")
    columns = zip(verdicts.schema.names, verdicts.columns, strict=True)
    return pa.table({name: c.dictionary_encode() if name in names else c for name, c in columns})


RULES = dict.fromkeys(range(20), ("dropped", "aligned", None)) | {
    30: ("dropped", "distinct", "near_duplicate_of:000031"),
    40: ("failed", None, "decode:truncated"),
}


def test_each_rule_shows_its_pairs_with_picture_caption_value_and_threshold(shapes) -> None:
    dataset = shapes(48, 3)
    shown = gallery(dataset, verdicts_of(dataset, RULES), per_rule=5, seed=1)
    assert [s.status for s in shown] == ["kept"] * 10 + ["dropped"] * 6 + ["failed"]
    aligned = [s for s in shown if s.rule == "aligned"]
    assert len(aligned) == 5
    for sample in aligned:
        assert int(sample.key) < 20
        assert (sample.value, sample.threshold) == ("score 0.07, words missing", "0.25")
        assert sample.captions["alt"].startswith("a ")
        assert sample.image_jpeg is not None
        assert Image.open(io.BytesIO(sample.image_jpeg)).size == (96, 96)


def test_a_near_duplicate_stands_beside_the_pair_it_repeats(shapes) -> None:
    dataset = shapes(48, 3)
    sample = next(s for s in gallery(dataset, verdicts_of(dataset, RULES)) if s.rule == "distinct")
    assert sample.neighbour_key == "000031"
    assert sample.neighbour_jpeg is not None
    shard, row = dataset.find("000031")[0]
    medium = shard.read_sidecar(["media"])["media"][row].as_py()[0]
    assert sample.neighbour_jpeg == thumbnail(shard.read_member(medium))


def test_verdicts_as_the_filter_writes_them_are_read(shapes) -> None:
    """Statuses, rules and shards are dictionaries there, and values JSON."""
    dataset = shapes(48, 3)
    verdicts = verdicts_of(dataset, RULES)
    assert gallery(dataset, _encoded(verdicts)) == gallery(dataset, verdicts)


def test_the_draw_depends_on_the_seed_alone(shapes) -> None:
    dataset = shapes(48, 3)
    verdicts = verdicts_of(dataset, RULES)
    keys = [[s.key for s in gallery(dataset, verdicts, seed=seed)] for seed in (0, 0, 1)]
    assert keys[0] == keys[1] != keys[2]
    shuffled = verdicts.take(np.random.default_rng(0).permutation(len(verdicts)))
    again = [s.key for s in gallery(dataset, shuffled, seed=0)]
    assert sorted(again) == sorted(keys[0])


def test_a_tar_that_is_gone_costs_the_picture_and_not_the_row(shapes) -> None:
    dataset = shapes(12, 2)
    Path(dataset.shards[0].tar).unlink()
    shown = gallery(dataset, verdicts_of(dataset, {}), per_rule=6)
    assert len(shown) == 12
    assert sum(s.image_jpeg is None for s in shown) == 6


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\xff\xd8\xff\xe0 torn"])
def test_what_is_no_picture_has_no_thumbnail(data: bytes) -> None:
    assert thumbnail(data) is None


def test_a_thumbnail_is_small_and_keeps_its_shape() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (2000, 1000), "red").save(stream, "PNG")
    made = thumbnail(stream.getvalue())
    assert made is not None
    assert Image.open(io.BytesIO(made)).size == (SIDE, SIDE // 2)


@pytest.fixture
def scored(shapes, tmp_path):
    """A dataset of 48 with one score column (its number / 48, three of them null) and a captioner's columns."""
    dataset = shapes(48, 3)
    store, score, fused = ColumnStore(str(tmp_path / "c")), StepColumns("alignment", "d1"), StepColumns("fuse", "d2")
    for shard in dataset.shards:
        numbers = [int(key) for key in shard.read_sidecar(["key"])["key"].to_pylist()]
        values = [None if n in (3, 4, 5) else n / 48 for n in numbers]
        store.write(
            score,
            shard.digest,
            {"score": pa.array(values, pa.float32()), "tag": pa.array(["x"] * len(numbers))},
            shard.rows,
        )
        alts = [captions[0]["text"] for captions in shard.read_sidecar(["captions"])["captions"].to_pylist()]
        texts = [alt if n % 2 else f"{alt}, in red" for n, alt in zip(numbers, alts, strict=True)]
        notes = ["budget" if n % 8 == 1 else None for n in numbers]
        asked = [None if n % 2 else "ok" for n in numbers]
        made = {"text": texts, "note": notes, "status": asked}
        columns = {name: pa.array(values, pa.string()) for name, values in made.items()}
        store.write(fused, shard.digest, columns, shard.rows)
    return ColumnsView(dataset, store, {"align": score, "fused": fused})


def test_a_histogram_counts_every_pair_once(scored) -> None:
    verdicts = verdicts_of(scored.dataset, RULES)
    names = ["align.score"]
    assert distributions(scored, names, verdicts) == distributions(scored, names, _encoded(verdicts))
    shown = distributions(scored, ["align.score", "align.tag"], verdicts, thresholds={"align.score": 0.4})
    assert [d.column for d in shown] == ["align.score"]
    assert sum(shown[0].kept) == 48 - 22
    assert sum(shown[0].dropped) == 22 - 3
    assert "3 without a value" in shown[0].note
    assert shown[0].threshold == 0.4
    assert not any(shown[0].kept[:15])


def test_pictures_are_drawn_evenly_over_how_their_captions_came_to_be(scored) -> None:
    shown = captioned_pairs(scored.dataset, scored, {"fused": "alt"}, {"fused": ["align.score"]}, count=12)
    lines = [{line.source: line for line in pair.captions} for pair in shown]
    assert len({pair.key for pair in shown}) == len(shown) == 12
    assert sum(line["fused"].note == "budget" for line in lines) == 6  # of 6 there are
    assert all(pair.image_jpeg for pair in shown)
    assert all(list(line)[:2] == ["alt", "keywords"] and list(line)[-1] == "fused" for line in lines)
    again = captioned_pairs(scored.dataset, scored, {"fused": "alt"}, {"fused": ["align.score"]}, count=12)
    assert [pair.key for pair in again] == [pair.key for pair in shown]


def test_each_caption_shows_its_scores_and_what_it_added(scored) -> None:
    shown = captioned_pairs(scored.dataset, scored, {"fused": "alt"}, {"fused": ["align.score"]}, count=48)
    assert len(shown) == 48
    for pair in shown:
        number, lines = int(pair.key), {line.source: line for line in pair.captions}
        assert not lines["alt"].changes
        assert lines["alt"].scores == {}
        scores = {} if number in (3, 4, 5) else {"align.score": pytest.approx(number / 48, abs=1e-6)}
        assert lines["fused"].scores == scores
        added = [text for kind, text in lines["fused"].changes if kind == "ins"]
        assert added == ([] if number % 2 else [", in red"])


def test_ends_count_every_pair_once(scored) -> None:
    ends = {"fused": {"written": 42, "budget": 6}, "fused: prompts": {"ok": 24}}
    assert caption_ends(scored, ["fused"]) == ends


def test_captions_made_by_steps_stand_under_the_picture(scored) -> None:
    shown = gallery(scored.dataset, verdicts_of(scored.dataset, RULES), scored, caption_steps=["fused"])
    assert all("fused" in s.captions for s in shown)
