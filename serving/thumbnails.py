"""Thumbnails: small JPEGs packed into one file, so that an index needs no dataset beside it.

FOLDER/thumbnails.bin     the JPEGs, one after another
FOLDER/thumbnails.npy     (n + 1,) int64: picture i is bytes offsets[i] to offsets[i + 1]
"""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np

LONGEST_SIDE = 160  # px
QUALITY = 82


def thumbnail_of(data: bytes, longest_side: int = LONGEST_SIDE) -> bytes:
    """The picture in `data` as a JPEG of at most `longest_side` px, never enlarged; b"" if it is no picture."""
    import cv2

    from pairwright.components.dataset.media.decode import decode

    image = decode(data, longest_side).image
    if image is None:
        return b""
    height, width = image.shape[:2]
    scale = longest_side / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return jpeg.tobytes()


class ThumbnailWriter:
    """Appends thumbnails in item order; `close` writes the offsets and returns how many are missing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stream = open(folder / "thumbnails.bin", "wb")  # noqa: SIM115  closed by close()
        self._offsets = [0]

    def add(self, jpeg: bytes) -> None:
        self._stream.write(jpeg)
        self._offsets.append(self._offsets[-1] + len(jpeg))

    def close(self) -> int:
        self._stream.close()
        offsets = np.array(self._offsets, dtype=np.int64)
        np.save(self._folder / "thumbnails.npy", offsets)
        return int((np.diff(offsets) == 0).sum())


class ThumbnailPack:
    """The packed thumbnails of an index, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        self._offsets = np.load(folder / "thumbnails.npy", mmap_mode="r")
        with open(folder / "thumbnails.bin", "rb") as stream:
            empty = self._offsets[-1] == 0
            self._bytes = None if empty else mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        if self._bytes is not None and len(self._bytes) != self._offsets[-1]:
            raise ValueError("thumbnails.bin was cut short")

    def read(self, number: int) -> bytes:
        """One JPEG; b"" where the picture could not be read."""
        start, end = int(self._offsets[number]), int(self._offsets[number + 1])
        return self._bytes[start:end] if self._bytes is not None else b""
