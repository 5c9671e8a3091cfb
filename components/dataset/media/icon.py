"""An ICO's largest picture, without opening the others or trusting the sizes its directory states."""

from __future__ import annotations

import struct

DIRECTORY = 6  # bytes before the first entry
ENTRY = 16


class NoIcon(ValueError):
    """The file ends before its largest picture does."""


def largest_picture(data: bytes) -> tuple[bytes, bytes]:
    """(directory entry, file) of the largest picture; of several, of that with the fewest colours, as Pillow has it.

    Raises:
        NoIcon: there is none, or it ends outside the file.
    """
    (count,) = struct.unpack_from("<H", data, 4)
    entries = [data[DIRECTORY + ENTRY * n :][:ENTRY] for n in range(min(count, len(data) // ENTRY))]
    entries = [entry for entry in entries if len(entry) == ENTRY]
    if not count or len(entries) < count:
        raise NoIcon
    best = max(entries, key=_rank)
    size, offset = struct.unpack_from("<II", best, 8)
    if offset + max(size, 16) > len(data):
        raise NoIcon
    return best, data[offset : offset + size] if size else data[offset:]


def _rank(entry: bytes) -> tuple[int, int]:
    bits = int.from_bytes(entry[6:8], "little") or (entry[2] and (entry[2] - 1).bit_length()) or 256
    return (entry[0] or 256) * (entry[1] or 256), -bits


def bitmap_size(bitmap: bytes) -> tuple[int, int]:
    """(width, height) of an icon's bitmap, whose header counts its mask as rows."""
    if bitmap[:4] == b"\x0c\0\0\0":
        width, height = struct.unpack_from("<HH", bitmap, 4)
    else:
        width, height = struct.unpack_from("<ii", bitmap, 4)
    return abs(width), abs(height) // 2


def alone(entry: bytes, picture: bytes) -> bytes:
    """An ICO of this picture alone."""
    return b"\0\0\1\0\1\0" + entry[:8] + struct.pack("<II", len(picture), DIRECTORY + ENTRY) + picture
