"""A batch: what `collate` made of some examples, a row an example.

batch["image"], batch.numbers, batch.keys, batch[4:8]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class Batch:
    """Named fields with a row an example: tensors (n, ...) or lists of length n; mappings of them likewise.

    Attributes:
        numbers: int64 (n,), the examples' places in the population.
        keys: of the examples; of a joint batch this rank's alone.
        epoch: they are of.
        own: the rows this rank is answerable for. Of a joint batch the others are there to be compared with; a loss
            over all rows is as right, and costs more where there are many ranks.
    """

    def __init__(
        self, fields: Mapping[str, Any], numbers: Tensor, keys: Sequence[str], epoch: int = 0, own: slice = slice(None)
    ) -> None:
        self._fields = dict(fields)
        self.numbers, self.keys, self.epoch, self.own = numbers, list(keys), epoch, own

    def __getitem__(self, name: Any) -> Any:
        """A field by its name, or the rows of a slice as a batch."""
        if isinstance(name, slice):
            return Batch(_rows(self._fields, name), self.numbers[name], self.keys[name], self.epoch)
        return self._fields[name]

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._fields)

    def __len__(self) -> int:
        """How many examples."""
        return len(self.numbers)

    def split(self, size: int) -> list[Batch]:
        """Micro-batches of at most `size` examples, in order; the batch itself if `size` is 0."""
        if not size or len(self) <= size:
            return [self]
        return [self[start : start + size] for start in range(0, len(self), size)]

    def of(self, owner: str) -> Batch:
        """What one of several owners sees: the fields named `OWNER.field` without their owner, beside all others."""
        return Batch(own_names(self._fields, owner), self.numbers, self.keys, self.epoch, self.own)

    def beside(self, **fields: Any) -> Batch:
        """The same with further fields."""
        return Batch({**self._fields, **fields}, self.numbers, self.keys, self.epoch, self.own)

    def to(self, device: torch.device | str) -> Batch:
        """The same with its tensors on `device`."""
        return Batch(_moved(self._fields, device), self.numbers, self.keys, self.epoch, self.own)

    def pinned(self) -> Batch:
        """The same in page-locked memory, from which a GPU is fed while it computes."""
        return Batch(_pinned(self._fields), self.numbers, self.keys, self.epoch, self.own)


def own_names(values: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """All values, and those named `OWNER.name` by their own name, before any other's of that name."""
    prefix = f"{owner}."
    return {**values, **{name.removeprefix(prefix): v for name, v in values.items() if name.startswith(prefix)}}


def _rows(value: Any, rows: slice) -> Any:
    if isinstance(value, Mapping):
        return {name: _rows(item, rows) for name, item in value.items()}
    return value[rows]


def _moved(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, Mapping):
        return {name: _moved(item, device) for name, item in value.items()}
    return value.to(device, non_blocking=True) if isinstance(value, Tensor) else value


def _pinned(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _pinned(item) for name, item in value.items()}
    return value.pin_memory() if isinstance(value, Tensor) else value
