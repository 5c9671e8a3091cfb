"""What kind of picture some bytes are, by their first few, and its size from its header alone."""

from __future__ import annotations

import io
import warnings

SNIFF_BYTES = 64


def image_suffix(data: bytes) -> str | None:
    """`jpg`, `png`, ... by the file's signature; None if it is no raster picture we know."""
    if data.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if data.startswith((b"II*\0", b"MM\0*")):
        return "tif"
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis"):
        return "avif"
    if data.startswith(b"\0\0\x01\0"):
        return "ico"
    if data.startswith(b"BM") and len(data) > 26:
        return "bmp"
    return None


def header_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) in pixels from the header, nothing decoded; None if it has none."""
    from PIL import Image

    from pairwright.components.dataset.media import icon

    try:
        if image_suffix(data) == "ico":  # Pillow decodes an icon on opening it
            data = icon.largest_picture(data)[1]
            if image_suffix(data) is None:
                return icon.bitmap_size(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a huge picture's header is as small as any other
            with Image.open(io.BytesIO(data)) as image:
                return image.size
    except Exception:  # Pillow's plug-ins raise anything on damaged headers
        return None
