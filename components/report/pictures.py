"""Thumbnails for a report, read from the shards by byte range; nothing else is opened."""

from __future__ import annotations

import io
from typing import Any

from pairwright.components.dataset.dataset import Shard

SIDE = 224  # px, longest side of a thumbnail
QUALITY = 76


def thumbnail(data: bytes, side: int = SIDE) -> bytes | None:
    """JPEG whose longest side is at most `side` px; None if the bytes are no picture."""
    from PIL import Image

    from pairwright.components.dataset.media.decode import decode

    image = decode(data, side).image
    if image is None:
        return None
    picture = Image.fromarray(image)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=QUALITY, optimize=True)
    return stream.getvalue()


def thumbnail_of(shard: Shard, row: dict[str, Any], side: int = SIDE) -> bytes | None:
    """Thumbnail of a sidecar row's image; None if it has none, or it cannot be read.

    Raises:
        DataChanged: the picture is not the one that was indexed.
    """
    from pairwright.components.errors import DataChanged, DatasetError

    for medium in row["media"] or ():
        if medium["kind"] == "image":
            try:
                return thumbnail(shard.read_member(medium), side)
            except DataChanged:
                raise
            except DatasetError:  # the tar is gone: the pair's row is still worth showing
                return None
    return None
