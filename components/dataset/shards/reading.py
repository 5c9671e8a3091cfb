"""Reading a shard's pairs in batches: one pass over its tar as a stream, one decode a picture.

    for batch in read_pairs(dataset.shards[0], pixels=224):
        show(batch.images[0], batch.captions("alt")[0])

Nothing of all pictures is ever held: a batch closes at `batch_size` pairs or at `BATCH_BYTES` of
pixels, whichever comes first. Where it closes depends on the shard and `pixels` alone, never on
threads or timing, so a pass that is done again makes the same batches.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairwright.components.dataset.dataset import Shard
from pairwright.components.dataset.media.decode import Decoded, decode
from pairwright.components.dataset.pairs import Frame, PairBatch
from pairwright.components.dataset.shards.members import Members
from pairwright.components.dataset.shards.read_ahead import mapped_ahead

# Of decoded pixels. Held longer, they leave the cache and the heap: at 64 pictures of 900 px a batch each one
# costs half as much again to decode (benchmarks/filter_throughput.py).
BATCH_BYTES = 32 << 20
IMAGE_ROLE = "image"
NO_IMAGE = "read:no_image"  # the pair has captions but no picture
FRAMES_ROLE = "frames"
NO_FRAMES = "read:no_frames"  # the pair is no clip


def read_pairs(
    shard: Shard,
    *,
    pixels: int,
    raw: bool = False,
    frames: bool = False,
    batch_size: int = 64,
    rows: Sequence[int] | np.ndarray | None = None,
    decode_threads: int = 1,
    batch_bytes: int = 0,
) -> Generator[PairBatch, None, None]:
    """The shard's pairs in row order.

    Args:
        pixels: shortest image side wanted, in px; 0 decodes nothing. With neither `pixels` nor `raw` nor `frames`
            the tar is not opened.
        raw: keep the encoded bytes, too.
        frames: read each clip's frames, too, as they are encoded.
        rows: only these rows, in this order; all if None.
        decode_threads: above 1, pictures are decoded ahead in this many threads.
        batch_bytes: of decoded pixels, at which a batch closes; 0 means `BATCH_BYTES`.

    Raises:
        DataChanged: the sidecar or a picture read is not what was indexed.
        DatasetError: the sidecar or the tar cannot be read. A picture that cannot be decoded is in `errors`.
    """
    table = shard.read_sidecar()
    numbers = np.arange(shard.rows, dtype=np.int32) if rows is None else np.asarray(rows, dtype=np.int32)
    records = _iter_records(table, numbers, batch_size)
    if not pixels and not raw and not frames:
        for some in _chunks(records, batch_size):
            yield _batch(some, raw=False)
        return
    batch_bytes = batch_bytes or BATCH_BYTES
    with shard.open_tar() as tar:
        fetched = (_fetch(tar, record, bool(pixels or raw), frames) for record in records)
        opened = _opened(fetched, pixels, raw, decode_threads, batch_size, batch_bytes)
        with closing(opened):
            yield from _close_batches(opened, batch_size, batch_bytes, raw)


@dataclass
class _Record:
    """One row on its way into a batch."""

    row: int
    sidecar: dict[str, Any]
    error: str | None
    data: bytes | None = None
    size: int = 0
    frames: list[Frame] | None = None
    decoded: Decoded | None = None


def _iter_records(table: pa.Table, numbers: np.ndarray, window: int) -> Iterator[_Record]:
    everything = len(numbers) == len(table) and bool((numbers == np.arange(len(table))).all())
    for start in range(0, len(numbers), window):
        wanted = numbers[start : start + window]
        part = table.slice(start, len(wanted)) if everything else table.take(pa.array(wanted))
        for row, values in zip(wanted, sidecar_rows(part)):
            yield _Record(int(row), values, values["error"])


def sidecar_rows(table: pa.Table) -> list[dict[str, Any]]:
    """A table's rows as dicts; as `to_pylist`, but several times faster for lists of structs."""
    columns = [_values(pa.concat_arrays(c.chunks) if c.chunks else pa.array([], c.type)) for c in table.columns]
    return [dict(zip(table.column_names, values)) for values in zip(*columns)]


