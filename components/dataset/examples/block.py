"""What is held in memory of some shards: the texts, labels, regions and columns a task reads, and where its media lie.

    block = read_block(view, shards, rows, reads)
    block.usable                    # which of `rows` are examples of the task
    block.texts["alt"].at(places)   # per place, every text

All is kept by column (Arrow, or float16 for vectors), so a pair costs its own bytes and no Python objects; those are
made for a batch, and end with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairwright.components.dataset.dataset import Shard
from pairwright.components.dataset.examples.example import Region, Text
from pairwright.components.dataset.examples.halves import as_float32
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.dataset.shards.columns import ColumnsView, to_numpy
from pairwright.components.errors import ColumnError, DatasetError
from pairwright.components.finite import require_finite

NO_PICTURE = "no_image"  # the sidecar's reason for a pair that is an example only where no picture is asked for
MEDIA_FIELDS = ("role", "kind", "ordinal", "member", "offset", "size", "crc32", "t0", "t1")


@dataclass(frozen=True)
class Lists:
    """A list a pair: entries[offsets[i]:offsets[i + 1]] are pair i's, as a table."""

    offsets: np.ndarray
    entries: pa.Table

    def at(self, places: np.ndarray) -> list[list[tuple[Any, ...]]]:
        """The entries of each place, as tuples of their fields."""
        starts, counts = self.offsets[places], self.offsets[places + 1] - self.offsets[places]
        ends = np.cumsum(counts)
        wanted = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - counts), counts)
        rows = list(zip(*(column.to_pylist() for column in self.entries.take(pa.array(wanted)).columns)))
        return [rows[end - count : end] for end, count in zip(ends.tolist(), counts.tolist())]

    def take(self, places: np.ndarray) -> Lists:
        counts = np.diff(self.offsets)[places]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        wanted = np.arange(offsets[-1]) + np.repeat(self.offsets[places] - offsets[:-1], counts)
        return Lists(offsets, self.entries.take(pa.array(wanted)))

    @property
    def filled(self) -> np.ndarray:
        """Which pairs have an entry, bool (n,)."""
        return np.diff(self.offsets) > 0

    @property
    def nbytes(self) -> int:
        return int(self.offsets.nbytes + self.entries.nbytes)


@dataclass(frozen=True)
class Block:
    """Some pairs' facts, by column; all have an entry a pair.

    Attributes:
        groups: int64 (n,), equal for pairs that belong together.
        columns: float16 (n, d) of vectors, (n,) of numbers, Arrow arrays of anything else.
        known: bool (n,), which pairs have a value in each column.
        usable: bool (n,), whether the pair has all that the task reads and cannot do without.
    """

    shards: tuple[Shard, ...]
    shard_of: np.ndarray
    keys: pa.ChunkedArray
    groups: np.ndarray
    texts: dict[str, Lists]
    labels: dict[str, Lists]
    regions: Lists | None
    media: Lists | None
    columns: dict[str, Any]
    known: dict[str, np.ndarray]
    usable: np.ndarray

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def nbytes(self) -> int:
        lists = [*self.texts.values(), *self.labels.values(), *(one for one in (self.regions, self.media) if one)]
        held = sum(one.nbytes for one in lists) + sum(
            int(one.nbytes) for one in (*self.columns.values(), *self.known.values())
        )
        return int(held + self.keys.nbytes + self.groups.nbytes + self.shard_of.nbytes + self.usable.nbytes)

    def only_usable(self) -> Block:
        """The block without the pairs that are no examples."""
        if self.usable.all():
            return self
        places = np.flatnonzero(self.usable)
        index = pa.array(places)
        return Block(
            self.shards,
            self.shard_of[places],
            self.keys.take(index),
            self.groups[places],
            {source: texts.take(places) for source, texts in self.texts.items()},
            {name: labels.take(places) for name, labels in self.labels.items()},
            self.regions.take(places) if self.regions is not None else None,
            self.media.take(places) if self.media is not None else None,
            {name: _taken(column, places) for name, column in self.columns.items()},
            {name: known[places] for name, known in self.known.items()},
            self.usable[places],
        )

    def keys_at(self, places: np.ndarray) -> list[str]:
        return list(self.keys.take(pa.array(places)).to_pylist())

    def groups_at(self, places: np.ndarray) -> np.ndarray:
        return self.groups[places]

    def shards_at(self, places: np.ndarray) -> list[Shard]:
        return [self.shards[at] for at in self.shard_of[places].tolist()]

    def media_at(self, places: np.ndarray) -> list[list[dict[str, Any]]]:
        """Sidecar entries of the roles that are read, as far as they have bytes."""
        assert self.media is not None
        return [[dict(zip(MEDIA_FIELDS, entry)) for entry in found] for found in self.media.at(places)]

    def texts_at(self, places: np.ndarray, source: str) -> list[list[Text]]:
        """Every text of a source."""
        return [[Text(text, source, at, lang) for text, at, lang in found] for found in self.texts[source].at(places)]

    def regions_at(self, places: np.ndarray) -> list[list[Region]]:
        assert self.regions is not None
        return [[Region(tuple(box), *more) for box, *more in found] for found in self.regions.at(places)]

    def labels_at(self, places: np.ndarray, name: str) -> list[str | None]:
        return [found[0][0] if found else None for found in self.labels[name].at(places)]

    def known_at(self, places: np.ndarray, name: str) -> np.ndarray:
        return self.known[name][places]

    def column_at(self, places: np.ndarray, name: str) -> Any:
        """As `Examples.column`."""
        column = self.columns[name]
        if not isinstance(column, np.ndarray):
            return column.take(pa.array(places)).to_pylist()
        found = column[places]
        return as_float32(found) if found.ndim == 2 else found


