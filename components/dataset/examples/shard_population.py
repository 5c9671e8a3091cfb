"""Examples from shards and columns: local or `s3://`, a dataset of ours or any WebDataset indexed in place.

    population = open_population(root, shards, store_root, steps, pairs, reads)

How much is held depends on `memory` alone, never on how many pairs there are, but for 4 bytes a pair where a list of
kept pairs is given:

- Up to EAGER pairs every shard's facts are read at opening, so that what is no example of the task is excluded before
  it gets a number. If they fit into `memory` they stay, and nothing but media is read again.
- Beyond, or where they do not fit, facts are read shard by shard as batches ask for them, and those used last are
  held. An order by windows (`training/order.py`) asks for few shards at a time; `window` says how large one may be.
- Beyond EAGER pairs nothing is read at opening but the list of pairs and one shard, so that ten million open in
  seconds. Then a number is a pair's place among all that were kept, and one that is no example is left out of its
  batch and counted in `excluded` when it is met.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pairwright.components.dataset.dataset import Shard, open_dataset
from pairwright.components.dataset.examples.block import Block, joined, read_block
from pairwright.components.dataset.examples.clock import READ, Clock
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.held import Held
from pairwright.components.dataset.examples.identity import identities, identity_reads
from pairwright.components.dataset.examples.media import read_media
from pairwright.components.dataset.examples.population import BUDGET, Failures, Population
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.dataset.shards.columns import WIDTHS as LIST_WIDTHS
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
from pairwright.components.errors import ColumnError, DatasetError, nearest

EAGER = 1 << 21  # pairs
MEMORY = 2 << 30  # bytes of facts held
AT_ONCE = 1 << 16  # pairs whose facts are looked at together
WINDOWS_HELD = 3  # the one in use, the one that comes next, and room for shards with more text than the first


@dataclass(frozen=True)
class Part:
    """Some of a batch that one block holds: their places in the block, and in the batch."""

    block: Block
    places: np.ndarray
    positions: np.ndarray


class ShardPopulation(Population):
    """Some rows of a dataset's shards.

    Args:
        rows: of each of the view's shards, ascending; all of them where None.
        memory: bytes of texts, labels, regions, columns and media's places that are held.
        budget: share of examples that may fail to be read.
        eager: pairs up to which all facts are read at opening.

    Raises:
        DatasetError, DataChanged, ColumnError: a shard, sidecar or column file is missing or damaged.
    """

    def __init__(
        self,
        view: ColumnsView,
        rows: Sequence[np.ndarray | None],
        reads: Reads,
        memory: int = MEMORY,
        budget: float = BUDGET,
        eager: int = EAGER,
    ) -> None:
        self.view, self.reads, self.memory = view, reads, memory
        self.excluded = 0
        self._rows = list(rows)
        self._whole: Block | None = None
        self._held = Held(self._read_block, memory)
        self._lock = threading.Lock()
        self._widths: dict[str, int] = {}
        self._check_columns()
        self._judged = sum(self._counts()) <= eager
        if self._judged:
            self._read_all()
        self._sizes = np.array(self._counts(), np.int64)
        self._starts = np.cumsum(self._sizes) - self._sizes
        self.size = int(self._sizes.sum())
        self.failures = Failures(self.size, budget)
        self._bytes = self._bytes_a_pair()

    @property
    def sizes(self) -> np.ndarray:
        return self._sizes

    @property
    def window(self) -> int:
        if self._whole is not None:
            return max(self.size, 1)
        return max(1, int(self.memory / WINDOWS_HELD / self._bytes))

    @property
    def shards_held(self) -> int:
        """Shards whose facts are in memory."""
        return len(self._whole.shards) if self._whole is not None else len(self._held)

    def width(self, column: str) -> int:
        if column not in self._widths:
            raise ColumnError(f'"{column}" is not among the vector columns read{nearest(column, self._widths)}')
        return self._widths[column]

    def made_by(self, column: str) -> Mapping[str, Any]:
        step, _ = self.view.split(column)
        records = (self.view.store.record(step, shard.digest) for shard in self.view.dataset.shards[:1])
        return dict(next((record["facts"] for record in records if record and "facts" in record), {}))

    def key(self, number: int) -> str:
        part = self._parts(np.array([number]))[0]
        return str(part.block.keys[int(part.places[0])].as_py())

    def groups(self) -> np.ndarray:
        if self._whole is not None:
            return self._whole.groups
        blocks = (
            read_block(self.view, shard, rows, Reads()).groups
            for shard, rows in zip(self.view.dataset.shards, self._rows)
        )
        return np.concatenate(list(blocks))

    def identities(self, name: str, *, lacking_alike: bool = False) -> np.ndarray:
        facts = ShardPopulation(self.view, self._rows, identity_reads(name), self.memory)
        parts = [
            identities(facts.read(numbers, 0, 0), name, lacking_alike=lacking_alike)
            for numbers in np.split(facts.numbers, range(AT_ONCE, facts.size, AT_ONCE))
        ]
        return np.concatenate(parts)

    def beside(self, reads: Reads) -> ShardPopulation:
        optional = replace(reads, optional=frozenset(reads.names))
        return ShardPopulation(self.view, self._rows, optional, self.memory, budget=1.0)

    def hold(self, shards: Sequence[int]) -> None:
        if self._whole is None and shards:
            self._held.join(shards)

    def read(
        self, numbers: np.ndarray, epoch: int, seed: int, pool: Executor | None = None, clock: Clock | None = None
    ) -> Examples:
        clock = clock or Clock()
        numbers = np.asarray(numbers, np.int64)
        asked = len(numbers)
        with clock(READ):
            parts = self._parts(numbers)
            if not self._judged:
                parts, numbers = self._only_usable(parts, numbers)
            keys = _gathered(parts, Block.keys_at)
        media: dict[str, list[Any]] = {}
        views: dict[str, Any] = {}
        failed: list[tuple[str, str]] = []
        if self.reads.media:
            seen = Examples(numbers, keys, seed, epoch)
            shards, entries = _gathered(parts, Block.shards_at), _gathered(parts, Block.media_at)
            media, reasons, views = read_media(seen, shards, entries, self.reads, pool, clock)
            failed = [(key, reason) for key, reason in zip(keys, reasons) if reason is not None]
            if failed:
                fine = np.array([reason is None for reason in reasons], bool)
                parts, numbers = _only(parts, fine), numbers[fine]
                keys, media = _where(keys, fine), {role: _where(found, fine) for role, found in media.items()}
                views = {role: _where(found, fine) for role, found in views.items()}
        self.failures.count(asked, failed)
        with clock(READ):
            return self._examples(parts, numbers, keys, media, views, seed, epoch)

    def _examples(
        self,
        parts: list[Part],
        numbers: np.ndarray,
        keys: list[str],
        media: dict[str, list[Any]],
        views: dict[str, Any],
        seed: int,
        epoch: int,
    ) -> Examples:
        reads = self.reads
        regions = _gathered(parts, Block.regions_at) if reads.regions else None
        if regions is not None and "image" in views:
            regions = [view.regions(found) for view, found in zip(views["image"], regions)]
        return Examples(
            numbers,
            keys,
            seed,
            epoch,
            _gathered(parts, Block.groups_at, none=np.zeros(0, np.int64)),
            _media=media,
            _texts={source: _gathered(parts, Block.texts_at, source) for source in reads.texts},
            _regions=regions,
            _labels={name: _gathered(parts, Block.labels_at, name) for name in reads.labels},
            _columns={
                name: _gathered(parts, Block.column_at, name, none=self._no_values(name)) for name in reads.columns
            },
            _known={name: _gathered(parts, Block.known_at, name, none=np.zeros(0, bool)) for name in reads.columns},
        )

    def _no_values(self, column: str) -> Any:
        """The column of no examples."""
        return np.zeros((0, self._widths[column]), np.float32) if column in self._widths else []

    def _parts(self, numbers: np.ndarray) -> list[Part]:
        """The batch by the blocks that hold it."""
        if self._whole is not None:
            return [Part(self._whole, numbers, np.arange(len(numbers)))] if len(numbers) else []
        shards, which = np.unique(np.searchsorted(self._starts, numbers, side="right") - 1, return_inverse=True)
        found = [self._held.find(shard) for shard in shards.tolist()]
        places = numbers - (self._starts[shards] - np.array([start for _, start in found], np.int64))[which]
        blocks = list({id(block): block for block, _ in found}.values())
        at = {id(block): index for index, block in enumerate(blocks)}
        of_block = np.array([at[id(block)] for block, _ in found], np.int64)[which]
        each = [np.flatnonzero(of_block == index) for index in range(len(blocks))]
        return [Part(block, places[positions], positions) for block, positions in zip(blocks, each)]

    def _only_usable(self, parts: list[Part], numbers: np.ndarray) -> tuple[list[Part], np.ndarray]:
        """Where nothing was judged at opening: without the pairs that are no examples, which are counted."""
        usable = np.ones(len(numbers), bool)
        for part in parts:
            usable[part.positions] = part.block.usable[part.places]
        if usable.all():
            return parts, numbers
        with self._lock:
            self.excluded += int((~usable).sum())
        return _only(parts, usable), numbers[usable]

    def _read_block(self, shard: int) -> Block:
        return read_block(self.view, self.view.dataset.shards[shard], self._rows[shard], self.reads)

    def _counts(self) -> list[int]:
        return [shard.rows if rows is None else len(rows) for shard, rows in zip(self.view.dataset.shards, self._rows)]

    def _read_all(self) -> None:
        """Every shard's facts, once: who is an example, and the facts themselves if all fit into memory."""
        blocks: list[Block] | None = []
        held = 0
        for at, shard in enumerate(self.view.dataset.shards):
            block = read_block(self.view, shard, self._rows[at], self.reads)
            if not block.usable.all():
                rows = self._rows[at]
                self._rows[at] = np.flatnonzero(block.usable).astype(np.int32) if rows is None else rows[block.usable]
                self.excluded += int((~block.usable).sum())
                block = block.only_usable()
            held += block.nbytes
            if held > self.memory:
                blocks = None
            if blocks is not None:
                blocks.append(block)
        if blocks:
            self._whole = joined(blocks)

    def _bytes_a_pair(self) -> float:
        """Of what is held, by the first shard that has any."""
        if self._whole is not None or not self.size:
            return 1.0
        block, _ = self._held.find(int(np.flatnonzero(self._sizes)[0]))
        return max(block.nbytes / len(block), 1.0)

    def _check_columns(self) -> None:
        """Every column is there, by the first shard's files; and how wide the vectors are."""
        for name in self.reads.columns:
            step, column = self.view.split(name)
            for shard in self.view.dataset.shards[:1]:
                schema = self.view.store.schema(step, shard.digest)
                if column not in schema.names:
                    raise ColumnError(
                        f'{name.partition(".")[0]} has no column "{column}"{nearest(column, schema.names)}'
                    )
                kind = schema.field(column).type
                widths = json.loads((schema.metadata or {}).get(LIST_WIDTHS.encode(), b"{}"))
                if column in widths or pa.types.is_fixed_size_list(kind):
                    self._widths[name] = widths.get(column) or kind.list_size


