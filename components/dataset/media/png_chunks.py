"""A PNG's chunks, read without decoding a pixel: are all its rows there, and what else does it carry?

PNG (third edition, W3C 2025), chapters 5 to 11. Only what makes pixels is handed to a decoder: a
file of 1 MB may carry a thousand text chunks that inflate to a megabyte each, and pixel data that
inflates to gigabytes beyond the last row.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
ALPHA_TYPES = (4, 6)
# Adam7: (first column, first row, column step, row step) of each pass
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
# Compressed pixels below this can inflate to 2 GiB (some four seconds); above, only the rows needed are inflated.
LARGE_DATA = 1 << 21
ORIENTING_TEXTS = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0", b"exif\0", b"xmp\0")


class Damaged(ValueError):
    """The chunks do not follow one another."""


class CutShort(ValueError):
    """The file, or its pixel data, ends before the last row."""


@dataclass(frozen=True)
class Png:
    """A PNG by its chunks.

    Attributes:
        pixels: a PNG of only what makes the first picture's pixels.
        oriented: chunks that may say how it is turned, as they stand in the file.
        transparent: it has an alpha channel or a transparent colour.
        data: the slices of IDAT's content.
    """

    pixels: bytes
    oriented: bytes
    transparent: bool
    data: tuple[slice, ...]


def read_png(data: bytes) -> Png:
    """The chunks of `data`, whose IHDR the caller has read.

    Raises:
        CutShort: it ends inside a chunk or without IEND.
        Damaged: a chunk's name is none.
    """
    kept: list[tuple[int, int]] = []
    oriented: list[bytes] = []
    idat: list[slice] = []
    transparent = data[25] in ALPHA_TYPES
    at, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if end > len(data):
            raise CutShort
        if not kind.isalpha():
            raise Damaged
        if kind == b"IDAT":
            idat.append(slice(at + 8, end - 4))
        transparent = transparent or kind == b"tRNS"
        if kind[:1].isupper() or kind == b"tRNS":  # critical chunks, and the transparent colour
            if kept and kept[-1][1] == at:
                kept[-1] = kept[-1][0], end
            else:
                kept.append((at, end))
        elif kind == b"eXIf" or (kind[1:] in (b"EXt", b"TXt") and data.startswith(ORIENTING_TEXTS, at + 8)):
            oriented.append(data[at:end])
        at = end
    whole = len(kept) == 1 and at == len(data)
    pixels = data if whole else SIGNATURE + b"".join(data[start:end] for start, end in kept)
    return Png(pixels, b"".join(oriented), transparent, tuple(idat))


def row_bytes(data: bytes) -> int:
    """Bytes of all filtered rows of the PNG `data`, by its IHDR."""
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    bits *= CHANNELS.get(colour, 1)
    if not interlaced:
        return int(height * (1 + -(-width * bits // 8)))
    total = 0
    for column, row, across, down in ADAM7:
        columns, rows = -(-(width - column) // across), -(-(height - row) // down)
        total += rows * (1 + -(-columns * bits // 8)) if columns > 0 and rows > 0 else 0
    return total


def rows_of(data: bytes, idat: tuple[slice, ...]) -> bytes:
    """The filtered rows: as many bytes as the header says, however much more the data would inflate to.

    Raises:
        CutShort: there are fewer.
        zlib.error: they are damaged.
    """
    wanted = row_bytes(data)
    inflate = zlib.decompressobj()
    rows = inflate.decompress(b"".join(data[part] for part in idat), wanted) if wanted else b""
    if len(rows) < wanted:
        raise CutShort
    return rows


def only_rows(data: bytes, png: Png) -> bytes:
    """`png.pixels`, its data inflated to its rows and no further, and stored uncompressed.

    Takes a sixth longer than decoding the data as it stands: the decoder need no longer inflate.
    """
    stored = zlib.compress(rows_of(data, png.data), 0)
    before = png.pixels[: png.pixels.index(b"IDAT", 33) - 4] if png.data else png.pixels
    # One join: the rows of a large picture are held twice, not four times.
    checksum = struct.pack(">I", zlib.crc32(stored, zlib.crc32(b"IDAT")))
    return b"".join([before, struct.pack(">I", len(stored)), b"IDAT", stored, checksum, chunk(b"IEND", b"")])


def chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