def joined(blocks: Sequence[Block]) -> Block:
    """Blocks one after another, as one."""
    if len(blocks) == 1:
        return blocks[0]
    first = blocks[0]
    before = np.cumsum([0] + [len(block.shards) for block in blocks])
    regions = [block.regions for block in blocks if block.regions is not None]
    media = [block.media for block in blocks if block.media is not None]
    return Block(
        tuple(shard for block in blocks for shard in block.shards),
        np.concatenate([block.shard_of + start for block, start in zip(blocks, before)]).astype(np.int32),
        pa.chunked_array([chunk for block in blocks for chunk in block.keys.chunks], first.keys.type).combine_chunks(),
        np.concatenate([block.groups for block in blocks]),
        {source: _end_to_end([block.texts[source] for block in blocks]) for source in first.texts},
        {name: _end_to_end([block.labels[name] for block in blocks]) for name in first.labels},
        _end_to_end(regions) if regions else None,
        _end_to_end(media) if media else None,
        {name: _stacked(name, [block.columns[name] for block in blocks]) for name in first.columns},
        {name: np.concatenate([block.known[name] for block in blocks]) for name in first.known},
        np.concatenate([block.usable for block in blocks]),
    )


def _end_to_end(lists: Sequence[Lists]) -> Lists:
    counts = np.concatenate([np.diff(one.offsets) for one in lists])
    entries = pa.concat_tables([one.entries for one in lists]).combine_chunks()
    return Lists(np.concatenate([[0], np.cumsum(counts)]), entries)


def _stacked(name: str, parts: Sequence[Any]) -> Any:
    if not isinstance(parts[0], np.ndarray):
        return pa.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type).combine_chunks()
    if len({part.shape[1:] for part in parts}) > 1:
        raise ColumnError(f'"{name}" holds vectors of several widths; make that step\'s columns again')
    return np.concatenate(parts)


def _taken(column: Any, places: np.ndarray) -> Any:
    return column[places] if isinstance(column, np.ndarray) else column.take(pa.array(places))


def read_block(view: ColumnsView, shard: Shard, rows: np.ndarray | None, reads: Reads) -> Block:
    """A shard's pairs, all of them or these rows.

    Raises:
        DataChanged, DatasetError, ColumnError: the sidecar or a column file cannot be read or is not what it was.
        NotFinite: a vector holds NaN or infinity.
    """
    wanted = ["key", "group", "error"]
    wanted += ["media"] if reads.media else []
    wanted += ["captions"] if any(source not in view.steps for source in reads.texts) else []
    wanted += ["labels"] if reads.labels else []
    wanted += ["regions"] if reads.regions else []
    facts = shard.read_sidecar(wanted)
    facts = facts if rows is None else facts.take(pa.array(rows))
    places = np.arange(shard.rows) if rows is None else rows
    texts = {source: _texts(view, shard, rows, source, facts) for source in reads.texts}
    columns, known = {}, {}
    for name in reads.columns:
        columns[name], known[name] = _column(view, shard, rows, name)
    regions = _regions(_lists(facts["regions"])) if reads.regions else None
    media = _media(_lists(facts["media"]), reads) if reads.media else None
    labels = {name: _labels(facts["labels"], name) for name in reads.labels}
    block = Block(
        (shard,),
        np.zeros(len(facts), np.int32),
        facts["key"],
        _groups(shard, places, facts["group"].to_pylist()),
        texts,
        labels,
        regions,
        media,
        columns,
        known,
        np.ones(len(facts), bool),
    )
    return _judged(block, reads, facts["error"])


def _judged(block: Block, reads: Reads, errors: pa.ChunkedArray) -> Block:
    """The block with `usable` set: what a pair lacks, or the sidecar's `error`, makes it no example."""
    usable = errors.is_null().to_numpy() | pc.fill_null(pc.equal(errors, NO_PICTURE), False).to_numpy()
    has = {source: _has_text(texts) for source, texts in block.texts.items()} | block.known
    has |= {name: labels.filled for name, labels in block.labels.items()}
    if block.media is not None:
        has |= {role: _any(block.media, pc.equal(block.media.entries["role"], role)) for role in reads.media}
    if block.regions is not None:
        has["regions"] = block.regions.filled
    free = reads.optional.union(*reads.any_of)
    for needed in [(name,) for name in has if name not in free] + list(reads.any_of):
        usable = usable & np.any([has[name] for name in needed], axis=0)
    block.usable[:] = usable
    return block