def _values(array: pa.Array) -> list[Any]:
    if not (pa.types.is_list(array.type) and pa.types.is_struct(array.type.value_type)):
        return list(array.to_pylist())
    flat = array.flatten()
    names = [flat.type.field(i).name for i in range(flat.type.num_fields)]
    entries = [dict(zip(names, values)) for values in zip(*(child.to_pylist() for child in flat.flatten()))]
    lists: list[Any] = []
    at = 0
    for length in pc.list_value_length(array).to_pylist():
        lists.append(None if length is None else entries[at : at + length])
        at += length or 0
    return lists


def _opened(
    fetched: Iterator[_Record], pixels: int, raw: bool, threads: int, most: int, most_bytes: int
) -> Generator[_Record, None, None]:
    """The records with their pictures decoded, if `pixels`; in the same order, at most half a batch's bytes ahead."""

    def open_picture(record: _Record) -> _Record:
        if record.data is not None and pixels:
            record.decoded = decode(record.data, pixels)
            record.error = record.decoded.error
        if not raw:
            record.data = None
        return record

    if threads <= 1:
        yield from map(open_picture, fetched)
    else:
        yield from mapped_ahead(open_picture, fetched, threads, _pixel_bytes, most, most_bytes // 2)


def _fetch(tar: Members, record: _Record, picture: bool, frames: bool) -> _Record:
    """The record with its picture's bytes, or with the reason why there are none; and with its frames."""
    if record.error is not None:
        return record
    if frames:
        record.frames = _frames(tar, record.sidecar["media"] or ()) or None
    return _with_picture(tar, record) if picture else record


def _frames(tar: Members, media: Sequence[dict[str, Any]]) -> list[Frame]:
    """A clip's frames; those that name no time are shown a second each."""
    entries = sorted((one for one in media if one["role"] == FRAMES_ROLE), key=lambda one: one["ordinal"] or 0)
    timed = all(one["t0"] is not None and one["t1"] is not None for one in entries)
    times = [(one["t0"], one["t1"]) if timed else (float(at), at + 1.0) for at, one in enumerate(entries)]
    return [Frame(t0, t1, tar.read(one)) for (t0, t1), one in zip(times, entries)]


def _with_picture(tar: Members, record: _Record) -> _Record:
    for medium in record.sidecar["media"] or ():
        if medium["role"] == IMAGE_ROLE:
            record.data = tar.read(medium)
            record.size = len(record.data)
            return record
    record.error = NO_IMAGE
    return record


def _chunks(records: Iterator[_Record], size: int) -> Iterator[list[_Record]]:
    some: list[_Record] = []
    for record in records:
        some.append(record)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


def _close_batches(records: Iterator[_Record], batch_size: int, batch_bytes: int, raw: bool) -> Iterator[PairBatch]:
    some: list[_Record] = []
    held = 0
    for record in records:
        some.append(record)
        held += _pixel_bytes(record) + len(record.data or b"") + sum(len(one.data) for one in record.frames or ())
        if len(some) == batch_size or held >= batch_bytes:
            full, some, held = some, [], 0
            yield _batch(full, raw)
            full.clear()  # the caller's batch alone keeps the pixels
    if some:
        yield _batch(some, raw)


def _pixel_bytes(record: _Record) -> int:
    image = record.decoded.image if record.decoded else None
    return 0 if image is None else image.nbytes


def _batch(records: list[_Record], raw: bool) -> PairBatch:
    return PairBatch(
        rows=np.array([record.row for record in records], dtype=np.int32),
        keys=[record.sidecar["key"] for record in records],
        sidecar=[record.sidecar for record in records],
        images=[record.decoded.image if record.decoded else None for record in records],
        raw=[record.data if raw else None for record in records],
        facts=[_facts(record) for record in records],
        errors=[record.error for record in records],
        frames=[record.frames for record in records],
    )


def _facts(record: _Record) -> dict[str, Any]:
    """Header facts of a picture that was opened; {} if none was."""
    if record.decoded is None:
        return {"bytes": record.size} if record.size else {}
    one = record.decoded
    return {"width": one.width, "height": one.height, "format": one.format, "bytes": record.size}
