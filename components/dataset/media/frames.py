"""Clips: an animated GIF, WebP or PNG as some of its frames, evenly over its time.

    frames, error = clip_frames(data, count=8, min_side=224)     # (8, h, w, 3) uint8, None

Frame i is what is shown at (i + 1/2) / count of the clip's time, so frames that are shown longer are met more often.
A picture is a clip of one frame.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from pairwright.components.dataset.media.decode import BUDGET, decode, over_white

ANIMATED = ("GIF", "WEBP", "PNG")
MAX_CLIP_PIXELS = 1 << 29  # pixels times frames: some 10 s to decode
STILL_SECONDS = 0.1  # of a frame that names no time, or none a browser would keep to (10 ms and less)


def sampled(seconds: Sequence[float], count: int) -> np.ndarray:
    """Which frames are shown at `count` evenly spread moments: int64 (count,), ascending; `seconds` each is shown."""
    ends = np.cumsum(np.asarray(seconds, np.float64))
    moments = (np.arange(count) + 0.5) / count * ends[-1]
    return np.minimum(np.searchsorted(ends, moments, side="right"), len(ends) - 1)


def clip_frames(data: bytes, count: int, min_side: int) -> tuple[np.ndarray | None, str | None]:
    """(count, h, w, 3) uint8, the shorter side at least `min_side` px or the clip's own; or why there are none.

    Never raises for bad input; reasons are those of `decode`, and "decode:too_long:N frames".
    """
    if not _is_animated(data):
        found = decode(data, min_side)
        return (None, found.error) if found.image is None else (np.stack([found.image] * count), None)
    try:
        with Image.open(io.BytesIO(data), formats=ANIMATED) as picture:
            frames = int(getattr(picture, "n_frames", 1))
            if excess := BUDGET.excess(*picture.size, "webp animation", len(data)):
                return None, f"decode:{excess}"
            if frames * picture.width * picture.height > MAX_CLIP_PIXELS:
                return None, f"decode:too_long:{frames} frames"
            return _sampled_frames(picture, frames, count, min_side), None
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises nearly anything for damaged files
        truncated = any(word in str(error).lower() for word in ("truncated", "unexpected end", "not enough", "eof"))
        return None, "decode:truncated" if truncated or isinstance(error, EOFError) else "decode:corrupt"


def _is_animated(data: bytes) -> bool:
    if data[:6] not in (b"GIF87a", b"GIF89a") and data[:4] != b"RIFF" and data[:8] != b"\x89PNG\r\n\x1a\n":
        return False
    try:
        picture = Image.open(io.BytesIO(data), formats=ANIMATED)
    except MemoryError:
        raise
    except Exception:  # Pillow raises nearly anything for damaged files; `decode` says what is wrong with this one
        return False
    with picture:
        try:
            return bool(getattr(picture, "is_animated", False))
        except Exception:  # its second frame is damaged: the clip is, whatever the first may be
            return True


def _sampled_frames(picture: Image.Image, frames: int, count: int, min_side: int) -> np.ndarray:
    """Two passes: how long each frame is shown is known only when it has been met."""
    first = int(bool(getattr(picture, "default_image", False)))  # an APNG's still, for readers that know no animation
    seconds = []
    for at in range(first, frames):
        picture.seek(at)
        picture.load()
        shown = float(picture.info.get("duration", 0) or 0) / 1000
        seconds.append(shown if shown > 0.01 else STILL_SECONDS)
    wanted = sampled(seconds, count)
    made: dict[int, np.ndarray] = {}
    for at in sorted(set(wanted.tolist())):
        picture.seek(first + at)
        made[at] = reduced(over_white(np.asarray(picture.convert("RGBA"))), min_side)
    return np.stack([made[at] for at in wanted.tolist()])


def reduced(image: np.ndarray, min_side: int) -> np.ndarray:
    """By the whole factor, area averaged, that leaves the shorter side at least `min_side` px."""
    factor = min(image.shape[:2]) // max(min_side, 1)
    if factor < 2:
        return image
    return cv2.resize(image, (-(-image.shape[1] // factor), -(-image.shape[0] // factor)), interpolation=cv2.INTER_AREA)
