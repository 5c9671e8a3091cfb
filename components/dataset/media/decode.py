"""Decoding one picture to RGB: fast when it is good, a reason when it is bad, never an exception.

    decode(data, min_side=224).image        # (h, w, 3) uint8, its shorter side at least 224 px

What every reader of pixels may rely on:

- The header is read before a pixel is: a picture that would cost more than its budget (pixels,
  side, scans, seconds, memory: `decode_budget`) is refused unopened.
- JPEG goes through libjpeg-turbo and is reduced in the DCT domain when fewer pixels are wanted;
  other formats are reduced by whole factors with area averaging. Never enlarged.
- A truncated picture is an error, never filler below the tear.
- Transparency lies over white; palettes, greys, CMYK and 16 bits become 8-bit RGB; of an
  animation the first frame counts, of an icon its largest picture.
- EXIF orientation is applied wherever it stands (`orientation`), as browsers do: whoever wrote the
  caption saw the picture upright.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import simplejpeg
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from pairwright.components.dataset.media import gif_rows, icon, orientation
from pairwright.components.dataset.media.decode_budget import Budget
from pairwright.components.dataset.media.jpeg_segments import count_scans, jpeg_head
from pairwright.components.dataset.media.png_chunks import (
    LARGE_DATA,
    SIGNATURE,
    CutShort,
    Damaged,
    Png,
    only_rows,
    read_png,
    rows_of,
)

# Pillow would also open formats that run programs (EPS) or fetch files; these are only pictures.
PILLOW_FORMATS = ("GIF", "PNG", "WEBP", "JPEG", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO", "TGA")
# libjpeg-turbo's warnings that lose no picture: stray bytes between segments, odd but legal headers.
HARMLESS = ("extraneous bytes", "Invalid SOS parameters", "Unknown Adobe color transform")
JPEG_SPACES = {"YCbCr": "RGB", "RGB": "RGB", "Gray": "RGB", "CMYK": "CMYK", "YCCK": "CMYK"}
END_OF_JPEG = b"\xff\xd9"
TILE_SIDES = (322, 323)  # TIFF tags TileWidth, TileLength
# Sizes are judged here, by the budget; Pillow's own opinion would be printed beside ours.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
BUDGET = Budget()
# Rows made RGB at a time are about so many pixels: whole pictures would be held three times.
BAND_PIXELS = 1 << 18


@dataclass(frozen=True)
class Decoded:
    """A decoded picture, or why there is none.

    Attributes:
        image: RGB uint8 (h, w, 3), upright; None if `error`.
        width, height: the picture's own size in pixels, upright; 0 if its header could not be read.
        format: "jpeg", "png", "webp", "gif", ...; "" if unknown.
        error: "decode:empty", "decode:not_an_image", "decode:truncated", "decode:corrupt",
            "decode:unsupported", or "decode:" and a limit of its budget (`decode_budget`) such as
            "decode:too_large:168000000px"; None for a good picture.
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


def decode(data: bytes, min_side: int, budget: Budget = BUDGET) -> Decoded:
    """The picture in `data`, its shorter side at least `min_side` px, or its own if smaller.

    Never raises for bad input; only MemoryError passes through.
    """
    try:
        if not data:
            raise _Refused("empty")
        if data[:3] == b"\xff\xd8\xff":
            return _jpeg(data, min_side, budget)
        if data[:8] == SIGNATURE:
            return _png(data, min_side, budget)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data, min_side, budget)
        if data[:4] == b"\0\0\x01\0":
            return _icon(data, min_side, budget)
        if data[:6] in (b"GIF87a", b"GIF89a"):
            width, height = struct.unpack("<HH", data[6:10]) if len(data) >= 10 else (0, 0)
            _check(budget, width, height, "gif")
        return _pillow(data, min_side, budget)
    except _Refused as refused:
        return refused.decoded


def _check(budget: Budget, width: int, height: int, format: str, kind: str = "", size: int = 0, scans: int = 1) -> None:
    if excess := budget.excess(width, height, kind or format, size, scans):
        raise _Refused(excess, width, height, format)
    if width <= 0 or height <= 0:
        raise _Refused("corrupt", 0, 0, format)


def _jpeg(data: bytes, min_side: int, budget: Budget) -> Decoded:
    head = jpeg_head(data)
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError):
        return _pillow(data, min_side, budget)  # rare sampling factors, or no JPEG at all
    _check(budget, width, height, "jpeg", size=len(data), scans=head.scans)
    space = JPEG_SPACES.get(colours)
    if space is None:
        return _pillow(data, min_side, budget)
    # Factors below 2 cost more than a full decode, so they are not taken.
    side = min_side if 2 * min_side <= min(width, height) else 0
    try:
        image = simplejpeg.decode_jpeg(data, space, min_height=side, min_width=side, min_factor=2)
    except (ValueError, KeyError) as error:
        reason = str(error)
        if any(warning in reason for warning in HARMLESS):
            return _pillow(data, min_side, budget)
        truncated = "remature end" in reason
        raise _Refused("truncated" if truncated else "corrupt", width, height, "jpeg") from None
    if space == "CMYK":
        image = _rgb_of_inks(image)
    return _finish(image, width, height, "jpeg", orientation.of_blocks(head.exif, head.xmp), min_side)


