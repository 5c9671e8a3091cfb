"""Labels as a folder and as a column: by (shard digest, row), with a share held out, version by content."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from labelling import by_length, captioned_dataset, labelled_folder, many_captions

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.judgements import JUDGEMENTS
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView
from pairwright.components.digest import op_digest
from pairwright.components.errors import ColumnError, DatasetError
from pairwright.components.models.resolve import resolve_model
from pairwright.components.preference.answers import Answer
from pairwright.components.preference.labels import Labels, LabelsSettings
from pairwright.components.preference.labels_folder import export_labels, judgement_table, read_judgements
from pairwright.components.preference.pool import read_pool
from pairwright.components.preference.reliability import reliability
from pairwright.components.preference.sampling import sample_items
from pairwright.components.preference.store import Annotated, LabelStore


def view_of(dataset, root):
    return ColumnsView(dataset, ColumnStore(f"{root}/columns"), {})


def judgements_of(folder, view, **options):
    settings = LabelsSettings(folder=resolve_model(str(folder)), **options)
    column = Labels(settings).select(view)["judgements"]
    assert column.type == JUDGEMENTS
    assert len(column) == view.rows
    assert [] not in column.to_pylist()  # a pair nobody judged has null, as with silver preferences
    return [judged or [] for judged in column.to_pylist()]


def test_a_known_taste_is_in_the_column_and_nowhere_else(tmp_path):
    dataset = captioned_dataset(tmp_path, many_captions(30), shards=3)
    folder = labelled_folder(dataset, tmp_path, items=20)
    lists = judgements_of(folder, view_of(dataset, tmp_path))
    assert sum(bool(one) for one in lists) == 20
    texts = [{t for _, t in captions} for captions in many_captions(30)]
    for row, judged in enumerate(lists):
        for one in judged:
            assert {one["better"], one["worse"]} <= texts[row]  # of this row's captions, not of another's
            assert by_length(one["better"]) > by_length(one["worse"])
            assert not one["tie"]
            assert (one["kind"], one["by"], one["origin"]) == ("preference", "taste", "human")
        assert len(judged) in (0, 3)


def test_the_random_share_can_be_kept_apart(tmp_path):
    dataset = captioned_dataset(tmp_path, many_captions(40))
    folder = labelled_folder(dataset, tmp_path, items=30, random_share=0.2)
    view = view_of(dataset, tmp_path)
    everything, chosen, held_out = (
        {row for row, one in enumerate(judgements_of(folder, view, share=share)) if one}
        for share in ("all", "chosen", "random")
    )
    assert len(held_out) == 6
    assert chosen | held_out == everything
    assert not chosen & held_out


def test_equal_keys_in_two_datasets_are_two_pairs(tmp_path):
    one = captioned_dataset(tmp_path, many_captions(5), name="one")
    two = captioned_dataset(tmp_path, many_captions(5), name="two", start=100)
    assert [s.read_sidecar(["key"])["key"].to_pylist() for s in (*one.shards, *two.shards)] == [list("01234")] * 2
    folder = labelled_folder(one, tmp_path, items=5)
    both = Dataset("both", str(tmp_path), (*two.shards, *one.shards))
    lists = judgements_of(folder, view_of(both, tmp_path))
    assert [bool(judged) for judged in lists] == [False] * 5 + [True] * 5
    with pytest.raises(DatasetError, match="none of the 15 judgements"):
        judgements_of(folder, view_of(two, tmp_path))


def test_the_content_of_the_folder_is_the_version(tmp_path):
    dataset = captioned_dataset(tmp_path, many_captions(12))
    folder = labelled_folder(dataset, tmp_path, items=8)
    before = resolve_model(str(folder)).weights
    digest = op_digest(Labels(LabelsSettings(folder=resolve_model(str(folder)))))
    store = LabelStore(tmp_path / "labels.sqlite")
    export_labels(store, folder)
    assert resolve_model(str(folder)).weights == before  # exported again, the same bytes
    elsewhere = tmp_path / "elsewhere"
    export_labels(store, elsewhere)
    assert op_digest(Labels(LabelsSettings(folder=resolve_model(str(elsewhere))))) == digest  # wherever it lies
    item = next(one.item for one in store.given())
    answer = Answer({"preference": ((0,), (1,), (2,))})
    sampled = sample_items(read_pool(dataset), 12)
    same = next(one for one in sampled if (one.shard, one.row) == (item.shard, item.row))
    rows = {shard.digest: shard.rows for shard in dataset.shards}
    assert store.take_in([Annotated(same, "bob", answer)], rows) == 1
    export_labels(store, folder)
    assert resolve_model(str(folder)).weights != before
    assert len(judgements_of(folder, view_of(dataset, tmp_path), labellers=("bob",))[item.row]) == 3


def test_kinds_and_repetitions_are_taken_as_the_settings_say(tmp_path):
    dataset = captioned_dataset(tmp_path, many_captions(40))
    folder = labelled_folder(dataset, tmp_path, items=40)
    view = view_of(dataset, tmp_path)
    table = read_judgements(folder)
    again = sum(table["repeat"].to_pylist())
    assert again > 0
    assert sum(map(len, judgements_of(folder, view))) == len(table) - again
    assert sum(map(len, judgements_of(folder, view, repeats=True))) == len(table)
    assert sum(map(len, judgements_of(folder, view, kinds=("fluency",)))) == 0
    said = json.loads((folder / "labels.json").read_text())
    assert said["consistency"] == {"taste": {"comparisons": again, "same": again}}  # the taste does not waver
    assert said["by_kind"] == {"preference": len(table)}


def test_reliability_tells_agreement_from_its_opposite(tmp_path):
    dataset = captioned_dataset(tmp_path, many_captions(20))
    items = sample_items(read_pool(dataset), 20)
    rows = {shard.digest: shard.rows for shard in dataset.shards}

    def answered(second):
        store = LabelStore(tmp_path / f"{second}.sqlite")
        store.take_in([Annotated(one, "ann", Answer({"preference": ((0,), (1,), (2,))})) for one in items], rows)
        tiers = ((0,), (1,), (2,)) if second == "same" else ((2,), (1,), (0,))
        flags = {"object": (1,)}
        store.take_in([Annotated(one, "bob", Answer({"preference": tiers}, flags=flags)) for one in items], rows)
        return reliability(store.given())["agreement"]

    same, opposite = answered("same"), answered("opposite")
    assert same["preference"] == {"alpha": 1.0, "metric": "ordinal", "units": 60, "labellers": 2}
    assert opposite["preference"]["alpha"] < -0.2
    assert same["picture"]["alpha"] is None  # nobody rejected one: nothing to agree about
    assert (same["object"]["metric"], same["object"]["alpha"] < 0.05) == ("nominal", True)


def test_a_folder_that_is_damaged_or_none_is_named(tmp_path):
    dataset = captioned_dataset(tmp_path, many_captions(6))
    folder = labelled_folder(dataset, tmp_path, items=6)
    with pytest.raises(DatasetError, match="is no labels folder"):
        read_judgements(tmp_path)
    table = pq.read_table(folder / "judgements.parquet")
    pq.write_table(table.slice(1), folder / "judgements.parquet")
    with pytest.raises(DatasetError, match="is not the file"):
        read_judgements(folder)
    newer = table.replace_schema_metadata({"schema_version": "99"})
    pq.write_table(newer, folder / "judgements.parquet")
    with pytest.raises(ColumnError, match="upgrade pairwright"):
        read_judgements(folder)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(DatasetError, match="name another"):
        export_labels(LabelStore(tmp_path / "labels.sqlite"), tmp_path / "mine")
    with pytest.raises(DatasetError, match="nothing is labelled"):
        export_labels(LabelStore(tmp_path / "empty.sqlite"), tmp_path / "none")


def test_no_answers_make_an_empty_table_of_the_same_schema():
    assert judgement_table([]).schema.field("better").type == pa.string()