def _any(lists: Lists, mask: pa.ChunkedArray) -> np.ndarray:
    """Which pairs have an entry where the mask is true, bool (n,)."""
    found = np.concatenate([[0], np.cumsum(pc.fill_null(mask, False).to_numpy())])
    return found[lists.offsets[1:]] > found[lists.offsets[:-1]]


def _has_text(texts: Lists) -> np.ndarray:
    """Whether the first text of each pair is one, bool (n,): an empty text is none."""
    lengths = np.append(pc.fill_null(pc.binary_length(texts.entries["text"]), 0).to_numpy(), 0)
    return texts.filled & (lengths[texts.offsets[:-1]] > 0)


def _groups(shard: Shard, rows: np.ndarray, groups: list[str | None]) -> np.ndarray:
    names = (group or f"{shard.digest}/{row}" for group, row in zip(groups, rows.tolist()))
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(digests, dtype="<i8")


def _lists(column: pa.ChunkedArray) -> Lists:
    """A column of lists of structs as `Lists`; null is an empty list."""
    array = _whole(column)
    counts = pc.fill_null(pc.list_value_length(array), 0).to_numpy().astype(np.int64)
    flat = array.flatten()
    names = [flat.type.field(i).name for i in range(flat.type.num_fields)]
    return Lists(np.concatenate([[0], np.cumsum(counts)]), pa.table(flat.flatten(), names=names))


def _filtered(lists: Lists, mask: pa.ChunkedArray, names: Sequence[str]) -> Lists:
    """The entries where the mask is true, and of them these fields."""
    keep = pc.fill_null(mask, False)
    before = np.concatenate([[0], np.cumsum(keep.to_numpy())])
    return Lists(before[lists.offsets], lists.entries.select(list(names)).filter(keep).combine_chunks())


def _media(lists: Lists, reads: Reads) -> Lists:
    """The entries of the roles that are read, as far as they have bytes."""
    wanted = pc.is_in(lists.entries["role"], value_set=pa.array(sorted(reads.media)))
    return _filtered(lists, pc.and_(wanted, pc.greater(lists.entries["size"], 0)), MEDIA_FIELDS)


def _regions(lists: Lists) -> Lists:
    return Lists(lists.offsets, lists.entries.select(["box", "label", "score", "caption"]))


def _labels(column: pa.ChunkedArray, name: str) -> Lists:
    lists = _lists(column)
    return _filtered(lists, pc.equal(lists.entries["name"], name), ["value"])


def _texts(view: ColumnsView, shard: Shard, rows: np.ndarray | None, source: str, facts: pa.Table) -> Lists:
    """A source's texts with ordinal and language: of a captioner's step, or captions the pair came with."""
    if source not in view.steps:
        lists = _lists(facts["captions"])
        name, _, lang = source.partition("@")
        mask = pc.equal(lists.entries["source"], name)
        mask = pc.and_(mask, pc.equal(lists.entries["lang"], lang)) if lang else mask
        return _filtered(lists, mask, ["text", "ordinal", "lang"])
    column = view.read_shard(shard, [f"{source}.text"])[f"{source}.text"]
    column = column if rows is None else column.take(pa.array(rows))
    array = _whole(column)
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        raise ColumnError(f'"{source}.text" is {array.type}, no text; name a captioner\'s step or a caption source')
    present = array.is_valid()
    texts = array.filter(present)
    entries = pa.table(
        {"text": texts, "ordinal": pa.array(np.zeros(len(texts), np.int32)), "lang": pa.nulls(len(texts), pa.string())}
    )
    return Lists(np.concatenate([[0], np.cumsum(present.to_numpy(zero_copy_only=False))]), entries)


def _column(view: ColumnsView, shard: Shard, rows: np.ndarray | None, name: str) -> tuple[Any, np.ndarray]:
    """A column as `Block.columns` keeps it, and which rows have a value: bool (n,)."""
    column = view.read_shard(shard, [name])[name]
    column = column if rows is None else column.take(pa.array(rows))
    known = column.is_valid().to_numpy()
    if pa.types.is_fixed_size_list(column.type):
        values = to_numpy(column)
        with np.errstate(over="ignore"):  # an overflow is found next
            halves = values.astype(np.float16)
        require_finite(halves[known], f'features "{name}"', "make that step's columns again")
        halves[~known] = np.nan
        return halves, known
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type):
        if column.null_count:
            column = column.cast(pa.float64())
        return column.to_numpy(), known
    return column, known


def _whole(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        if array.num_chunks > 1:
            raise DatasetError("a shard holds more than 2 GiB of text; write it as smaller shards")
        array = array.chunk(0) if array.num_chunks else pa.array([], column.type)
    return array
