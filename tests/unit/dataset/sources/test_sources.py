"""Every source reads as its users write it, recognises itself, and is idempotent."""

from __future__ import annotations

import csv
import json
import os
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingested import alts_of, picture_of, rows_of
from shapes import caption_text, encoded
from tars import make_tar, pair, pairs

from pairwright.components.dataset.dataset import open_dataset
from pairwright.components.dataset.ingest import detect, ingest
from pairwright.components.dataset.source_kinds import SOURCES
from pairwright.components.errors import DatasetError, InvalidRecipe


def _snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.rglob("*") if p.is_file()}


# ---- img2dataset


def _img2dataset(root: Path) -> Path:
    make_tar(root / "00000.tar", pairs(3))
    rows = [
        {
            "key": f"{n:05d}",
            "url": f"http://example.org/{n}",
            "caption": caption_text(n),
            "status": "success",
            "error_message": None,
        }
        for n in range(3)
    ]
    rows.insert(
        1,
        {
            "key": "00900",
            "url": "http://gone.example/",
            "caption": "gone",
            "status": "failed_to_download",
            "error_message": "HTTP Error 404:\nNot Found",
        },
    )
    rows.append(
        {
            "key": "00901",
            "url": "http://odd.example/",
            "caption": "odd",
            "status": "failed_to_resize",
            "error_message": "Image decoding error",
        }
    )
    rows.append(
        {"key": "00902", "url": "http://lost.example/", "caption": "lost", "status": "success", "error_message": None}
    )
    pq.write_table(pa.Table.from_pylist(rows), root / "00000.parquet")
    (root / "00000_stats.json").write_text(json.dumps({"count": 6, "successes": 4}))
    return root


def test_an_img2dataset_folder_is_indexed_in_place_with_its_failures_as_rows(tmp_path):
    source = _img2dataset(tmp_path / "crawl")
    before = _snapshot(source)
    assert detect(str(source)) == "img2dataset"
    dataset = ingest("img2dataset", str(source), str(tmp_path / "index"))
    rows = rows_of(dataset)
    assert [(row["key"], row["error"]) for row in rows] == [
        ("00000", None),
        ("00900", "download_failed:HTTP Error 404: Not Found"),
        ("00001", None),
        ("00002", None),
        ("00901", "resize_failed:Image decoding error"),
        ("00902", "missing_member"),
    ]
    assert (rows[1]["origin"], alts_of(rows[1])) == ("http://gone.example/", ["gone"])
    assert picture_of(dataset, 2) == encoded(1, 48)
    assert _snapshot(source) == before
    assert dataset.shards[0].tar == str(source / "00000.tar")


def test_img2datasets_loose_files_are_copied_with_their_failures_as_rows(tmp_path):
    source = _img2dataset(tmp_path / "crawl")
    with tarfile.open(source / "00000.tar") as tar:
        tar.extractall(source / "00000", filter="data")
    (source / "00000.tar").unlink()
    assert detect(str(source)) == "img2dataset"
    dataset = ingest("img2dataset", str(source), str(tmp_path / "out"))
    assert [row["error"] for row in rows_of(dataset)] == [
        None,
        "download_failed:HTTP Error 404: Not Found",
        None,
        None,
        "resize_failed:Image decoding error",
        "missing_member",
    ]
    assert picture_of(dataset, 2) == encoded(1, 48)
    assert alts_of(rows_of(dataset)[2]) == [caption_text(1)]
    before = _snapshot(tmp_path / "out")
    ingest("img2dataset", str(source), str(tmp_path / "out"))
    assert _snapshot(tmp_path / "out") == before


# ---- webdataset


def test_an_indexed_tar_is_not_read_again_and_a_new_one_is_read_alone(tmp_path):
    for number in range(3):
        make_tar(tmp_path / f"in/{number:05d}.tar", pair("a", number))
    first = ingest("webdataset", str(tmp_path / "in"), str(tmp_path / "index"))
    before = _snapshot(tmp_path / "index")
    make_tar(tmp_path / "in/00003.tar", pair("a", 3))
    second = ingest("webdataset", str(tmp_path / "in"), str(tmp_path / "index"))
    after = _snapshot(tmp_path / "index")
    old = {path for path in before if not path.endswith("dataset.json")}
    assert all(before[path] == after[path] for path in old)
    assert [shard.digest for shard in second.shards[:3]] == [shard.digest for shard in first.shards]
    assert len(second.shards) == 4


