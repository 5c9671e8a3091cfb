"""A population: the examples of a task, numbered from 0, read a batch at a time.

    population.size, population.sizes           # examples; of each shard, in order
    examples = population.read(numbers, epoch=3, seed=0)

`ShardPopulation` (shard_population.py) reads shards and columns; `ArrayPopulation`, here, is given what it holds.
What cannot be read is no error: it is left out of its batch, counted, and ends the run only beyond a budget.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np

from pairwright.components.dataset.examples.clock import Clock
from pairwright.components.dataset.examples.example import Examples, Text
from pairwright.components.dataset.examples.halves import as_float32
from pairwright.components.dataset.examples.identity import identities
from pairwright.components.dataset.examples.wish import Reads
from pairwright.components.errors import ColumnError, DatasetError, nearest

BUDGET = 0.05  # share of the examples read that may fail
FEW = 1000  # examples read before the share says anything; the population's size if that is smaller
NAMED = 20  # failures whose keys are kept


class Failures:
    """Examples that could not be read, counted by reason over all threads.

    Attributes:
        seen: examples asked for. `failed` of them could not be read; one met in two epochs counts twice.
        reasons: how many for each reason.
        named: (key, reason) of the first.
    """

    def __init__(self, size: int, budget: float = BUDGET) -> None:
        self.budget = budget
        self.seen = self.failed = 0
        self.reasons: Counter[str] = Counter()
        self.named: list[tuple[str, str]] = []
        self._few = min(size, FEW)
        self._lock = threading.Lock()

    def count(self, seen: int, failed: Sequence[tuple[str, str]] = ()) -> None:
        """Note a batch: how many were asked for, and (key, reason) of those that failed.

        Raises:
            DatasetError: the share of failures is beyond the budget.
        """
        with self._lock:
            self.seen += seen
            self.failed += len(failed)
            self.reasons.update(reason for _, reason in failed)
            self.named.extend(failed[: NAMED - len(self.named)])
            if self.failed > self.budget * max(self.seen, self._few):
                raise DatasetError(self._beyond())

    def _beyond(self) -> str:
        worst = ", ".join(f"{reason} ({count})" for reason, count in self.reasons.most_common(3))
        key, reason = self.named[0]
        return (
            f"{self.failed} of {self.seen} examples cannot be read, beyond the budget of {self.budget:.0%}: {worst}; "
            f"the first was {key} ({reason}). Drop such pairs by a keep-rule on a scorer that opens them, e.g. image, "
            "or restore the files"
        )


class Population(ABC):
    """Examples by number.

    Attributes:
        reads: what is read of each.
        excluded: pairs that are no examples, because they lack something in `reads` or the sidecar names an error.
        failures: those that could not be read when they were met.
    """

    reads: Reads
    size: int
    excluded: int = 0
    failures: Failures

    @property
    def numbers(self) -> np.ndarray:
        """int64 (size,)."""
        return np.arange(self.size)

    @property
    def sizes(self) -> np.ndarray:
        """Examples of each shard, int64; they are numbered shard by shard."""
        return np.array([self.size])

    @property
    def window(self) -> int:
        """Examples among which an order may jump without reading anything again; two such windows fit in memory."""
        return self.size

    @abstractmethod
    def width(self, column: str) -> int:
        """Of a vector column.

        Raises:
            ColumnError: there is none of that name, or it holds no vectors.
        """

    def made_by(self, column: str) -> Mapping[str, Any]:
        """What its maker noted of a column beside its values (`Component.made_by`); {} where nothing was noted."""
        return {}

    @abstractmethod
    def key(self, number: int) -> str:
        """An example's key."""

    @abstractmethod
    def groups(self) -> np.ndarray:
        """int64 (size,), equal for examples that belong together."""

    def identities(self, name: str, *, lacking_alike: bool = False) -> np.ndarray:
        """Equal for examples that are the same by this fact (identity.py): int64 (size,)."""
        return identities(self.read(self.numbers, 0, 0), name, lacking_alike=lacking_alike)

    @abstractmethod
    def read(
        self, numbers: np.ndarray, epoch: int, seed: int, pool: Executor | None = None, clock: Clock | None = None
    ) -> Examples:
        """These examples in this order, without those that cannot be read; several threads may read at once.

        Args:
            epoch, seed: what crops, flips and the task's own draws are functions of, beside the key.
            pool: decodes in its threads; else the caller's does.
            clock: is told where the time goes.

        Raises:
            DatasetError: too many cannot be read, or a shard is gone.
            ColumnError, DataChanged: a column file or sidecar is damaged.
        """

    @abstractmethod
    def beside(self, reads: Reads) -> Population:
        """The same examples by the same numbers, of which `reads` is read instead; they may lack any of it."""

    def hold(self, shards: Sequence[int]) -> None:  # noqa: B027  # what is in memory already has nothing to do
        """Have the facts of these shards, which will be asked for soon, side by side in memory; a hint."""


