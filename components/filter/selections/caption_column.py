"""A population's captions as one column; normalised, so that equal captions are equal strings."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairwright.components.dataset.shards.columns import ColumnsView


def caption_column(view: ColumnsView, source: str) -> pa.ChunkedArray:
    """Each row's first caption of `source`, normalised: case, accents' form, punctuation and space aside."""
    texts = caption_texts(view, source)  # a shard at a time: normalising makes and drops several copies
    return pa.chunked_array([normalised(chunk) for chunk in texts.chunks], pa.string())


def normalised(texts: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """Captions as they are compared."""
    plain = pc.utf8_lower(pc.utf8_normalize(texts, "NFKC"))
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(plain, r"[^\p{L}\p{M}\p{N}]+", " "))


def caption_texts(view: ColumnsView, source: str) -> pa.ChunkedArray:
    """Each row's first caption of `source` as it stands, null where there is none."""
    if source in view.steps:
        return view.column(f"{source}.text")
    return caption_field(view, source, "text")


def caption_field(view: ColumnsView, source: str, field: str) -> pa.ChunkedArray:
    """A field (text, lang, producer) of each row's first sidecar caption of a source, null where there is none."""
    tables = (table for _, table in view.dataset.iter_sidecars(["captions"]))
    return pa.chunked_array(
        [_first_of(table["captions"].combine_chunks(), source, field) for table in tables], "string"
    )


def _first_of(captions: pa.ListArray, source: str, field: str) -> pa.Array:
    rows = pc.list_parent_indices(captions).to_numpy(zero_copy_only=False)
    entries = pc.list_flatten(captions)
    name, _, lang = source.partition("@")
    mine = pc.equal(pc.struct_field(entries, "source"), name)
    if lang:
        mine = pc.and_kleene(mine, pc.equal(pc.struct_field(entries, "lang"), lang))
    places = np.flatnonzero(mine.fill_null(False).to_numpy(zero_copy_only=False))
    owners, first = np.unique(rows[places], return_index=True)
    index = np.full(len(captions), -1, np.int64)
    index[owners] = places[first]
    return pc.struct_field(entries, field).take(pa.array(index, pa.int64(), mask=index < 0))
