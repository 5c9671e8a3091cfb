"""Lists of URLs: every record a row, every caption with it, and only what failed is asked for again."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingested import rows_of
from strangers import LOCAL, Web

from pairwright.components.dataset.ingest import detect, ingest
from pairwright.components.dataset.sources.download import FetchOptions, fetch_all
from pairwright.components.dataset.sources.url_list import UrlOptions, read_links
from pairwright.components.errors import DatasetError


def _fetch(urls: list[str], folder: Path, **options: object):
    return fetch_all(urls, FetchOptions(**{**LOCAL, **options}), folder, lambda done: None)


def _list(path: Path, web: str, paths: list[str]) -> Path:
    rows = [{"URL": web + part, "TEXT": f"text {number}"} for number, part in enumerate(paths)]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="") as stream:
            out = csv.DictWriter(stream, ["URL", "TEXT"])
            out.writeheader()
            out.writerows(rows)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_list_becomes_a_dataset_in_img2datasets_layout(web, tmp_path, suffix):
    source = _list(tmp_path / f"list{suffix}", web, ["/ok?0", "/nowhere", "/ok?1", "/html", "/ok?2"])
    assert detect(str(source)) == "urls"
    dataset = ingest("urls", str(source), str(tmp_path / "out"), pairs_per_shard=3, **LOCAL)
    rows = rows_of(dataset)
    assert [row["error"] for row in rows] == [
        None,
        "download_failed:HTTP 404",
        None,
        "download_failed:HTML instead of a picture",
        None,
    ]
    assert [row["captions"][0]["text"] for row in rows] == [f"text {n}" for n in range(5)]
    assert rows[1]["origin"] == web + "/nowhere"
    statuses = pq.read_table(tmp_path / "out/images/00000.parquet").to_pylist()
    assert [(one["status"], one["width"]) for one in statuses] == [
        ("success", 32),
        ("failed_to_download", None),
        ("success", 32),
    ]
    stats = json.loads((tmp_path / "out/images/00000_stats.json").read_text())
    assert (stats["count"], stats["successes"], stats["failed_to_download"]) == (3, 2, 1)
    assert detect(str(tmp_path / "out/images")) == "img2dataset"


def test_a_list_keeps_numbers_nulls_line_breaks_and_broken_text_as_captions(web, tmp_path):
    source = tmp_path / "list.csv"
    texts = [b"007", b"null", b'"two\nlines, and ""quotes"""', b"caf\xe9", b""]
    lines = [f"{web}/ok?{n},".encode() + text for n, text in enumerate(texts)]
    source.write_bytes(b"\xef\xbb\xbfurl,text\n" + b"\n".join(lines) + b"\n")
    rows = rows_of(ingest("urls", str(source), str(tmp_path / "out"), **LOCAL))
    found = [[one["text"] for one in row["captions"]] for row in rows]
    assert found == [["007"], ["null"], ['two\nlines, and "quotes"'], ["caf\ufffd"], []]
    assert rows[3]["labels"] == [{"name": "caption_encoding", "value": "replaced"}]
    assert [row["error"] for row in rows] == [None] * 5


def test_a_list_that_is_no_list_is_one_clear_error(tmp_path):
    (tmp_path / "c.parquet").write_bytes(b"no parquet")
    with pytest.raises(DatasetError, match=r"c\.parquet cannot be read \(.*\); mend or remove it"):
        ingest("urls", str(tmp_path / "c.parquet"), str(tmp_path / "out"))
    (tmp_path / "b.csv").write_text("picture,text\nx,y\n")
    with pytest.raises(DatasetError, match="name it with `url_column`; it has picture, text"):
        ingest("urls", str(tmp_path / "b.csv"), str(tmp_path / "out"))


def test_a_second_run_tries_only_what_failed(web, tmp_path):
    source = _list(tmp_path / "list.csv", web, ["/ok?0", "/later", "/nowhere", "/ok?1"])
    first = ingest("urls", str(source), str(tmp_path / "out"), retries=0, **LOCAL)
    assert [row["error"] for row in rows_of(first)] == [
        None,
        "download_failed:HTTP 503",
        "download_failed:HTTP 404",
        None,
    ]
    Web.hits.clear()
    Web.mended = True
    second = ingest("urls", str(source), str(tmp_path / "out"), retries=0, **LOCAL)
    assert [row["error"] for row in rows_of(second)] == [None, None, "download_failed:HTTP 404", None]
    assert Web.hits == {"/later": 1, "/nowhere": 1}
    Web.hits.clear()
    third = ingest("urls", str(source), str(tmp_path / "out"), retries=0, retry_failed=False, **LOCAL)
    assert third.digest == second.digest
    assert not Web.hits