def _rgb_of_inks(inverted: np.ndarray) -> np.ndarray:
    """(h, w, 4) uint8 as Adobe writes inks, 255 for none -> RGB as Pillow has it."""
    whole = np.empty((*inverted.shape[:2], 3), np.uint8)
    for rows in _bands(inverted):
        whole[rows] = np.asarray(Image.fromarray(255 - inverted[rows], "CMYK").convert("RGB"))
    return whole


def _png(data: bytes, min_side: int, budget: Budget, format: str = "png") -> Decoded:
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise _Refused("truncated" if len(data) < 33 else "corrupt", format=format)
    width, height, bits, colour_type = struct.unpack(">IIBB", data[16:26])
    _check(budget, width, height, format, "png of 16 bits" if bits == 16 else "png", len(data))
    try:
        png = read_png(data)
        image = _png_pixels(data, png, colour_type)
    except CutShort:
        raise _Refused("truncated", width, height, format) from None
    except (Damaged, zlib.error):
        raise _Refused("corrupt", width, height, format) from None
    turn = orientation.of_png_chunks(png.oriented)
    if image is None:
        image = _opened(png.pixels, budget)[0]
    return _finish(image, width, height, format, turn, min_side)


def _png_pixels(data: bytes, png: Png, colour_type: int) -> np.ndarray | None:
    """(h, w, 3) uint8 by OpenCV; None where Pillow is to decode it, all rows being there."""
    large = sum(part.stop - part.start for part in png.data) > LARGE_DATA
    pixels = only_rows(data, png) if large else png.pixels
    # OpenCV overlooks a transparent grey.
    image = None if colour_type == 0 and png.transparent else _opencv(pixels, png.transparent)
    if image is None:
        rows_of(data, png.data)  # Pillow would fill what is missing
    return image


def _webp(data: bytes, min_side: int, budget: Budget) -> Decoded:
    width, height, alpha, animated = _webp_header(data)
    _check(budget, width, height, "webp", "webp animation" if animated else "webp", len(data))
    if struct.unpack("<I", data[4:8])[0] + 8 > len(data):
        raise _Refused("truncated", width, height, "webp")
    image = None if animated else _opencv(data, alpha)
    if image is None:
        return _pillow(data, min_side, budget)
    return _finish(image, width, height, "webp", _webp_orientation(data), min_side)


