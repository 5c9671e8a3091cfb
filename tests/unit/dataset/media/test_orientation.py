"""Orientation: a picture is turned exactly where Pillow's `exif_transpose` turns it."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from pairwright.components.dataset.media.decode import decode
from tests.pictures import chunk, encode, smooth, webp_with, with_segments

XMP_MARK = b"http://ns.adobe.com/xap/1.0/\0"
PICTURE = smooth(24, 40)
JPEG, PNG = encode(PICTURE, "JPEG", quality=95), encode(PICTURE, "PNG")


def by_pillow(data: bytes) -> np.ndarray | None:
    """What Pillow makes of it; None where its reader of metadata gives up."""
    try:
        with Image.open(io.BytesIO(data)) as opened:
            return np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    except Exception:
        return None


def agrees(data: bytes) -> None:
    decoded, truth = decode(data, 1 << 30), by_pillow(data)
    assert decoded.error is None
    truth = PICTURE if truth is None else truth
    assert decoded.image.shape == truth.shape
    assert (decoded.height, decoded.width) == truth.shape[:2]
    assert np.abs(decoded.image.astype(int) - truth).mean() < 6


@st.composite
def exif_blocks(draw: st.DrawFn) -> bytes:
    """A TIFF block, either byte order, the orientation in any type, among others, or damaged."""
    order, mark = draw(st.sampled_from([("<", b"II*\0"), (">", b"MM\0*")]))
    kind, code = draw(st.sampled_from([("H", 3), ("I", 4), ("B", 1), ("h", 8), ("b", 6), ("i", 9)]))
    value = draw(st.integers(0, 10))
    field = struct.pack(order + kind, value).ljust(4, b"\0")
    entries = [struct.pack(order + "HHI", 0x0112, code, draw(st.sampled_from([1, 1, 1, 0]))) + field]
    for tag in draw(st.lists(st.sampled_from([0x010F, 0x0128, 0x8769, 0x0100]), max_size=3)):
        entries.insert(draw(st.integers(0, len(entries))), struct.pack(order + "HHII", tag, 3, 1, 1))
    if not draw(st.integers(0, 4)):
        entries = []
    block = mark + struct.pack(order + "IH", 8, len(entries)) + b"".join(entries) + b"\0\0\0\0"
    return block[: draw(st.sampled_from([len(block)] * 8 + [5, 9, 13]))]


packets = st.builds(
    lambda form, turn: b"<x:xmpmeta>" + form.replace(b"N", str(turn).encode()) + b"</x:xmpmeta>",
    st.sampled_from(
        [b'<a tiff:Orientation="N"/>', b"<tiff:Orientation>N</tiff:Orientation>", b"<none/>", b"Orientation=N"]
    ),
    st.integers(0, 9),
)


@settings(max_examples=150, deadline=None)
@given(
    exif=st.none() | exif_blocks(),
    xmp=st.none() | packets,
    parts=st.integers(1, 2),
    first=st.booleans(),
    stray=st.sampled_from([b"", b"\xff\xff"]),
)
def test_a_jpeg_is_turned_as_pillow_turns_it(
    exif: bytes | None, xmp: bytes | None, parts: int, first: bool, stray: bytes
) -> None:
    segments = []
    if exif is not None:
        middle = len(exif) if parts == 1 else len(exif) // 2
        segments += [b"Exif\0\0" + exif[:middle], *([b"Exif\0\0" + exif[middle:]] if parts == 2 else [])]
    if xmp is not None:
        segments.insert(0 if first else len(segments), XMP_MARK + xmp)
    data = with_segments(JPEG, *segments)
    agrees(data[:2] + stray + data[2:])


@settings(max_examples=150, deadline=None)
@given(
    exif=st.none() | exif_blocks(),
    form=st.sampled_from(["eXIf", "raw profile", "raw profile compressed"]),
    xmp=st.none() | packets,
    compressed=st.booleans(),
    after=st.booleans(),
)
def test_a_png_is_turned_as_pillow_turns_it(
    exif: bytes | None, form: str, xmp: bytes | None, compressed: bool, after: bool
) -> None:
    chunks = b""
    if exif is not None:
        profile = f"\nexif\n{len(exif) + 6:8}\n{(b'Exif' + bytes(2) + exif).hex()}\n".encode()
        chunks += {
            "eXIf": chunk(b"eXIf", exif),
            "raw profile": chunk(b"tEXt", b"Raw profile type exif\0" + profile),
            "raw profile compressed": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile)),
        }[form]
    if xmp is not None:
        text = b"\1\0\0\0" + zlib.compress(xmp) if compressed else b"\0\0\0\0" + xmp
        chunks += chunk(b"iTXt", b"XML:com.adobe.xmp\0" + text)
    at = len(PNG) - 12 if after else 33
    agrees(PNG[:at] + chunks + PNG[at:])


@settings(max_examples=100, deadline=None)
@given(exif=st.none() | exif_blocks(), mark=st.booleans(), xmp=st.none() | packets)
def test_a_webp_is_turned_as_pillow_turns_it(exif: bytes | None, mark: bool, xmp: bytes | None) -> None:
    agrees(webp_with(PICTURE, exif and (b"Exif\0\0" if mark else b"") + exif, xmp))


@pytest.mark.parametrize("format", ["TIFF", "AVIF", "GIF", "MPO"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_other_formats_are_turned_as_pillow_turns_them(format: str, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    more = {"save_all": True, "append_images": [Image.fromarray(PICTURE)]} if format == "MPO" else {}
    agrees(encode(PICTURE, format, exif=exif, **more))
