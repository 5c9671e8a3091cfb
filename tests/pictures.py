"""Pictures made to order: PNGs from their parts, JPEGs with their metadata and scans where a test wants them."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image

END_OF_JPEG = b"\xff\xd9"


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A colourful picture without hard edges, so that resampling filters agree."""
    coarse = np.random.default_rng(seed).integers(40, 215, (4, 4, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def encode(image: Image.Image | np.ndarray, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int, height: int, raw: bytes, bits: int = 8, colour_type: int = 2, interlaced: int = 0, extra: bytes = b""
) -> bytes:
    """A PNG from its parts, so that its header can lie; `extra` chunks stand after the header."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, interlaced)
    if colour_type == 3:
        extra += chunk(b"PLTE", bytes(range(256)) * 3)
    pixels = chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + pixels


def of_many_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated: a few bytes a scan, all pixels gone over each time."""
    data = encode(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + END_OF_JPEG


def icon(*pictures: tuple[int, bytes]) -> bytes:
    """An ICO of (side the directory states, file) each."""
    directory, at = struct.pack("<HHH", 0, 1, len(pictures)), 6 + 16 * len(pictures)
    for side, data in pictures:
        directory += struct.pack("<BBBBHHII", side % 256, side % 256, 0, 0, 1, 32, len(data), at)
        at += len(data)
    return directory + b"".join(data for _, data in pictures)


def tiff_in_one_tile(side: int) -> bytes:
    """A TIFF of 10 x 10 pixels stored in one tile of side x side."""
    body = zlib.compress(b"\0" * 1_000_000)
    tags = [(256, 10), (257, 10), (258, 8), (259, 8), (262, 1), (277, 1), (322, side), (323, side), (324, 0)]
    tags += [(325, len(body)), (339, 1)]
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, start if tag == 324 else value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0\0\0\0" + body


def with_segments(jpeg: bytes, *payloads: bytes, marker: int = 0xE1) -> bytes:
    """The JPEG with application segments after its start."""
    return jpeg[:2] + b"".join(struct.pack(">BBH", 0xFF, marker, len(p) + 2) + p for p in payloads) + jpeg[2:]


def webp_with(picture: np.ndarray, exif: bytes | None = None, xmp: bytes | None = None) -> bytes:
    options = {"exif": exif, "xmp": xmp}
    return encode(picture, "WEBP", lossless=True, **{name: value for name, value in options.items() if value})
