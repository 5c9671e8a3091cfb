"""Export: a dataset to take away, as WebDataset tars and Parquet.

    DEST/00000.tar, 00000.parquet, dataset.json    a dataset like any other; `webdataset` iterates the tars
    DEST/pairs.parquet                             one flat row a pair, for DuckDB or pandas

Keys, pictures and every other medium, captions and metadata pass through byte for byte, copied by
byte range. Captions made by a step join the sidecar under the step's name; KEY.txt holds the first
caption there is in the order of `caption_priority`.
"""

from __future__ import annotations

import json
import posixpath
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairwright.components.dataset.dataset import Dataset, Shard
from pairwright.components.dataset.pairs import caption_of
from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.dataset.shards.keys import safe_key
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import Medium, ShardWriter
from pairwright.components.dataset.sources.source import Progress, absolute
from pairwright.components.errors import DatasetError

PAIRS = "pairs.parquet"
STREAM_SHARE = 0.3  # of a remote tar's bytes wanted, from which reading it through beats ranges
Pair = dict[str, Any]  # arguments of `ShardWriter.add`
Source = dict[str, Any]  # where a pair came from, and which caption became its text
ShardCaptions = Callable[[Shard], Sequence[str | None]]  # the captions of one shard, by row

FLAT = pa.schema(
    [
        ("key", pa.string()),
        ("caption", pa.string()),
        ("caption_source", pa.string()),
        ("tar", pa.string()),  # relative to the Parquet
        ("member", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("licence", pa.string()),
        ("author", pa.string()),
        ("origin", pa.string()),
        ("source_shard", pa.string()),  # digest of the shard it came from
        ("source_row", pa.int32()),
        ("source_key", pa.string()),
    ]
)


def step_captions(view: ColumnsView, step: str) -> ShardCaptions:
    """The captions a captioner step made: its `text` column.

    Raises:
        ColumnError: no such step, or it has no `text`.
    """
    return lambda shard: view.read_shard(shard, [f"{step}.text"])[f"{step}.text"].to_pylist()


def export(
    dataset: Dataset,
    dest: str,
    *,
    kept: pa.Table | None = None,
    columns: ColumnsView | None = None,
    captions: Sequence[str] = (),
    caption_columns: Mapping[str, ShardCaptions] | None = None,
    caption_priority: Sequence[str] | None = None,
    shard_pairs: int = 1000,
    name: str | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Copy the good pairs (of `kept` only, if given) to `dest`.

    Args:
        kept: columns `shard` (digest) and `row`; default every row without an error.
        columns, captions: a view, and those of its steps whose captions join the sidecar under the step's name.
        caption_columns: more of them, as source name -> that source's captions a shard (see `step_captions`).
        caption_priority: caption sources for KEY.txt, the best first; default `captions`, then "alt".
        shard_pairs: pairs a shard.

    Raises:
        DataChanged: a tar, or a member of it, is not what was indexed.
        DatasetError: `kept` names what is not in the dataset.
        WorkspaceError: `dest` cannot be written.
    """
    dest = absolute(dest).rstrip("/")
    if dest == dataset.root or dest in {posixpath.dirname(shard.tar) for shard in dataset.shards}:
        raise DatasetError(f"{dest} holds the dataset itself; name another DEST")
    chosen = _chosen_rows(dataset, kept)
    made = dict(caption_columns or {}) | _of_steps(columns, captions)
    priority = (*captions, "alt") if caption_priority is None else caption_priority
    pairs = (pair for shard in dataset.shards for pair in _pairs_of(shard, chosen.get(shard.digest), made, priority))
    writer = ShardWriter(
        dest,
        name or dataset.name,
        pairs_per_shard=shard_pairs,
        description=dataset.description,
        licence=dataset.licence,
        facts=dict(dataset.facts) | {"exported_from": dataset.digest},
    )
    total = sum(len(rows) for rows in chosen.values())
    # What pairs.parquet will say waits on disk, not in memory, until the tars' offsets are known.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as sources:
        with writer:
            for done, (pair, source) in enumerate(_with_free_keys(pairs), 1):
                writer.add(**pair)
                sources.write(json.dumps(source) + "\n")
                if progress:
                    progress(done, total, "pairs")
        sources.seek(0)
        _write_flat(writer.dataset, map(json.loads, sources))
    return writer.dataset


def _of_steps(columns: ColumnsView | None, steps: Sequence[str]) -> dict[str, ShardCaptions]:
    if steps and columns is None:
        raise DatasetError(f'captions of "{steps[0]}" were asked for without the view that holds them; pass `columns`')
    return {step: step_captions(columns, step) for step in steps if columns is not None}


def _with_free_keys(pairs: Iterable[tuple[Pair, Source]]) -> Iterator[tuple[Pair, Source]]:
    """The pairs; where a key was used by another shard, the shard's name goes before it and a label keeps it."""
    taken: set[str] = set()
    for pair, source in pairs:
        key = pair["key"]
        while pair["key"] in taken:
            pair["key"] = safe_key(f"{source['shard_name']}/{pair['key']}")
        taken.add(pair["key"])
        if pair["key"] != key:
            pair["labels"] = [*pair["labels"], ("source_key", key)]
        yield pair, source


def _chosen_rows(dataset: Dataset, kept: pa.Table | None) -> dict[str, list[int]]:
    """Kept rows by shard digest, ascending."""
    chosen: dict[str, list[int]] = defaultdict(list)
    if kept is None:
        return {shard.digest: list(range(shard.rows)) for shard in dataset.shards}
    for digest, row in zip(kept["shard"].to_pylist(), kept["row"].to_pylist(), strict=True):
        chosen[digest].append(row)
    for digest, rows in chosen.items():
        shard = dataset.shard_by_digest(digest)
        if rows and not 0 <= min(rows) <= max(rows) < shard.rows:
            raise DatasetError(
                f"{shard.name} has {shard.rows} rows, row {max(rows)} was asked for; run the recipe again"
            )
        rows.sort()
    return chosen


def _pairs_of(
    shard: Shard, rows: list[int] | None, columns: Mapping[str, ShardCaptions], priority: Sequence[str]
) -> Iterator[tuple[Pair, Source]]:
    """The chosen good pairs of one shard."""
    if not rows:
        return
    table = shard.read_sidecar().take(rows)
    made = {source: read(shard) for source, read in columns.items()}
    wanted = sum(medium["size"] for media in table["media"].to_pylist() for medium in media or ())
    with _reader(shard, wanted) as read:
        for number, row in zip(rows, table.to_pylist(), strict=True):
            if row["error"] is None:
                yield _pair(
                    row, number, shard, {source: texts[number] for source, texts in made.items()}, priority, read
                )


def _pair(
    row: dict[str, Any],
    number: int,
    shard: Shard,
    made: Mapping[str, str | None],
    priority: Sequence[str],
    read: Callable[[Mapping[str, Any]], bytes],
) -> tuple[Pair, Source]:
    captions = row["captions"] + [
        caption(text, source, producer=source) for source, text in made.items() if text is not None
    ]
    text_source = next((source for source in priority if caption_of(captions, source) is not None), None)
    text = caption_of(captions, text_source) if text_source else None
    media = [_medium(row["key"], one, read(one)) for one in row["media"]]
    times = zip(media, row["media"], strict=True)
    shown = {one[2]: (entry["t0"], entry["t1"]) for one, entry in times if entry["t0"] is not None}
    # The alt-text's own bytes, kept where they are not its text, must not win over another text.
    if text is not None and text_source != "alt":
        media = [one for one in media if one[2] != "txt"]
    source = {
        "caption": text,
        "caption_source": text_source,
        "source_shard": shard.digest,
        "source_row": number,
        "source_key": row["key"],
        "shard_name": shard.name,
    }
    about = {name: row[name] for name in ("key", "labels", "regions", "licence", "author", "origin", "group", "meta")}
    return about | {"media": media, "captions": captions, "text": text, "shown": shown}, source


def _medium(key: str, entry: dict[str, Any], data: bytes) -> Medium:
    member = entry["member"]
    suffix = member[len(key) + 1 :] if member.startswith(key + ".") else posixpath.basename(member).partition(".")[2]
    return (entry["role"], entry["kind"], suffix or "bin", data)


@contextmanager
def _reader(shard: Shard, wanted: int) -> Iterator[Callable[[Mapping[str, Any]], bytes]]:
    """A function that reads one medium's bytes, `wanted` bytes in all, from the shard's tar.

    Raises:
        DataChanged: the tar is not as long as when it was indexed.
    """
    with shard.open_tar() as tar:
        few = storage.is_remote(shard.tar) and wanted < STREAM_SHARE * shard.tar_bytes
        yield tar.read_range if few else tar.read


def _write_flat(dataset: Dataset, sources: Iterator[dict[str, Any]]) -> None:
    """`pairs.parquet`: what a user of the exported dataset asks for first, without nested columns."""
    path = storage.join(dataset.root, PAIRS)
    with storage.commit_file(path) as partial, pq.ParquetWriter(partial, FLAT, compression="zstd") as out:
        for shard, table in dataset.iter_sidecars(["key", "media", "licence", "author", "origin"]):
            rows = [_flat(row, shard) | next(sources) for row in table.to_pylist()]
            out.write_table(pa.Table.from_pylist(rows, schema=FLAT))


def _flat(row: dict[str, Any], shard: Shard) -> dict[str, Any]:
    image: dict[str, Any] = next((one for one in row["media"] if one["role"] == "image"), {})
    about = {name: row[name] for name in ("key", "licence", "author", "origin")}
    place = {name: image.get(name) for name in ("member", "offset", "size")}
    return about | place | {"tar": posixpath.basename(shard.tar)}
