"""What a JSON file is, by its first bytes: a set of a million entries is not read to see whose it is."""

from __future__ import annotations

from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.sources.source import absolute
from pairwright.components.errors import DatasetError

HEAD = 1 << 16


def names_fields(source: str, *names: str) -> bool:
    """Whether a file's head has every one of these names, as JSON writes a field's."""
    try:
        with storage.open_read(absolute(source)) as stream:
            head = stream.read(HEAD)
    except (DatasetError, OSError):
        return False
    return all(f'"{name}"'.encode() in head for name in names)
