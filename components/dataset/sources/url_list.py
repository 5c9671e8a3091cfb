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
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from pairwright.components.dataset.captions.text import as_json, one_line, storable
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.media.image_type import header_size
from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.tar_index import IMAGE_SUFFIXES, index_tar
from pairwright.components.dataset.shards.writer import DeterministicTar
from pairwright.components.dataset.sources.captions_of import CaptionText, plain_name, record_captions
from pairwright.components.dataset.sources.download import FAILED, SUCCESS, FetchOptions, Outcome, fetch_all
from pairwright.components.dataset.sources.folder import Folder, suffix_of
from pairwright.components.dataset.sources.records import TABLES, column_names, first_records, read_records, text_field
from pairwright.components.dataset.sources.source import Progress, absolute, caption_columns, check_column, list_files
from pairwright.components.dataset.sources.webdataset_source import WebDatasetOptions, index_downloads, index_tars
from pairwright.components.errors import DatasetError

URL_COLUMNS = ("url", "image_url", "img_url", "link", "src", "image")
SUFFIXES = tuple(f".{suffix}" for suffix in TABLES)
PLAIN_LIST = ".txt"  # a URL a line; only where it is named itself, for beside pictures a .txt is a caption
LOOKED_AT = 20  # records read to see whether a list holds URLs
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
        # All captions of the URL, where the list has more to say than the one text of `caption`.
        ("captions", pa.list_(pa.struct([("text", pa.string()), ("lang", pa.string())]))),
    ]
)


class UrlOptions(WebDatasetOptions, FetchOptions):
    url_column: str | None = Field(None, description="default: url, image_url, link, ...")
    caption_column: str | None = Field(None, description="default: the first there is of captions, caption, text, ...")
    pairs_per_shard: int = Field(1000, ge=1, le=100_000, description="URLs a tar")
    retry_failed: bool = Field(True, description="whether a later run tries the failed URLs again")


@dataclass(frozen=True)
class Link:
    """One record of the list: a key, its URL and its texts; or why it could not be read."""

    key: str
    url: str
    texts: tuple[CaptionText, ...] = ()
    problem: str | None = None

    @property
    def text(self) -> str | None:
        """The first text."""
        return self.texts[0].text if self.texts else None

    @property
    def captions(self) -> list[dict[str, str | None]] | None:
        """All texts, where one text without a language does not say it."""
        plain = len(self.texts) < 2 and not any(text.lang for text in self.texts)
        return None if plain else [{"text": text.text, "lang": text.lang} for text in self.texts]


def looks_like_urls(source: str) -> bool:
    """Whether a table there has a column of URLs, and no pictures lie beside it: those it would speak of."""
    try:
        folder = absolute(source)
        here = Folder(folder).listing().files if not storage.is_remote(folder) and os.path.isdir(folder) else []
        if any(suffix_of(path) in IMAGE_SUFFIXES for path in here):
            return False
        path = list_tables(source)[0]
        column = url_column(column_names(path), None, path)
        found = [text_field(record.facts.get(column)) for record in first_records(path, LOOKED_AT)]
    except (DatasetError, OSError):
        return False
    return any("://" in url for url in found if url)


def list_tables(source: str) -> list[str]:
    """The files of a list of URLs.

    Raises:
        DatasetError: there is none.
    """
    return list_files(source, (PLAIN_LIST,) if absolute(source).lower().endswith(PLAIN_LIST) else SUFFIXES)


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
    """The list's records in order; keys are their numbers."""
    number = 0
    for path in list_tables(source):
        names = column_names(path)
        url = url_column(names, options.url_column, path)
        named = options.caption_column
        columns = caption_columns(named, [name for name in names if name != url or name == named], path)
        for record in read_records(path, list(dict.fromkeys([url, *columns]))):
            texts = record_captions({name: record.facts[name] for name in record.facts if name != url}, named)
            address = storable(text_field(record.facts.get(url)) or "")
            yield Link(f"{number:09d}", address.strip(), tuple(texts), record.problem)
            number += 1


def url_column(names: list[str], wanted: str | None, path: str) -> str:
    """The column of URLs.

    Raises:
        DatasetError: there is none, or not the one named.
    """
    check_column(wanted, names, path)
    usual = (name for one in URL_COLUMNS for name in names if plain_name(name) == one)
    found = wanted or next(usual, None)
    if found is None:
        raise DatasetError(f"{path} has no column of URLs; name it with `url_column`; it has {', '.join(names[:20])}")
    return found


def download_shard(base: str, links: list[Link], options: UrlOptions, report: Any) -> None:
    """Fetch one shard's URLs that have not come yet, and commit tar, statuses and counts.

    The Parquet is written last: without it the tar is not trusted and is fetched again.
    """
    before = _earlier(base, links)
    unread = {n: Outcome(FAILED, link.problem) for n, link in enumerate(links) if link.problem}
    missing = [n for n, old in enumerate(before) if old is None or (old["status"] != SUCCESS and options.retry_failed)]
    wanted = [n for n in missing if n not in unread]
    if not wanted and all(before):
        report(len(links))
        return
    with tempfile.TemporaryDirectory(prefix="pairwright-") as folder:
        settled = len(links) - len(wanted)
        found = fetch_all([links[n].url for n in wanted], options, Path(folder), lambda done: report(settled + done))
        outcomes = unread | dict(zip(wanted, found, strict=True))
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
            rows = pq.read_table(stream).to_pylist()
        old = {(row["key"], row["url"], row["caption"], str(row.get("captions"))): row for row in rows}
        pictures = {row["key"]: row["media"][0] for row in index_tar(base + ".tar").rows if row["error"] is None}
    except (DatasetError, OSError, pa.ArrowException, KeyError):
        return [None] * len(links)
    found: list[dict[str, Any] | None] = []
    for link in links:
        row = old.get((link.key, link.url, link.text, str(link.captions)))
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
            if link.captions is None:
                row = {name: value for name, value in row.items() if name != "captions"}
            tar.add(f"{link.key}.json", as_json(row))
        tar.finish()
    return _statuses(rows)


def _status(
    link: Link, outcome: Outcome | None, old: dict[str, Any] | None, data: bytes | None = None
) -> dict[str, Any]:
    """One row of the statuses: the new outcome's if there is one, else the old one's."""
    if outcome is None:
        assert old is not None, f"{link.key} was neither fetched nor known"
        return {name: old.get(name) for name in STATUSES.names}
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
        "captions": link.captions,
    }


def _statuses(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=STATUSES)
