"""A pair's picture as a browser is shown it: a JPEG read by byte range from its shard, transparency over white."""

from __future__ import annotations

import functools
from typing import Any

from pairwright.components.dataset.dataset import Dataset, Shard
from pairwright.components.dataset.shards.reading import IMAGE_ROLE

LONGEST_SIDE = 1024  # px; more is not seen beside the captions
QUALITY = 90


class Pictures:
    """Pictures of a dataset by (shard digest, row). Sidecars are kept as far as they were asked for."""

    def __init__(self, dataset: Dataset) -> None:
        self._shards = {shard.digest: shard for shard in dataset.shards}
        self._media = functools.lru_cache(maxsize=64)(_pictures)
        self.jpeg = functools.lru_cache(maxsize=256)(self._jpeg)

    def _jpeg(self, shard: str, row: int) -> bytes | None:
        """The picture, at most LONGEST_SIDE px on its longer side; None if it is not here or cannot be decoded."""
        if shard not in self._shards:
            return None
        medium = self._media(self._shards[shard])[row]
        return None if medium is None else jpeg_of(self._shards[shard].read_member(medium))


def _pictures(shard: Shard) -> list[dict[str, Any] | None]:
    """Each row's `media` entry of its picture, or None."""
    rows = shard.read_sidecar(["media"])["media"].to_pylist()
    return [next((one for one in media or () if one["role"] == IMAGE_ROLE), None) for media in rows]


def jpeg_of(data: bytes, longest_side: int = LONGEST_SIDE) -> bytes | None:
    """Encoded picture -> JPEG of at most `longest_side` px, never enlarged; None if it is no picture."""
    import cv2

    from pairwright.components.dataset.media.decode import decode

    image = decode(data, longest_side).image
    if image is None:
        return None
    height, width = image.shape[:2]
    scale = longest_side / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return jpeg.tobytes()