def _gathered(parts: list[Part], get: Callable[..., Any], *named: str, none: Any = None) -> Any:
    """What `get(block, places, *named)` finds in each block, in the batch's order; `none` (or []) if it is empty."""
    if not parts:
        return [] if none is None else none
    values = [get(part.block, part.places, *named) for part in parts]
    if len(parts) == 1:
        return values[0]
    order = np.argsort(np.concatenate([part.positions for part in parts]))
    if isinstance(values[0], np.ndarray):
        return np.concatenate(values)[order]
    flat = [one for value in values for one in value]
    return [flat[at] for at in order]


def _only(parts: list[Part], wanted: np.ndarray) -> list[Part]:
    """The parts of the batch where `wanted`, its positions counted anew."""
    positions = np.cumsum(wanted) - 1
    kept = [(part, wanted[part.positions]) for part in parts]
    return [Part(one.block, one.places[mask], positions[one.positions[mask]]) for one, mask in kept if mask.any()]


def _where(values: list[Any], wanted: np.ndarray) -> list[Any]:
    return [value for value, want in zip(values, wanted.tolist()) if want]


def open_population(
    dataset: str,
    shards: Sequence[str],
    store_root: str,
    steps: Mapping[str, StepColumns],
    pairs: str | None,
    reads: Reads,
    memory: int = MEMORY,
    budget: float = BUDGET,
) -> ShardPopulation:
    """The pairs a run trains on.

    Args:
        dataset: root of the dataset; `shards` are the digests of those trained on, in order.
        store_root: root of the column files; `steps` says where each step's are.
        pairs: Parquet of (shard, row) to train on; every pair if None.

    Raises:
        DatasetError: a shard or the list of kept pairs is gone, or a row is not in its shard.
        ColumnError: a column that is read is missing or damaged.
    """
    whole = open_dataset(dataset)
    by_digest = {shard.digest: shard for shard in whole.shards}
    chosen = tuple(by_digest.get(digest) or whole.shard_by_digest(digest) for digest in shards)
    view = ColumnsView(replace(whole, shards=chosen), ColumnStore(store_root), dict(steps))
    rows: Sequence[np.ndarray | None] = [None] * len(chosen) if pairs is None else read_rows(pairs, chosen)
    return ShardPopulation(view, rows, reads, memory, budget)


