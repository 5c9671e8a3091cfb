"""Does a GIF's pixel data reach its last row? Pillow fills what is missing without a word.

GIF89a, appendix F (variable-length-code LZW). Counting decodes no pixel: an entry of the code table
is one longer than the code before it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

MAX_CODES = 4096


def ends_early(data: bytes, frame: np.ndarray, offset: int, bits: int, interlaced: bool) -> bool:
    """Pixels are missing from the frame whose first data block starts at byte `offset`.

    Args:
        frame: the palette indices of the frame as decoded, (h, w).
        bits: LZW minimum code size.
        interlaced: the last row written is the last odd one.
    """
    height, width = frame.shape
    last = (height - 2 | 1) if interlaced and height > 1 else height - 1
    if (frame[last] != frame[last, 0]).any():
        return False  # filler is of one colour: no need to count
    return count_pixels(data, offset, bits, width * height) < width * height


def count_pixels(data: bytes, offset: int, bits: int, enough: int) -> int:
    """Pixels that the LZW codes stand for, counted until there are `enough`."""
    clear, end = 1 << bits, (1 << bits) + 1
    lengths: list[int] = [1] * clear + [0, 0]
    table, width, before, total = list(lengths), bits + 1, -1, 0
    held = waiting = 0
    for byte in _blocks(data, offset):
        held |= byte << waiting
        waiting += 8
        while waiting >= width and total < enough:
            code = held & ((1 << width) - 1)
            held >>= width
            waiting -= width
            if code == clear:
                table, width, before = list(lengths), bits + 1, -1
                continue
            if before >= 0 and len(table) < MAX_CODES:
                table.append(table[before] + 1)
                if len(table) == 1 << width and width < 12:
                    width += 1
            if code == end or code >= len(table):
                return total
            total += table[code]
            before = code
        if total >= enough:
            break
    return total


def _blocks(data: bytes, offset: int) -> Iterator[int]:
    """The bytes of the data blocks, one after another."""
    while offset < len(data) and data[offset]:
        yield from data[offset + 1 : offset + 1 + data[offset]]
        offset += 1 + data[offset]