def _webp_orientation(data: bytes) -> int:
    """Of the EXIF and XMP chunks that the flags announce (others are passed over, as libwebp does)."""
    if data[12:16] != b"VP8X" or not data[20] & 0x0C:
        return 1
    blocks: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(data):
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if kind in (b"EXIF", b"XMP "):
            blocks.setdefault(kind, data[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    exif = blocks.get(b"EXIF") if data[20] & 0x08 else None
    return orientation.of_blocks(exif, blocks.get(b"XMP ") if data[20] & 0x04 else None)


def _icon(data: bytes, min_side: int, budget: Budget) -> Decoded:
    try:
        entry, picture = icon.largest_picture(data)
        if picture[:8] == SIGNATURE:
            return _png(picture, min_side, budget, "ico")
        width, height = icon.bitmap_size(picture)
    except (icon.NoIcon, struct.error):
        raise _Refused("truncated", format="ico") from None
    _check(budget, width, height, "ico", "bmp", len(picture))
    return _pillow(icon.alone(entry, picture), min_side, budget)


def _webp_header(data: bytes) -> tuple[int, int, bool, bool]:
    """(width, height, may have alpha, is animated) by the WebP container specification."""
    if len(data) < 30:
        raise _Refused("truncated", format="webp")
    kind = data[12:16]
    if kind == b"VP8X":
        flags = data[20]
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        return width, height, bool(flags & 0x10), bool(flags & 0x02)
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), True, False
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF, False, False
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
    whole = np.empty((*pixels.shape[:2], 3), np.uint8)
    for rows in _bands(pixels):
        whole[rows] = _rgb_over_white(pixels[rows])
    return whole


def _bands(pixels: np.ndarray) -> list[slice]:
    """Slices of rows, of some BAND_PIXELS each."""
    rows = max(1, BAND_PIXELS // pixels.shape[1])
    return [slice(start, start + rows) for start in range(0, pixels.shape[0], rows)]


def _rgb_over_white(pixels: np.ndarray) -> np.ndarray:
    """OpenCV's grey, BGR or BGRA of 8 or 16 bits -> RGB."""
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


def _pillow(data: bytes, min_side: int, budget: Budget) -> Decoded:
    image, width, height, format, turn = _opened(data, budget)
    return _finish(image, width, height, format, turn, min_side)


def _opened(data: bytes, budget: Budget) -> tuple[np.ndarray, int, int, str, int]:
    """(RGB, width, height, format, orientation) by Pillow."""
    width = height = 0
    format = ""
    try:
        with Image.open(io.BytesIO(data), formats=PILLOW_FORMATS) as picture:
            (width, height), format = picture.size, (picture.format or "").lower()
            _check_opened(picture, data, budget)
            tile = picture.tile[0] if picture.tile else None
            picture.load()
            image = _rgb(picture)
            if _ends_early(data, picture, tile):
                raise _Refused("truncated", width, height, format)
            return image, width, height, format, orientation.of_image(picture)
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


def _check_opened(picture: ImageFile.ImageFile, data: bytes, budget: Budget) -> None:
    """The budget of what Pillow has opened and not yet decoded."""
    format = kind = (picture.format or "").lower()
    scans = 1
    if format in ("jpeg", "mpo"):
        kind, scans = "jpeg by pillow", count_scans(data, 0)
    elif format == "webp" and getattr(picture, "is_animated", False):
        kind = "webp animation"
    elif format in ("ppm", "bmp") and any(name != "raw" for name, *_ in picture.tile):
        kind = f"{format} in python"  # what Pillow reads in Python: run lengths, plain numbers, odd maxima
    _check(budget, *picture.size, format, kind, len(data), scans)
    if isinstance(
        picture, TiffImagePlugin.TiffImageFile
    ):  # a picture of ten pixels may be stored in one huge tile, decoded whole
        across, down = (picture.tag_v2.get(tag, 1) for tag in TILE_SIDES)
        _check(budget, max(across, picture.width), max(down, picture.height), format, size=len(data))


def _ends_early(data: bytes, picture: Image.Image, tile: Any) -> bool:
    """The pixels of a JPEG or GIF end before its last row, which Pillow fills without a word."""
    if picture.format in ("JPEG", "MPO"):
        return _jpeg_ends_early(data, picture)
    if picture.format == "GIF" and picture.mode in ("P", "L") and tile is not None:
        left, top, right, bottom = tile.extents
        frame = np.asarray(picture)[top:bottom, left:right]
        return gif_rows.ends_early(data, frame, tile.offset, tile.args[0], bool(tile.args[1]))
    return False


def _jpeg_ends_early(data: bytes, picture: Image.Image) -> bool:
    """Bytes put before the end change the picture: they stand where pixels are missing."""
    end = data.rfind(END_OF_JPEG)
    if end < 0:
        return False  # Pillow raises for these
    pixels = hash(picture.tobytes())
    with Image.open(io.BytesIO(data[:end] + b"\x55\xaa\x5a" * 64 + END_OF_JPEG), formats=("JPEG",)) as longer:
        return hash(longer.tobytes()) != pixels


def _rgb(picture: Image.Image) -> np.ndarray:
    """A loaded Pillow picture as (h, w, 3) uint8 over white."""
    if picture.mode.startswith("I;16") or picture.mode == "I":
        grey = np.clip(np.asarray(picture).astype(np.int64), 0, 65535)
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)
    if picture.mode == "F":
        raise _Refused("unsupported", *picture.size, (picture.format or "").lower())
    if picture.has_transparency_data:
        rgba = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        whole = np.empty((picture.height, picture.width, 3), np.uint8)
        for rows in _bands(whole):
            band = (0, rows.start, picture.width, min(rows.stop, picture.height))
            whole[rows] = over_white(np.asarray(rgba.crop(band)))
        return whole
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _finish(image: np.ndarray, width: int, height: int, format: str, turn: int, min_side: int) -> Decoded:
    """Reduced by a whole factor if twice too large, upright, with the picture's own size upright."""
    factor = min(image.shape[:2]) // max(min_side, 1)
    if factor >= 2:
        size = (-(-image.shape[1] // factor), -(-image.shape[0] // factor))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if turn > 1:
        image = np.ascontiguousarray(_upright(image, turn))
        if turn >= 5:
            width, height = height, width
    return Decoded(image, width, height, format, None)


def _upright(image: np.ndarray, turn: int) -> np.ndarray:
    """EXIF orientation 2..8 undone (CIPA DC-008, tag 0x0112)."""
    if turn >= 5:
        image = image.transpose(1, 0, 2)
    if turn in (3, 4, 7, 8):
        image = image[::-1]
    if turn in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image
