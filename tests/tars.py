"""Making tars, good and bad, as other programs write them (not with our own writer)."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path


def make_tar(path: Path, members: Iterable[tuple[str, bytes]], form: int = tarfile.GNU_FORMAT) -> Path:
    """A tar with these (name, bytes) in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1_700_000_000
            tar.addfile(info, io.BytesIO(data))
    return path


def pair(key: str, number: int, text: bytes | None = None) -> list[tuple[str, bytes]]:
    """KEY.jpg, KEY.txt and KEY.json of a shape."""
    from shapes import caption_text, encoded

    return [
        (f"{key}.jpg", encoded(number, 48)),
        (f"{key}.txt", caption_text(number).encode() if text is None else text),
        (f"{key}.json", b'{"url": "http://example.org/%d"}' % number),
    ]


def pairs(count: int) -> list[tuple[str, bytes]]:
    return [member for number in range(count) for member in pair(f"{number:05d}", number)]