def test_a_killed_download_goes_on_at_the_shard_it_was_at(web, tmp_path):
    source = _list(tmp_path / "list.csv", web, [f"/ok?{n}" for n in range(6)])

    def stop(done: int, total: int | None, what: str) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest("urls", str(source), str(tmp_path / "out"), pairs_per_shard=2, progress=stop, concurrency=1, **LOCAL)
    Web.hits.clear()
    dataset = ingest("urls", str(source), str(tmp_path / "out"), pairs_per_shard=2, **LOCAL)
    assert [row["error"] for row in rows_of(dataset)] == [None] * 6
    assert Web.hits == {"/ok?4": 1, "/ok?5": 1}


def test_a_tar_cut_short_is_fetched_again(web, tmp_path):
    source = _list(tmp_path / "list.csv", web, ["/ok?0", "/ok?1"])
    first = ingest("urls", str(source), str(tmp_path / "out"), **LOCAL)
    tar = Path(first.shards[0].tar)
    whole = tar.read_bytes()
    tar.write_bytes(whole[:700])
    again = ingest("urls", str(source), str(tmp_path / "out"), **LOCAL)
    assert tar.read_bytes() == whole
    assert again.digest == first.digest


def test_a_server_that_is_down_is_a_reason(tmp_path):
    (outcome,) = _fetch(["http://127.0.0.1:9/x"], tmp_path, retries=0)
    assert outcome.reason.startswith("ConnectError")


def test_it_runs_inside_a_notebooks_event_loop(web, tmp_path):
    import asyncio

    async def cell():
        return _fetch([web + "/ok"], tmp_path)

    assert asyncio.run(cell())[0].status == "success"


def test_all_captions_of_a_url_come_through_and_a_change_in_one_is_fetched_again(web, tmp_path):
    values = [["one", "two"], {"en": "a box", "de": "ein Kasten"}, "plain", ["failed", "twice"]]
    urls = [f"{web}/ok?0", f"{web}/ok?1", f"{web}/ok?2", f"{web}/nowhere"]
    source = tmp_path / "list.jsonl"

    def write() -> None:
        source.write_text("\n".join(json.dumps({"url": u, "caption": v}) for u, v in zip(urls, values, strict=True)))

    def said():
        rows = rows_of(ingest("urls", str(source), str(tmp_path / "out"), **LOCAL))
        return [[(one["text"], one["lang"]) for one in row["captions"]] for row in rows]

    write()
    expected = [
        [("one", None), ("two", None)],
        [("a box", "en"), ("ein Kasten", "de")],
        [("plain", None)],
        [("failed", None), ("twice", None)],
    ]
    assert said() == expected
    Web.hits.clear()
    assert said() == expected
    assert set(Web.hits) == {"/nowhere"}
    values[0][1] = "changed"
    write()
    assert said()[0] == [("one", None), ("changed", None)]
    assert set(Web.hits) == {"/nowhere", "/ok?0"}


def test_a_line_of_a_list_that_cannot_be_read_is_a_row_with_its_reason(web, tmp_path):
    (tmp_path / "a.csv").write_text(f"url,text\n{web}/ok?0,one, comma too many\n{web}/ok?1,fine\n,no address\n")
    rows = rows_of(ingest("urls", str(tmp_path / "a.csv"), str(tmp_path / "out"), **LOCAL))
    assert [row["error"] for row in rows] == [
        "download_failed:line 2 has 3 fields, the header names 2",
        None,
        "download_failed:not an http(s) URL",
    ]
    assert "/ok?0" not in Web.hits


@settings(max_examples=40, deadline=None)
@given(
    columns=st.lists(
        st.lists(st.none() | st.text(max_size=6), min_size=2, max_size=2)
        | st.lists(st.none() | st.binary(max_size=6), min_size=2, max_size=2)
        | st.lists(st.none() | st.floats(), min_size=2, max_size=2)
        | st.lists(st.lists(st.text(max_size=3), max_size=2), min_size=2, max_size=2),
        min_size=2,
        max_size=2,
    )
)
def test_any_columns_of_a_list_in_parquet_are_links(columns, tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / "a.parquet"
    pq.write_table(pa.table({"url": pa.array(columns[0]), "caption": pa.array(columns[1])}), path)
    links = list(read_links(str(path), UrlOptions()))
    assert [link.key for link in links] == ["000000000", "000000001"]
    assert all(isinstance(link.url, str) and link.problem is None for link in links)


def test_a_misspelt_column_of_a_list_names_the_nearest(tmp_path):
    (tmp_path / "a.csv").write_text("adress,words\nhttp://example.org/,one\n")
    with pytest.raises(DatasetError, match=r'no column "address"; did you mean "adress"\?'):
        ingest("urls", str(tmp_path / "a.csv"), str(tmp_path / "out"), url_column="address")
    with pytest.raises(DatasetError, match=r'no column "wrds"; did you mean "words"\?'):
        ingest("urls", str(tmp_path / "a.csv"), str(tmp_path / "out"), url_column="adress", caption_column="wrds")