class ArrayPopulation(Population):
    """Examples in memory: matrices, numbers and lists by name, each with an entry an example.

    Args:
        columns: (n, d) or (n,) arrays, or lists.
        texts: by source, a text or all texts of each; "" or an empty list where it has none.
        groups: int64 (n,); each example is its own group if None.
        keys: "0", "1", ... if None.
        labels: by name, None where an example has none.
        media: by role, decoded as whatever reads them wants them.
    """

    def __init__(
        self,
        columns: Mapping[str, Any],
        texts: Mapping[str, Sequence[str | Sequence[Text]]] | None = None,
        groups: np.ndarray | None = None,
        keys: Sequence[str] | None = None,
        labels: Mapping[str, Sequence[str | None]] | None = None,
        media: Mapping[str, Sequence[np.ndarray]] | None = None,
    ) -> None:
        self._columns, self._labels, self._media = dict(columns), dict(labels or {}), dict(media or {})
        self._texts = {source: _all_texts(source, given) for source, given in (texts or {}).items()}
        held = {**self._columns, **self._texts, **self._labels, **self._media} | (
            {"keys": keys} if keys is not None else {}
        )
        lengths = {name: len(values) for name, values in held.items()}
        if len(set(lengths.values())) > 1:
            raise ColumnError(f"of one population, all have an entry an example; lengths differ: {lengths}")
        self.size = next(iter(lengths.values()), 0)
        self._keys = list(keys) if keys is not None else [str(number) for number in range(self.size)]
        self._groups = np.arange(self.size) if groups is None else np.asarray(groups, np.int64)
        self.reads = Reads(columns=tuple(self._columns), texts=tuple(self._texts), labels=tuple(self._labels))
        self.failures = Failures(self.size)

    def width(self, column: str) -> int:
        if column not in self._columns:
            raise ColumnError(f'there is no column "{column}"{nearest(column, self._columns)}')
        shape = np.shape(self._columns[column])
        if len(shape) != 2:
            raise ColumnError(f'"{column}" has the shape {shape}, not (n, d): it holds no vectors')
        return int(shape[1])

    def key(self, number: int) -> str:
        return self._keys[number]

    def groups(self) -> np.ndarray:
        return self._groups

    def beside(self, reads: Reads) -> Population:
        return self  # it reads all it holds

    def read(
        self, numbers: np.ndarray, epoch: int, seed: int, pool: Executor | None = None, clock: Clock | None = None
    ) -> Examples:
        self.failures.count(len(numbers))
        return Examples(
            np.asarray(numbers, np.int64),
            [self._keys[number] for number in numbers],
            seed,
            epoch,
            self._groups[numbers],
            _media={role: [found[number] for number in numbers] for role, found in self._media.items()},
            _texts={source: [found[number] for number in numbers] for source, found in self._texts.items()},
            _labels={name: [found[number] for number in numbers] for name, found in self._labels.items()},
            _columns={name: _entries(column, numbers) for name, column in self._columns.items()},
        )


def _entries(column: Any, numbers: np.ndarray) -> Any:
    if not isinstance(column, np.ndarray):
        return [column[number] for number in numbers]
    found = column[numbers]
    return as_float32(found) if found.ndim == 2 else found


def _all_texts(source: str, given: Sequence[str | Sequence[Text]]) -> list[Sequence[Text]]:
    return [([Text(one, source)] if one else []) if isinstance(one, str) else one for one in given]
