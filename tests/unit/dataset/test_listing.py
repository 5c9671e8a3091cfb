"""Files by folder, glob and braces: what is named is there or an error, in any case of its suffix."""

from __future__ import annotations

import gzip

import pytest
from ingested import alts_of, rows_of
from shapes import encoded
from tars import make_tar, pair

from pairwright.components.dataset.ingest import detect, ingest
from pairwright.components.dataset.sources.source import SourceOptions, dataset_name, expand_braces, list_files
from pairwright.components.errors import DatasetError


@pytest.fixture
def shards(tmp_path):
    """Three tars in a folder whose name is a pattern to a shell; the last has another suffix's case."""
    root = tmp_path / "my[data]{1,2}%20?x"
    for number in range(3):
        make_tar(root / f"{number:05d}.tar", pair("a", number))
    (root / "00002.tar").rename(root / "00002.TAR")
    return root


def test_a_suffix_counts_in_any_case(shards, tmp_path):
    dataset = ingest("auto", str(shards), str(tmp_path / "out"))
    assert [shard.name for shard in dataset.shards] == ["00000", "00001", "00002"]
    assert dataset.name == shards.name


def test_a_folders_own_name_is_no_pattern(shards):
    assert [path.rpartition("/")[2] for path in list_files(f"{shards}/0000?.tar", (".tar",))] == [
        "00000.tar",
        "00001.tar",
    ]


def test_a_named_shard_that_is_missing_is_an_error(shards, tmp_path):
    plain = shards.rename(tmp_path / "plain")
    with pytest.raises(DatasetError, match=r"names 5 files, of which 3 are missing: .*00002\.tar, .*00004\.tar"):
        ingest("auto", f"{plain}/{{00000..00004}}.tar", str(tmp_path / "out"))
    assert len(list_files(f"{plain}/{{00000..00001}}.tar", (".tar",))) == 2


@pytest.mark.parametrize("suffix", [".tar.gz", ".tgz", ".TAR.GZ", ".tar.zst"])
def test_a_compressed_tar_that_lies_beside_is_refused_by_name(shards, tmp_path, suffix):
    packed = shards / f"00003{suffix}"
    packed.write_bytes(gzip.compress((shards / "00000.tar").read_bytes()))
    for source in (shards, packed):
        with pytest.raises(DatasetError, match=r"1 tars of .* are compressed.*00003"):
            ingest("auto", str(source), str(tmp_path / "out"))
    assert len(ingest("webdataset", f"{shards}/*.tar", str(tmp_path / "out")).shards) == 2


def test_what_else_lies_beside_tars_and_in_them_is_counted(shards, tmp_path):
    (shards / "more.zip").write_bytes(b"PK")
    make_tar(shards / "00003.tar", [*pair("a", 0), ("README", b"x"), (".hidden.txt", b"x")])
    for _ in range(2):  # the second time from the records
        assert ingest("webdataset", str(shards), str(tmp_path / "out")).facts["notes"] == [
            "members of no pair (no suffix, hidden, __...__): 2",
            "files not read: 1 .zip",
        ]


def test_a_caption_too_long_to_be_read_says_so(tmp_path):
    make_tar(tmp_path / "in/0.tar", [("a.jpg", encoded(0, 16)), ("a.txt", b"long " * 300_000)])
    (row,) = rows_of(ingest("webdataset", str(tmp_path / "in"), str(tmp_path / "out")))
    assert (row["error"], row["captions"]) == (None, [])
    assert row["labels"] == [{"name": "not_read", "value": "txt of 1500000 bytes, over 1048576"}]


@pytest.mark.parametrize(
    ("pattern", "made"),
    [
        ("{00..02}.tar", ["00.tar", "01.tar", "02.tar"]),
        ("{a,b}/{1..2}", ["a/1", "a/2", "b/1", "b/2"]),
        ("{}{a}", ["{}{a}"]),
        ("plain", ["plain"]),
    ],
)
def test_braces_stand_for_names(pattern, made):
    assert expand_braces(pattern) == made


@pytest.mark.parametrize("pattern", ["{5..0}", "{0..999999999}", "{0..9999}{0..9999}"])
def test_braces_that_stand_for_nothing_or_too_much_are_one_line(pattern):
    with pytest.raises(DatasetError, match="stands for"):
        expand_braces(pattern)


@pytest.mark.parametrize("name", ["my[data]", "photos.v2", "a b%20?"])
def test_a_folders_name_is_the_datasets(tmp_path, name):
    (tmp_path / name).mkdir()
    assert dataset_name(str(tmp_path / name), SourceOptions()) == name


def test_a_patterns_name_is_what_stands_before_it(tmp_path):
    assert dataset_name(f"{tmp_path}/crawl/{{00000..00009}}.tar", SourceOptions()) == "crawl"


@pytest.mark.parametrize("prefix", ["./", "00000/", "a/b/"])
def test_img2datasets_keys_match_whatever_folders_the_tar_was_packed_with(tmp_path, prefix):
    import pyarrow as pa
    import pyarrow.parquet as pq

    members = [(f"{prefix}{n:05d}.jpg", encoded(n, 16)) for n in range(2)]
    make_tar(tmp_path / "in/0.tar", members)
    table = {
        "url": [f"http://example.org/{n}" for n in range(3)],
        "key": [f"{n:05d}" for n in range(3)],
        "status": ["success", "success", "failed_to_download"],
        "caption": ["zero", ["one"][0], "two"],
    }
    pq.write_table(pa.table(table), tmp_path / "in/0.parquet")
    rows = rows_of(ingest("img2dataset", str(tmp_path / "in"), str(tmp_path / "out")))
    assert [(alts_of(row), row["error"]) for row in rows] == [
        (["zero"], None),
        (["one"], None),
        (["two"], "download_failed:failed_to_download"),
    ]


def test_metadata_is_no_list_of_urls(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/0.jpg").write_bytes(encoded(0, 16))
    (tmp_path / "in/metadata.csv").write_text("image,text\n0.jpg,words\n")
    assert detect(str(tmp_path / "in")) == "imagefolder"
    (tmp_path / "in/metadata.csv").write_text("file_name,text,url\n0.jpg,words,https://example.org/0.jpg\n")
    assert detect(str(tmp_path / "in")) == "imagefolder"
    (tmp_path / "list.csv").write_text("image,text\nhttps://example.org/0.jpg,words\n")
    assert detect(str(tmp_path / "list.csv")) == "urls"
