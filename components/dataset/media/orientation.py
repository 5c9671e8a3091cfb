"""How a picture is to be turned, read wherever Pillow's `ImageOps.exif_transpose` would find it.

The blocks are found here, so that no picture is opened twice; Pillow reads them, so that both
agree: the Exif block first, an XMP packet where Exif says nothing.
"""

from __future__ import annotations

import io
import re

from PIL import ExifTags, Image

from pairwright.components.dataset.media.png_chunks import SIGNATURE, chunk

ORIENTATION = ExifTags.Base.Orientation
IN_XMP = re.compile(rb'tiff:Orientation(="|>)([0-9])')
TURNED = {turn: turn for turn in range(2, 9)}
ONE_PIXEL = chunk(b"IHDR", b"\0\0\0\1\0\0\0\1\x08\0\0\0\0"), chunk(b"IDAT", b"x\x9cc`\0\0\0\2\0\1")


def of_blocks(exif: bytes | None, xmp: bytes | None) -> int:
    """1 (upright) to 8, as CIPA DC-008 numbers them, from an Exif block and an XMP packet."""
    if exif is None and xmp is None:
        return 1
    block = Image.Exif()
    try:
        block.load(exif or b"")
        if ORIENTATION in block:
            return TURNED.get(block[ORIENTATION], 1)
    except Exception:  # a damaged block raises nearly anything, and Pillow reads no XMP after it
        return 1
    found = IN_XMP.search(xmp or b"")
    return TURNED.get(int(found[2]), 1) if found else 1


def of_png_chunks(chunks: bytes) -> int:
    """The same of a PNG's metadata chunks, by Pillow on one pixel that carries them."""
    if not chunks:
        return 1
    header, pixel = ONE_PIXEL
    try:
        with Image.open(io.BytesIO(SIGNATURE + header + chunks + pixel + chunk(b"IEND", b""))) as picture:
            return of_image(picture)
    except Exception:  # as above
        return 1


def of_image(picture: Image.Image) -> int:
    """The same of a picture that Pillow has opened."""
    try:
        return TURNED.get(picture.getexif().get(ORIENTATION, 1), 1)
    except Exception:  # a damaged block is no reason to lose the picture
        return 1
