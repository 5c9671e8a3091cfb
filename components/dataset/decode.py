"""Decoding one picture to RGB: fast when it is good, a reason when it is bad, never an exception.

    decode(data, min_side=224).image        # (h, w, 3) uint8, its shorter side at least 224 px

What every reader of pixels may rely on:

- The header is read before a pixel is: a picture of more than `max_pixels` is refused unopened.
- JPEG goes through libjpeg-turbo and is reduced in the DCT domain when fewer pixels are wanted;
  other formats are reduced by whole factors with area averaging. Never enlarged.
- A truncated picture is an error, never grey filler below the tear.
- Transparency lies over white; palettes, greys, CMYK and 16 bits become 8-bit RGB; of an
  animation the first frame counts.
- EXIF orientation is applied, as browsers do: whoever wrote the caption saw the picture upright.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

MAX_PIXELS = 1 << 26  # 67 megapixels, 192 MiB as RGB
# Pillow would also open formats that run programs (EPS) or fetch files; these are only pictures.
PILLOW_FORMATS = ("GIF", "PNG", "WEBP", "JPEG", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO", "TGA")
# libjpeg-turbo's warnings that lose no picture: stray bytes between segments, odd but legal headers.
HARMLESS = ("extraneous bytes", "Invalid SOS parameters", "Unknown Adobe color transform")
EXIF_ORIENTATION = 0x0112
# Sizes are judged here, by `max_pixels`; Pillow's own opinion would be printed beside ours.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
ALPHA_TYPES = (4, 6)  # PNG colour types with an alpha channel


@dataclass(frozen=True)
class Decoded:
    """A decoded picture, or why there is none.

    Attributes:
        image: RGB uint8 (h, w, 3), upright; None if `error`.
        width, height: the picture's own size in pixels, upright; 0 if its header could not be read.
        format: "jpeg", "png", "webp", "gif", ...; "" if unknown.
        error: "decode:empty", "decode:not_an_image", "decode:truncated", "decode:corrupt",
            "decode:unsupported" or "decode:too_large:168000000px"; None for a good picture.
    """

    image: np.ndarray | None
    width: int
    height: int
    format: str
    error: str | None


class _Refused(Exception):
    """A reason to refuse the picture, with what its header said."""

    def __init__(self, reason: str, width: int = 0, height: int = 0, format: str = "") -> None:
        super().__init__(reason)
        self.decoded = Decoded(None, width, height, format, f"decode:{reason}")


def decode(data: bytes, min_side: int, max_pixels: int = MAX_PIXELS) -> Decoded:
    """The picture in `data`, its shorter side at least `min_side` px, or its own if smaller.

    Never raises for bad input; only MemoryError passes through.
    """
    try:
        if not data:
            raise _Refused("empty")
        if data[:3] == b"\xff\xd8\xff":
            return _jpeg(data, min_side, max_pixels)
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return _png(data, min_side, max_pixels)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data, min_side, max_pixels)
        if data[:6] in (b"GIF87a", b"GIF89a"):
            width, height = struct.unpack("<HH", data[6:10]) if len(data) >= 10 else (0, 0)
            _check_size(width, height, "gif", max_pixels)
        return _pillow(data, min_side, max_pixels)
    except _Refused as refused:
        return refused.decoded


def _check_size(width: int, height: int, format: str, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise _Refused(f"too_large:{width * height}px", width, height, format)
    if width <= 0 or height <= 0:
        raise _Refused("corrupt", 0, 0, format)


def _jpeg(data: bytes, min_side: int, max_pixels: int) -> Decoded:
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError):
        return _pillow(data, min_side, max_pixels)  # rare sampling factors, or no JPEG at all
    _check_size(width, height, "jpeg", max_pixels)
    if colours not in ("YCbCr", "RGB", "Gray"):
        return _pillow(data, min_side, max_pixels)  # CMYK, YCCK: Adobe's inverted inks need Pillow
    # Factors below 2 cost more than a full decode, so they are not taken.
    side = min_side if 2 * min_side <= min(width, height) else 0
    try:
        image = simplejpeg.decode_jpeg(data, "RGB", min_height=side, min_width=side, min_factor=2)
    except (ValueError, KeyError) as error:
        reason = str(error)
        if any(warning in reason for warning in HARMLESS):
            return _pillow(data, min_side, max_pixels)
        truncated = "remature end" in reason
        raise _Refused("truncated" if truncated else "corrupt", width, height, "jpeg") from None
    return _finish(image, width, height, "jpeg", _jpeg_orientation(data), min_side)


def _png(data: bytes, min_side: int, max_pixels: int) -> Decoded:
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise _Refused("truncated" if len(data) < 33 else "corrupt", format="png")
    width, height, _, colour_type = struct.unpack(">IIBB", data[16:26])
    _check_size(width, height, "png", max_pixels)
    if b"IEND" not in data[-64:] and b"IEND" not in data:
        raise _Refused("truncated", width, height, "png")
    head = data[: max(data.find(b"IDAT"), 0)]
    if b"acTL" in head or (colour_type == 0 and b"tRNS" in head):  # OpenCV overlooks a transparent grey
        return _pillow(data, min_side, max_pixels)
    alpha = colour_type in ALPHA_TYPES or b"tRNS" in head
    image = _opencv(data, alpha)
    if image is None:
        return _pillow(data, min_side, max_pixels)
    at = head.find(b"eXIf")
    return _finish(image, width, height, "png", _tiff_orientation(head[at + 4 :]) if at >= 0 else 1, min_side)


def _webp(data: bytes, min_side: int, max_pixels: int) -> Decoded:
    width, height, alpha, animated, exif = _webp_header(data)
    _check_size(width, height, "webp", max_pixels)
    if struct.unpack("<I", data[4:8])[0] + 8 > len(data):
        raise _Refused("truncated", width, height, "webp")
    image = None if animated else _opencv(data, alpha)
    if image is None:
        return _pillow(data, min_side, max_pixels)
    at = data.rfind(b"EXIF") if exif else -1
    orientation = _tiff_orientation(data[at + 8 :].removeprefix(b"Exif\0\0")) if at >= 0 else 1
    return _finish(image, width, height, "webp", orientation, min_side)


def _webp_header(data: bytes) -> tuple[int, int, bool, bool, bool]:
    """(width, height, may have alpha, is animated, has EXIF) by the WebP container specification."""
    if len(data) < 30:
        raise _Refused("truncated", format="webp")
    kind = data[12:16]
    if kind == b"VP8X":
        flags = data[20]
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        return width, height, bool(flags & 0x10), bool(flags & 0x02), bool(flags & 0x08)
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), True, False, False
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF, False, False, False
    raise _Refused("corrupt", format="webp")


def _opencv(data: bytes, alpha: bool) -> np.ndarray | None:
    """(h, w, 3) uint8 by OpenCV, transparency over white; None where it will not decode."""
    mode = cv2.IMREAD_UNCHANGED if alpha else cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    except cv2.error:
        return None
    if pixels is None or not alpha:
        return pixels
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=1 / 257)
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    if pixels.shape[2] == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return over_white(cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA))


def over_white(rgba: np.ndarray) -> np.ndarray:
    """(h, w, 4) uint8 with straight alpha -> (h, w, 3) over a white ground, rounded to nearest."""
    opacity = rgba[..., 3]
    colours = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)
    if int(opacity.min()) == 255:
        return colours
    # c a + 255 (1 - a) = 255 - (255 - c) a, with a = opacity / 255
    ink = cv2.multiply(cv2.bitwise_not(colours), cv2.merge([opacity] * 3), scale=1 / 255)
    return cv2.bitwise_not(ink)


def _pillow(data: bytes, min_side: int, max_pixels: int) -> Decoded:
    width = height = 0
    format = ""
    try:
        with Image.open(io.BytesIO(data), formats=PILLOW_FORMATS) as picture:
            (width, height), format = picture.size, (picture.format or "").lower()
            _check_size(width, height, format, max_pixels)
            picture.load()
            orientation = picture.getexif().get(EXIF_ORIENTATION, 1)
            image = _rgb(picture)
    except (_Refused, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        pixels = "".join(filter(str.isdigit, str(error).split("pixels")[0]))
        raise _Refused(f"too_large:{pixels}px") from None
    except UnidentifiedImageError:
        raise _Refused("truncated" if data[:3] == b"\xff\xd8\xff" else "not_an_image") from None
    except Exception as error:  # Pillow raises nearly anything for damaged files
        truncated = any(word in str(error).lower() for word in ("truncated", "unexpected end", "not enough"))
        raise _Refused("truncated" if truncated else "corrupt", width, height, format) from None
    return _finish(image, width, height, format, orientation, min_side)


def _rgb(picture: Image.Image) -> np.ndarray:
    """A loaded Pillow picture as (h, w, 3) uint8 over white."""
    if picture.mode.startswith("I;16") or picture.mode == "I":
        grey = np.clip(np.asarray(picture).astype(np.int64), 0, 65535)
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)
    if picture.mode == "F":
        raise _Refused("unsupported", *picture.size, (picture.format or "").lower())
    if picture.has_transparency_data:
        return over_white(np.asarray(picture.convert("RGBA")))
    return np.array(picture.convert("RGB"))


def _finish(image: np.ndarray, width: int, height: int, format: str, orientation: Any, min_side: int) -> Decoded:
    """Reduced by a whole factor if twice too large, upright, with the picture's own size upright."""
    factor = min(image.shape[:2]) // max(min_side, 1)
    if factor >= 2:
        size = (-(-image.shape[1] // factor), -(-image.shape[0] // factor))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if orientation in (2, 3, 4, 5, 6, 7, 8):
        image = np.ascontiguousarray(_upright(image, orientation))
        if orientation >= 5:
            width, height = height, width
    return Decoded(image, width, height, format, None)


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """EXIF orientation 2..8 undone (CIPA DC-008, tag 0x0112)."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image


def _jpeg_orientation(data: bytes) -> int:
    """The orientation in a JPEG's APP1 segment; 1 (upright) if there is none."""
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF and 0xE0 <= data[at + 1] <= 0xEF:
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            return _tiff_orientation(data[at + 10 : at + 2 + size])
        at += 2 + size
    return 1


def _tiff_orientation(tiff: bytes) -> int:
    """Tag 0x0112 of the first directory of a TIFF block; 1 if absent or damaged."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    try:
        if order is None:
            return 1
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, directory)
        for entry in range(min(entries, 64)):
            tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, directory + 2 + 12 * entry)
            if tag == EXIF_ORIENTATION:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
