"""What a step is said by: short hexadecimal digests of texts, values, files and rows."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

DIGEST_CHARS = 32


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_CHARS]


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: the same value is always the same text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def file_sha256(path: str | Path, chunk: int = 1 << 20) -> str:
    """Full hex SHA-256 of a file, read in chunks of `chunk` bytes."""
    hasher = hashlib.sha256()
    with open(path, "rb") as stream:
        while data := stream.read(chunk):
            hasher.update(data)
    return hasher.hexdigest()


def rows_digest(rows: pa.Table) -> str:
    """Of pairs (shard, row) in their order."""
    encoded = rows["shard"].dictionary_encode().unify_dictionaries().combine_chunks()
    numbers = rows["row"].to_numpy().astype("<i8").tobytes()
    places = encoded.indices.to_numpy(zero_copy_only=False).astype("<i4").tobytes()
    return sha256_text(canonical(encoded.dictionary.to_pylist()) + (places + numbers).hex())
