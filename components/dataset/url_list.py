"""A list of URLs and texts, downloaded into img2dataset's layout and indexed where it lies.

    DEST/images/00000.tar            KEY.jpg, KEY.txt, KEY.json of the pictures that came
    DEST/images/00000.parquet        every URL with its status and the reason of its failure
    DEST/images/00000_stats.json     counts
    DEST/00000.parquet, dataset.json the index

A shard is a run of consecutive URLs and is committed whole. The same command again leaves finished
shards alone but for their failed URLs, which are tried once more; a killed one loses the shard in hand.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from pydantic import Field

from components.dataset import storage
from components.dataset.dataset import Dataset
from components.dataset.download import FAILED, SUCCESS, FetchOptions, Outcome, fetch_all
from components.dataset.image_type import header_size
from components.dataset.img2dataset import one_line
from components.dataset.source import Progress, list_files, pick_caption_column
from components.dataset.tar_index import decode_text, index_tar
from components.dataset.webdataset_source import WebDatasetOptions, index_downloads, index_tars
from components.dataset.writer import DeterministicTar
from components.errors import DatasetError

URL_COLUMNS = ("url", "URL", "image_url", "img_url", "link", "src", "image")
SUFFIXES = (".parquet", ".csv", ".tsv")
IMAGES = "images"
STATUSES = pa.schema(
    [
        ("url", pa.string()),
        ("caption", pa.string()),
        ("key", pa.string()),
        ("status", pa.string()),
        ("error_message", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("sha256", pa.string()),
    ]
)


class UrlOptions(WebDatasetOptions, FetchOptions):
    url_column: str | None = Field(None, description="default: url, URL, image_url, ...")
    caption_column: str | None = Field(None, description="default: the first there is of text, caption, TEXT, ...")
    pairs_per_shard: int = Field(1000, ge=1, le=100_000)
    retry_failed: bool = Field(True, description="whether a later run tries the failed URLs again")


@dataclass(frozen=True)
class Link:
    """One line of the list: a key, its URL and its text."""

    key: str
    url: str
    text: str | None


def looks_like_urls(source: str) -> bool:
    try:
        paths = list_files(source, SUFFIXES)
        url_column(_columns_of(paths[0]), None, paths[0])
    except (DatasetError, OSError, pa.ArrowException):
        return False
    return True


def read_urls(source: str, dest: str, options: UrlOptions, progress: Progress) -> Dataset:
    """Download what the list names, shard by shard, and index it.

    Raises:
        DatasetError: no list, or no such column in it.
        WorkspaceError: `dest` cannot be written.
    """
    links = list(read_links(source, options))
    folder = storage.join(dest, IMAGES)
    tars: list[str] = []
    for start in range(0, max(len(links), 1), options.pairs_per_shard):
        shard = links[start : start + options.pairs_per_shard]
        base = storage.join(folder, f"{len(tars):05d}")

        def report(done: int, before: int = start) -> None:
            progress(before + done, len(links), "URLs")

        download_shard(base, shard, options, report)
        tars.append(base + ".tar")
    named = options.model_copy(update={"name": options.name or Path(source.rstrip("/")).stem})
    return index_tars(tars, folder, dest, named, lambda *_: None, index_downloads)


def read_links(source: str, options: UrlOptions) -> Iterator[Link]:
    """The list's lines in order; keys are their numbers."""
    number = 0
    for path in list_files(source, SUFFIXES):
        names = _columns_of(path)
        url = url_column(names, options.url_column, path)
        text = pick_caption_column(options.caption_column, [name for name in names if name != url], path)
        for batch in _batches(path, [url] + ([text] if text else [])):
            for record in batch.to_pylist():
                yield Link(f"{number:09d}", _text(record[url]) or "", _text(record.get(text)) if text else None)
                number += 1


def url_column(names: list[str], wanted: str | None, path: str) -> str:
    """The column of URLs.

    Raises:
        DatasetError: there is none, or not the one named.
    """
    found = wanted if wanted in names else None if wanted else next((n for n in URL_COLUMNS if n in names), None)
    if found is None:
        raise DatasetError(
            f"{path} has no column {wanted or 'of URLs'}; name it with `url_column`; it has {', '.join(names)}"
        )
    return found


