"""A population's captions as one normalised column, so that equal captions are equal strings."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.dataset.columns import ColumnsView


def caption_column(view: ColumnsView, source: str) -> pa.ChunkedArray:
    """Each row's first caption of `source`, normalised: case, accents' form, punctuation and space aside."""
    if source in view.steps:
        texts = view.column(f"{source}.text")
    else:
        tables = (table for _, table in view.dataset.iter_sidecars(["captions"]))
        texts = pa.chunked_array(
            [_first_texts(table["captions"].combine_chunks(), source) for table in tables], "string"
        )
    plain = pc.utf8_lower(pc.utf8_normalize(texts, "NFKC"))
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(plain, r"[^\p{L}\p{N}]+", " "))


def _first_texts(captions: pa.ListArray, source: str) -> pa.Array:
    """The text of each row's first caption of a source, null where there is none."""
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
    return pc.struct_field(entries, "text").take(pa.array(index, pa.int64(), mask=index < 0))
