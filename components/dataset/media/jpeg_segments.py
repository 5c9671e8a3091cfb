"""A JPEG's segments, read without decoding a pixel: how many scans it has, and its metadata.

ITU-T T.81, annex B. Read as leniently as Pillow and libjpeg do: stray bytes between segments are
passed over.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# In entropy-coded data a 0xFF is always followed by 0x00, so these two bytes begin a scan there
# and nowhere else.
START_OF_SCAN = re.compile(b"\xff\xda")
SEQUENTIAL_FRAMES = frozenset((0xC0, 0xC1))
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
WITHOUT_PAYLOAD = frozenset((0x00, 0x01, *range(0xD0, 0xDA), 0xFF))
EXIF = b"Exif\0\0"
XMP = b"http://ns.adobe.com/xap/1.0/\0"


class JpegHead(NamedTuple):
    """What stands before a JPEG's first scan.

    Attributes:
        exif: the Exif block with its mark, parts joined; None without one.
        xmp: the XMP packet; None without one.
        scans: passes over the pixels; 1 where the first scan holds every channel of a sequential JPEG.
    """

    exif: bytes | None
    xmp: bytes | None
    scans: int


def jpeg_head(data: bytes) -> JpegHead:
    """The head of a JPEG; of a damaged one what could be read. Never raises."""
    exif = xmp = None
    whole = False
    channels = at = 0
    last = len(data) - 8  # a start of scan has that many bytes
    while 0 <= at < last:
        if data[at] != 0xFF:
            at = data.find(b"\xff", at)  # stray bytes
            continue
        marker = data[at + 1]
        if marker in WITHOUT_PAYLOAD:
            at += 1 if marker == 0xFF else 2
            continue
        start, at = at + 4, at + 2 + (data[at + 2] << 8 | data[at + 3])
        if marker == 0xDA:
            whole = whole and data[start] == channels
            return JpegHead(exif, xmp, 1 if whole else count_scans(data, start))
        if marker == 0xE1:
            if data.startswith(EXIF, start, at):
                exif = data[start:at] if exif is None else exif + data[start + len(EXIF) : at]
            elif data.startswith(XMP, start, at):
                xmp = data[start + len(XMP) : at]
        elif marker in FRAMES and start + 5 < at <= len(data):
            channels = data[start + 5]
            whole = marker in SEQUENTIAL_FRAMES
    return JpegHead(exif, xmp, 1)


def count_scans(data: bytes, first: int) -> int:
    """Scans of the JPEG whose first one starts at byte `first`."""
    return 1 + sum(1 for _ in START_OF_SCAN.finditer(data, first))
