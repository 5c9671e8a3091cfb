"""Pairs of texts that people judged for how alike they mean: STS Benchmark, SICK, Crisscrossed Captions.

    sentence1 <tab> sentence2 <tab> score        a table of any of components/dataset/sources/records.py

Each line is a row without a picture: two captions, of the sources `first` and `second`, and the label `similarity`,
on whatever scale the table has (only its order counts). Columns are known by their usual names; others are named with
`--set first_column=...`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from pairwright.components.dataset.captions.text import as_json, storable
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.keys import Keys
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.sources.captions_of import captions_of, plain_name
from pairwright.components.dataset.sources.imagefolder import BAD_METADATA
from pairwright.components.dataset.sources.records import Record, read_records
from pairwright.components.dataset.sources.source import (
    CopyingOptions,
    Progress,
    absolute,
    check_column,
    write_pairs,
)
from pairwright.components.errors import DatasetError

FIRST, SECOND, SIMILARITY = "first", "second", "similarity"
NAMES = {
    FIRST: ("sentence1", "sentence_1", "caption1", "caption_1", "text1", "sentence_a", "first"),
    SECOND: ("sentence2", "sentence_2", "caption2", "caption_2", "text2", "sentence_b", "second"),
    SIMILARITY: ("score", "similarity", "agg_score", "similarity_score", "relatedness_score", "label"),
}


class SentencePairsOptions(CopyingOptions):
    first_column: str | None = Field(None, description="default: sentence1, caption1, sentence_A, ...")
    second_column: str | None = Field(None, description="default: sentence2, caption2, sentence_B, ...")
    similarity_column: str | None = Field(None, description="default: score, similarity, agg_score, ...")


def read_sentence_pairs(source: str, dest: str, options: SentencePairsOptions, progress: Progress) -> Dataset:
    """Write a row a pair of texts, in the table's order.

    Raises:
        DatasetError: the table has no such columns.
    """
    path = absolute(source)
    records = list(read_records(path))
    named = {
        FIRST: options.first_column,
        SECOND: options.second_column,
        SIMILARITY: options.similarity_column,
    }
    columns = _columns(records, named, path)
    return write_pairs(path, dest, options, _pairs(records, columns), len(records), progress)


def _columns(records: list[Record], named: dict[str, str | None], path: str) -> dict[str, str]:
    known = list(dict.fromkeys(name for record in records for name in record.facts))
    found = {}
    for what, usual in NAMES.items():
        check_column(named[what], known, path)
        plain = {plain_name(name): name for name in reversed(known)}
        column = named[what] or next((plain[name] for name in usual if name in plain), None)
        if column is None:
            raise DatasetError(
                f'{path} has no column "{usual[0]}", only {", ".join(known[:20])}; name yours with {what}_column'
            )
        found[what] = column
    return found


def _pairs(records: list[Record], columns: dict[str, str]) -> Iterator[dict[str, Any]]:
    keys = Keys()
    for record in records:
        texts = [(what, captions_of(record.facts.get(columns[what]))) for what in (FIRST, SECOND)]
        score = _number(record.facts.get(columns[SIMILARITY]))
        missing = next((columns[what] for what, found in texts if not found), None)
        error = record.problem or (None if missing is None else f"line {record.number} has no {missing}")
        if error is None and score is None:
            error = f"line {record.number} has no number for {columns[SIMILARITY]}"
        yield {
            "key": keys.of_name(f"{record.number:07d}"),
            "media": [],
            "captions": [caption(found[0].text, source=what, lang=found[0].lang) for what, found in texts if found],
            "labels": [] if score is None else [(SIMILARITY, repr(score))],
            "origin": storable(f"line {record.number}"),
            "meta": as_json(record.facts),
            "error": f"{BAD_METADATA}:{error}" if error else None,
        }


def _number(value: Any) -> float | None:
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None