def _columns_of(path: str) -> list[str]:
    with _reading(path), storage.open_read(path) as stream:
        if path.endswith(".parquet"):
            return list(pq.read_schema(stream).names)
        return list(pyarrow.csv.open_csv(stream, parse_options=_csv_form(path)).schema.names)


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """What Arrow cannot read is one line that names the file."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} cannot be read: {one_line(str(error))}; mend or remove it") from None


def _csv_form(path: str) -> pyarrow.csv.ParseOptions:
    return pyarrow.csv.ParseOptions(delimiter="\t" if path.endswith(".tsv") else ",", newlines_in_values=True)


def _batches(path: str, names: list[str]) -> Iterator[pa.RecordBatch]:
    with _reading(path), storage.open_read(path) as stream:
        if path.endswith(".parquet"):
            yield from pq.ParquetFile(stream).iter_batches(columns=names)
            return
        # Bytes, not guessed types: a caption "007" is no number, "null" is a caption, and one caption in
        # a broken encoding must not cost the others.
        convert = pyarrow.csv.ConvertOptions(
            include_columns=names, column_types=dict.fromkeys(names, pa.binary()), strings_can_be_null=False
        )
        yield from pyarrow.csv.open_csv(stream, parse_options=_csv_form(path), convert_options=convert)


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return decode_text(value)[0]
    return None if value is None else str(value)


def download_shard(base: str, links: list[Link], options: UrlOptions, report: Any) -> None:
    """Fetch one shard's URLs that have not come yet, and commit tar, statuses and counts.

    The Parquet is written last: without it the tar is not trusted and is fetched again.
    """
    before = _earlier(base, links)
    wanted = [n for n, old in enumerate(before) if old is None or (old["status"] != SUCCESS and options.retry_failed)]
    if not wanted:
        report(len(links))
        return
    with tempfile.TemporaryDirectory(prefix="pairwright-") as folder:
        settled = len(links) - len(wanted)
        found = fetch_all([links[n].url for n in wanted], options, Path(folder), lambda done: report(settled + done))
        outcomes = dict(zip(wanted, found, strict=True))
        if any(before) and not any(outcome.status == SUCCESS for outcome in found):
            table = _statuses([_status(link, outcomes.get(n), before[n]) for n, link in enumerate(links)])
        else:
            table = _write_tar(base, links, outcomes, before)
    with storage.commit_file(base + ".parquet") as partial:
        pq.write_table(table, partial)
    counts = Counter(table["status"].to_pylist())
    reasons = Counter(reason for reason in table["error_message"].to_pylist() if reason)
    stats = {
        "count": len(table),
        "successes": counts[SUCCESS],
        "failed_to_download": counts[FAILED],
        "failed_to_resize": 0,
    }
    storage.write_json(base + "_stats.json", stats | {"status_dict": dict(reasons) | {SUCCESS: counts[SUCCESS]}})


def _earlier(base: str, links: list[Link]) -> list[dict[str, Any] | None]:
    """Each link's earlier status, with its picture's bytes where it has one; None where it must be fetched.

    A tar that is damaged, or a list that changed, makes its links new.
    """
    try:
        with storage.open_read(base + ".parquet") as stream:
            old = {(row["key"], row["url"], row["caption"]): row for row in pq.read_table(stream).to_pylist()}
        pictures = {row["key"]: row["media"][0] for row in index_tar(base + ".tar").rows if row["error"] is None}
    except (DatasetError, OSError, pa.ArrowException, KeyError):
        return [None] * len(links)
    found: list[dict[str, Any] | None] = []
    for link in links:
        row = old.get((link.key, link.url, link.text))
        picture = pictures.get(link.key)
        lost = row is not None and row["status"] == SUCCESS and picture is None
        found.append(None if row is None or lost else row | {"picture": picture})
    return found


def _write_tar(
    base: str, links: list[Link], outcomes: dict[int, Outcome], before: list[dict[str, Any] | None]
) -> pa.Table:
    """Write the shard's tar in the list's order: pictures that came now and those that came before."""
    rows = []
    with storage.commit_file(base + ".tar") as partial:
        tar = DeterministicTar(partial)
        for number, link in enumerate(links):
            outcome, old = outcomes.get(number), before[number]
            if outcome is not None and outcome.path is not None and outcome.status == SUCCESS:
                data, suffix = outcome.path.read_bytes(), outcome.suffix or "jpg"
                row = _status(link, outcome, None, data)
            elif old is not None and old["status"] == SUCCESS and outcome is None:
                picture = old["picture"]
                data = storage.read_bytes(base + ".tar", picture["offset"], picture["size"])
                suffix = picture["member"].rpartition(".")[2]
                row = _status(link, None, old)
            else:
                rows.append(_status(link, outcome, old))
                continue
            rows.append(row)
            tar.add(f"{link.key}.{suffix}", data)
            if link.text is not None:
                tar.add(f"{link.key}.txt", link.text.encode())
            tar.add(f"{link.key}.json", json.dumps(row, ensure_ascii=False).encode())
        tar.finish()
    return _statuses(rows)


def _status(
    link: Link, outcome: Outcome | None, old: dict[str, Any] | None, data: bytes | None = None
) -> dict[str, Any]:
    """One row of the statuses: the new outcome's if there is one, else the old one's."""
    if outcome is None:
        assert old is not None, f"{link.key} was neither fetched nor known"
        return {name: old[name] for name in STATUSES.names}
    size = header_size(data) if data else None
    width, height = size or (None, None)
    return {
        "url": link.url,
        "caption": link.text,
        "key": link.key,
        "status": outcome.status,
        "error_message": one_line(outcome.reason) if outcome.reason else None,
        "width": width,
        "height": height,
        "original_width": width,
        "original_height": height,
        "sha256": hashlib.sha256(data).hexdigest() if data else None,
    }


def _statuses(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=STATUSES)
