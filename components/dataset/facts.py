"""What a dataset's pairs have: caption sources and labels, so that a recipe that asks for others is refused at once.

facts = facts_of(dataset)
facts.lacks_source("description"), facts.lacks_label("category")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.errors import nearest

LOOKED_AT = 64  # shards, spread evenly: a second's work; of a larger dataset what was not met may still be there


@dataclass(frozen=True)
class DataFacts:
    """What was met in the sidecars.

    Attributes:
        sources: caption sources, and SOURCE@LANG of each language met.
        labels: label name -> its values.
        shards: digests of all shards, looked at or not.
        whole: every shard was looked at.
    """

    name: str
    sources: frozenset[str]
    labels: Mapping[str, frozenset[str]]
    shards: frozenset[str]
    whole: bool = True

    def lacks_source(self, source: str) -> str | None:
        """Why no pair can have a caption of this source; None if one may."""
        if not self.whole or source in self.sources:
            return None
        known = sorted(one for one in self.sources if "@" not in one)
        if not known:
            return f"no pair of {self.name} has a caption"
        return f'no pair of {self.name} has a caption "{source}"{nearest(source, known)}'

    def lacks_label(self, name: str, value: str | None = None) -> str | None:
        """Why no pair can carry this label (of this value); None if one may."""
        if not self.whole or (name in self.labels and (value is None or value in self.labels[name])):
            return None
        if value is not None and name in self.labels:
            return f"no pair of {self.name} is labelled {name}: {value}{nearest(value, self.labels[name])}"
        known = nearest(name, self.labels) if self.labels else "; it has no labels"
        return f'no pair of {self.name} has the label "{name}"{known}'


def facts_of(dataset: Dataset, most: int = LOOKED_AT) -> DataFacts:
    """What the sidecars of at most `most` shards hold.

    Raises:
        DatasetError: a sidecar cannot be read.
    """
    sources: set[str] = set()
    labels: dict[str, set[str]] = {}
    part = dataset.limited(most)
    for _, table in part.iter_sidecars(["captions", "labels"]):
        for source, lang in _distinct(table["captions"], "source", "lang"):
            sources |= {source, f"{source}@{lang}"} if lang else {source}
        for name, value in _distinct(table["labels"], "name", "value"):
            labels.setdefault(name, set()).add(value)
    frozen = {name: frozenset(values) for name, values in labels.items()}
    shards = frozenset(shard.digest for shard in dataset.shards)
    return DataFacts(dataset.name, frozenset(sources), frozen, shards, len(part.shards) == len(dataset.shards))


def _distinct(column: pa.ChunkedArray, *fields: str) -> Iterable[tuple[str, ...]]:
    """The distinct values of these fields over a column of lists of structs."""
    entries = pc.list_flatten(column).combine_chunks()
    table = pa.table({field: pc.struct_field(entries, field) for field in fields})
    return [tuple(row.values()) for row in table.group_by(list(fields)).aggregate([]).to_pylist()]
