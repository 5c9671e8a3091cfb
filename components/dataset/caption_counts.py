"""What an ingest has to report: how many pairs have a caption, by source, and why rows are no pairs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pairwright.components.dataset.dataset import Dataset

DERIVED = frozenset(("folder", "file_name"))  # made of a picture's path, so that every picture has them


@dataclass(frozen=True)
class CaptionCounts:
    """Counts over a dataset's rows.

    Attributes:
        pairs: rows without an error.
        captions: source -> pairs that have a caption of it.
        captioned: pairs that have a caption which is not made of the picture's path alone.
        errors: reason (what stands before its colon) -> rows.
    """

    pairs: int = 0
    captions: Counter[str] = field(default_factory=Counter)
    captioned: int = 0
    errors: Counter[str] = field(default_factory=Counter)


def count_captions(dataset: Dataset) -> CaptionCounts:
    """Count them, shard by shard.

    Raises:
        DatasetError, ColumnError: a sidecar cannot be read.
    """
    pairs = captioned = 0
    captions: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    for _, table in dataset.iter_sidecars(["captions", "error"]):
        for row in table.to_pylist():
            if row["error"] is not None:
                errors[row["error"].partition(":")[0]] += 1
                continue
            pairs += 1
            sources = {one["source"] for one in row["captions"] if one["text"].strip()}
            captions.update(sources)
            captioned += bool(sources - DERIVED)
    return CaptionCounts(pairs, captions, captioned, errors)
