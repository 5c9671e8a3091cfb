"""Pictures by (shard digest, row): thumbnails and originals, read by byte range from the tars.

    Pictures(tables).thumbnail(number)     # JPEG bytes, or the reason why there is none

A pair's bytes never change under its shard's digest, so a browser may keep them for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

from pairwright.components.dataset.media.image_type import header_size, image_suffix
from pairwright.components.errors import DatasetError
from pairwright.components.explore.pair_table import PLACE
from pairwright.components.explore.recent import Recent
from pairwright.components.explore.scratch import BASE, rows_of
from pairwright.components.explore.tables import Tables
from pairwright.components.filter.rules.sql_functions import quoted

SIDE = 256  # px, longest side of a thumbnail
QUALITY = 80
HELD_BYTES = 128 << 20  # of thumbnails: some 15,000
MOST_SHOWN = 40_000_000  # pixels of an original that a browser is given
TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "gif": "image/gif", "avif": "image/avif"}
NO_IMAGE = "read:no_image"


@dataclass(frozen=True)
class Picture:
    """Bytes to show, or the reason why there are none.

    Attributes:
        lasting: whether the answer is of the shard's bytes, and so may be kept for ever.
    """

    data: bytes = b""
    type: str = "image/jpeg"
    error: str | None = None
    lasting: bool = True


class Pictures:
    """The pictures of one exploration; thumbnails lately shown are kept."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self._thumbnails: Recent[Picture] = Recent(HELD_BYTES, lambda picture: len(picture.data) + 200)

    def thumbnail(self, number: int) -> Picture:
        """At most SIDE px, as JPEG; never enlarged."""
        try:
            return self._thumbnails.get(number, lambda: reduced(self._read(number)))
        except DatasetError as error:
            return Picture(error=str(error), lasting=False)

    def original(self, number: int) -> Picture:
        """The pair's own bytes where a browser shows them, else as a large JPEG."""
        try:
            data = self._read(number)
        except DatasetError as error:
            return Picture(error=str(error), lasting=False)
        suffix = image_suffix(data)
        width, height = header_size(data) or (0, 0)
        if suffix in TYPES and 0 < width * height <= MOST_SHOWN:
            return Picture(data, TYPES[suffix])
        return reduced(data, side=2048)

    def _read(self, number: int) -> bytes:
        """The picture's bytes.

        Raises:
            DataChanged: the tar is no longer what was indexed.
            DatasetError: the tar is gone, or holds no picture of this pair.
        """
        found = self.tables.ask(
            f"SELECT {', '.join(map(quoted, PLACE))} FROM {rows_of(BASE)} WHERE rowid = ?", [number]
        )
        medium = dict(zip(PLACE, found[0], strict=True)) if found else {"offset": None}
        if medium["offset"] is None:
            raise DatasetError(NO_IMAGE)
        shard, _ = self.tables.place(number)
        return shard.read_member(medium)


def reduced(data: bytes, side: int = SIDE) -> Picture:
    """The picture as a JPEG whose longest side is at most `side` px."""
    import cv2
    import simplejpeg

    from pairwright.components.dataset.media.decode import decode

    decoded = decode(data, side)
    if decoded.image is None:
        return Picture(error=decoded.error)
    image = decoded.image
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return Picture(simplejpeg.encode_jpeg(image, quality=QUALITY))
