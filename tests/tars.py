"""Making tars, good and bad, as other programs write them (not with our own writer)."""

from __future__ import annotations

import io
import os
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


def flip(path: Path, at: int, count: int = 64) -> None:
    """Flip `count` bytes from `at`; size and time stay."""
    times, body = path.stat(), bytearray(path.read_bytes())
    body[at : at + count] = bytes(byte ^ 0xFF for byte in body[at : at + count])
    path.write_bytes(bytes(body))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def cut(path: Path, at: int) -> None:
    path.write_bytes(path.read_bytes()[: at + 5])


def grow(path: Path, at: int) -> None:
    """A pair more at the end; every member there was stays where it was."""
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo("new.jpg")
        info.size = 20_000  # more than the zeros that end a tar
        tar.addfile(info, io.BytesIO(bytes(info.size)))