def test_a_sidecar_cut_short_or_a_changed_tar_is_indexed_again(tmp_path):
    make_tar(tmp_path / "in/00000.tar", pairs(2))
    first = ingest("webdataset", str(tmp_path / "in"), str(tmp_path / "index"))
    sidecar = Path(first.shards[0].sidecar)
    whole = sidecar.read_bytes()
    sidecar.write_bytes(whole[: len(whole) // 2])
    again = ingest("webdataset", str(tmp_path / "in"), str(tmp_path / "index"))
    assert sidecar.read_bytes() == whole
    assert again.digest == first.digest
    make_tar(tmp_path / "in/00000.tar", pairs(3))
    assert ingest("webdataset", str(tmp_path / "in"), str(tmp_path / "index")).rows == 3


def test_the_digest_is_of_the_data_not_of_where_it_lies(tmp_path):
    for place in ("one", "two"):
        make_tar(tmp_path / place / "x/00000.tar", pairs(2))
    digests = {
        ingest("webdataset", str(tmp_path / place), str(tmp_path / f"i{place}")).digest for place in ("one", "two")
    }
    assert len(digests) == 1


@pytest.mark.parametrize("pattern", ["in/{00000..00001}.tar", "in/0000?.tar", "in"])
def test_shards_are_named_by_folder_glob_or_braces(tmp_path, pattern):
    for number in range(2):
        make_tar(tmp_path / f"in/{number:05d}.tar", pair("a", number))
    assert detect(str(tmp_path / pattern)) == "webdataset"
    dataset = ingest("webdataset", str(tmp_path / pattern), str(tmp_path / "index"))
    assert [shard.name for shard in dataset.shards] == ["00000", "00001"]


# ---- imagefolder


def _imagefolder(root: Path, form: str = "jsonl") -> Path:
    records = []
    for number in range(4):
        name = f"train/{number}.v1.{'jpg' if number else 'png'}"
        (root / "train").mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(number, 32, "JPEG" if number else "PNG"))
        records.append({"file_name": name, "text": caption_text(number), "split": "train", "label": number % 2})
    records.append({"file_name": "train/missing.jpg", "text": "not there"})
    records.append({"file_name": "../outside.jpg", "text": "outside"})
    if form == "jsonl":
        lines = [json.dumps(record) for record in records] + ['{"broken": ']
        (root / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    else:
        with (root / "metadata.csv").open("w", newline="") as stream:
            out = csv.DictWriter(stream, ["file_name", "text", "split", "label"])
            out.writeheader()
            out.writerows(records)
    (root / "train" / "unnamed.webp").write_bytes(encoded(9, 32, "WEBP"))
    return root


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_an_imagefolder_keeps_pictures_captions_and_every_other_column(tmp_path, form):
    source = _imagefolder(tmp_path / "folder", form)
    (tmp_path / "outside.jpg").write_bytes(b"secret")
    assert detect(str(source)) == "imagefolder"
    dataset = ingest("imagefolder", str(source), str(tmp_path / "out"))
    rows = {row["origin"]: row for row in rows_of(dataset)}
    first = rows["train/0.v1.png"]
    assert (first["key"], alts_of(first), first["error"]) == ("train/0_v1", [caption_text(0)], None)
    assert json.loads(first["meta"])["split"] == "train"
    assert {"name": "label", "value": "0"} in first["labels"]
    assert rows["train/missing.jpg"]["error"] == "missing_file"
    assert rows["outside.jpg" if "outside.jpg" in rows else "../outside.jpg"]["error"] == "unsafe_path"
    assert rows["train/unnamed.webp"]["error"] is None
    assert alts_of(rows["train/unnamed.webp"]) == []
    assert sum(row["error"] is None for row in rows.values()) == 5
    if form == "jsonl":
        assert first["meta"] == (source / "metadata.jsonl").read_bytes().splitlines()[0]
        assert any((row["error"] or "").startswith("bad_metadata") for row in rows.values())
    assert b"secret" not in Path(dataset.shards[0].tar).read_bytes()


def test_two_files_that_differ_in_suffix_alone_are_two_pairs(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jpg").write_bytes(encoded(0, 32))
    (tmp_path / "in/a.png").write_bytes(encoded(1, 32, "PNG"))
    assert [
        (row["key"], row["error"])
        for row in rows_of(ingest("imagefolder", str(tmp_path / "in"), str(tmp_path / "out")))
    ] == [
        ("a", None),
        ("a_png", None),
    ]


def test_metadata_without_file_name_is_one_clear_error(tmp_path):
    source = _imagefolder(tmp_path / "in")
    (source / "metadata.jsonl").write_text('{"which": "x.jpg", "text": "t"}\n')
    with pytest.raises(DatasetError, match=r'no column "file_name".*only which, text; add one, or name yours'):
        ingest("imagefolder", str(source), str(tmp_path / "out"))


# ---- COCO


def _coco(root: Path) -> Path:
    (root / "annotations").mkdir(parents=True)
    (root / "val2017").mkdir()
    images, annotations = [], []
    for number in range(3):
        name = f"{number:012d}.jpg"
        if number < 2:
            (root / "val2017" / name).write_bytes(encoded(number, 32))
        images.append({"id": 100 + number, "file_name": name, "license": 4, "coco_url": f"http://coco.example/{name}"})
        annotations += [
            {"id": 10 * (5 - n) + number, "image_id": 100 + number, "caption": f"caption {n} of {number}"}
            for n in range(5)
        ]
    annotations.append({"id": 999, "image_id": 7, "caption": "of no picture"})
    content = {"licenses": [{"id": 4, "name": "CC BY 2.0"}], "images": images, "annotations": annotations}
    (root / "annotations/captions_val2017.json").write_text(json.dumps(content))
    return root


@pytest.mark.parametrize("named", ["", "annotations/captions_val2017.json"])
def test_coco_gives_each_picture_its_five_captions_in_order(tmp_path, named):
    source = _coco(tmp_path / "coco")
    assert detect(str(source / named)) == "coco"
    dataset = ingest("coco", str(source / named), str(tmp_path / "out"))
    rows = rows_of(dataset)
    assert [(row["key"], row["error"]) for row in rows] == [
        ("000000000000", None),
        ("000000000001", None),
        ("000000000002", "missing_file"),
    ]
    assert alts_of(rows[1]) == [f"caption {n} of 1" for n in (4, 3, 2, 1, 0)]  # by annotation id
    assert [one["ordinal"] for one in rows[1]["captions"]] == [0, 1, 2, 3, 4]
    assert (rows[0]["licence"], rows[0]["origin"]) == ("CC BY 2.0", "http://coco.example/000000000000.jpg")
    assert dataset.facts["annotations_of_no_picture"] == 1
    assert dataset.facts["notes"] == ["captions of no picture in the JSON: 1"]
    assert picture_of(dataset, 1) == encoded(1, 32)


def test_boxes_instead_of_captions_are_one_clear_error(tmp_path):
    source = _coco(tmp_path / "coco") / "annotations/captions_val2017.json"
    source.write_text(
        json.dumps({"images": [{"id": 1, "file_name": "x.jpg"}], "annotations": [{"id": 1, "image_id": 1, "bbox": []}]})
    )
    with pytest.raises(DatasetError, match="holds no captions"):
        ingest("coco", str(source), str(tmp_path / "out"))


# ---- Parquet with bytes


def _parquet(path: Path, count: int = 130) -> Path:
    rows = [
        {
            "image": {"bytes": encoded(n, 24, "PNG"), "path": f"{n}.png"},
            "text": [caption_text(n), "second"],
            "score": n / 2,
            "id": n,
        }
        for n in range(count)
    ]
    rows[1]["image"] = None
    rows[2]["image"] = {"bytes": b"", "path": "empty.png"}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_a_hugging_face_parquet_keeps_bytes_captions_and_columns(tmp_path):
    source = _parquet(tmp_path / "data/train-00000-of-00001.parquet")
    assert detect(str(source.parent)) == "parquet"
    dataset = ingest("parquet", str(source.parent), str(tmp_path / "out"), pairs_per_shard=50)
    assert [shard.rows for shard in dataset.shards] == [50, 50, 30]
    rows = rows_of(dataset)
    assert [row["error"] for row in rows[:4]] == [None, "no_image", "empty_image", None]
    assert picture_of(dataset, 3) == encoded(3, 24, "PNG")
    assert alts_of(rows[3]) == [caption_text(3), "second"]
    assert json.loads(rows[3]["meta"]) == {"text": [caption_text(3), "second"], "score": 1.5, "id": 3}
    assert rows[3]["media"][0]["member"] == "000000003.png"


def test_a_caption_column_that_is_not_there_names_those_that_are(tmp_path):
    source = _parquet(tmp_path / "a.parquet", 4)
    with pytest.raises(DatasetError, match='no column "words"; known: id, image, score, text'):
        ingest("parquet", str(source), str(tmp_path / "out"), caption_column="words")


# ---- all of them


@pytest.mark.parametrize("kind", ["imagefolder", "coco", "parquet"])
def test_the_same_ingest_again_writes_nothing_and_a_changed_source_is_read_again(tmp_path, kind):
    made = {"imagefolder": _imagefolder, "coco": _coco, "parquet": lambda root: _parquet(root / "a.parquet", 6)}[kind]
    source = made(tmp_path / "in")
    first = ingest(kind, str(source), str(tmp_path / "out"))
    before = _snapshot(tmp_path / "out")
    assert ingest(kind, str(source), str(tmp_path / "out")).digest == first.digest
    assert _snapshot(tmp_path / "out") == before
    Path(first.shards[0].tar).write_bytes(b"cut")  # damaged behind our back
    assert ingest(kind, str(source), str(tmp_path / "out")).digest == first.digest
    assert Path(first.shards[0].tar).stat().st_size == first.shards[0].tar_bytes
    changed = next(path for path in sorted((tmp_path / "in").rglob("*")) if path.suffix in (".jpg", ".parquet"))
    os.utime(changed, ns=(1, 1))
    ingest(kind, str(source), str(tmp_path / "out"))
    assert _snapshot(tmp_path / "out") != before


def test_unknown_kinds_options_and_folders_are_named_with_a_remedy(tmp_path):
    with pytest.raises(DatasetError, match='no source is called "webdatset"; did you mean "webdataset"'):
        ingest("webdatset", str(tmp_path), str(tmp_path / "out"))
    with pytest.raises(InvalidRecipe, match='unknown key "thread"; did you mean "threads"'):
        ingest("webdataset", str(tmp_path), str(tmp_path / "out"), thread=1)
    with pytest.raises(DatasetError, match="looks like no source"):
        detect(str(tmp_path))
    with pytest.raises(DatasetError, match="does not exist"):
        detect(str(tmp_path / "nowhere"))


def test_a_copying_source_never_writes_into_what_it_reads(tmp_path):
    source = _imagefolder(tmp_path / "in")
    before = _snapshot(source)
    with pytest.raises(DatasetError, match="never written"):
        ingest("imagefolder", str(source), str(source / "out"))
    assert _snapshot(source) == before


def test_auto_detects_and_a_dataset_is_not_ingested_twice(tmp_path):
    dataset = ingest("auto", str(_coco(tmp_path / "coco")), str(tmp_path / "out"))
    assert dataset.rows == 3
    with pytest.raises(DatasetError, match="is a dataset already"):
        ingest("auto", str(tmp_path / "out"), str(tmp_path / "again"))
    with pytest.raises(DatasetError, match="coco needs a source"):
        ingest("coco", None, str(tmp_path / "out"))


def test_progress_counts_to_the_end(tmp_path):
    seen = []
    ingest("coco", str(_coco(tmp_path / "coco")), str(tmp_path / "out"), progress=lambda *told: seen.append(told))
    assert seen[-1] == (3, 3, "pairs")


def test_every_source_has_a_line_that_teaches():
    assert all(len(source.summary) > 30 and "\n" not in source.summary for source in SOURCES.values())


def test_an_ingested_dataset_opens_as_it_was_made(tmp_path):
    dataset = ingest("coco", str(_coco(tmp_path / "coco")), str(tmp_path / "out"), name="mine", licence="CC-BY-4.0")
    opened = open_dataset(str(tmp_path / "out"))
    assert opened == dataset
    assert (opened.name, opened.licence) == ("mine", "CC-BY-4.0")