def read_rows(pairs: str, shards: Sequence[Shard]) -> list[np.ndarray]:
    """The kept rows of each shard, ascending: int32, 4 bytes a pair.

    Raises:
        DatasetError: the list cannot be read, or a row is not in its shard.
    """
    try:
        table = pq.read_table(pairs, columns=["shard", "row"], read_dictionary=["shard"])
    except (OSError, ValueError) as error:
        raise DatasetError(f"{pairs} cannot be read ({error}); run the recipe again to select anew") from None
    names = table["shard"].unify_dictionaries()
    known = names.chunk(0).dictionary.to_pylist() if names.num_chunks else []
    place = {shard.digest: at for at, shard in enumerate(shards)}
    to_shard = np.array([place.get(name, -1) for name in known] or [-1], np.int64)
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in names.chunks] or [np.zeros(0, np.int64)])
    joint = (to_shard[codes] << 32) | table["row"].to_numpy().astype(np.int64)  # shard before row
    if np.any(joint[1:] < joint[:-1]):
        joint.sort()
    starts = np.searchsorted(joint, np.arange(len(shards) + 1, dtype=np.int64) << 32)
    rows = [(joint[start:end] & 0xFFFFFFFF).astype(np.int32) for start, end in itertools.pairwise(starts)]
    for shard, mine in zip(shards, rows):
        if len(mine) and mine[-1] >= shard.rows:
            raise DatasetError(f"{pairs} names row {mine[-1]} of {shard.name}, which has {shard.rows} rows")
    return rows
