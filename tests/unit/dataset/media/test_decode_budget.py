"""What a hostile picture costs: refused from its header, with a reason, before seconds or gigabytes are spent."""

from __future__ import annotations

import io
import struct
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pairwright.components.dataset.media.decode import decode
from pairwright.components.dataset.media.decode_budget import Budget
from pairwright.components.dataset.media.image_type import header_size
from pairwright.components.dataset.media.png_chunks import LARGE_DATA
from tests.pictures import chunk, encode, icon, noise, of_many_scans, png, smooth, tiff_in_one_tile

FULL = 1 << 30


def huge_canvas_webp() -> bytes:
    frames = [Image.new("RGB", (64, 64), (shade, 0, 0)) for shade in (0, 255)]
    data = bytearray(encode(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    data[24:30] = (7999).to_bytes(3, "little") * 2
    return bytes(data)


def over_white_by_pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as opened:
        picture = opened.convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB"))


HOSTILE: dict[str, Callable[[], bytes]] = {
    "decode:too_many_scans:1006": lambda: of_many_scans(2000, 1000),
    "decode:too_long:278000px": lambda: png(230, 278_000, b""),
    "decode:too_long:65000px": lambda: encode(Image.new("RGB", (10, 65_000)), "JPEG"),
    "decode:too_large:169000000px": lambda: icon((0, png(13_000, 13_000, b""))),
    "decode:too_large:1600000000px": lambda: tiff_in_one_tile(40_000),
    "decode:too_much_memory:1342MiB": lambda: png(8000, 8000, b"", bits=16, colour_type=6),
    "decode:too_much_memory:1403MiB": huge_canvas_webp,
    "decode:too_slow:24s": lambda: b"P6 4000 4000 100\n",
}


def peak_from_here() -> int:
    """Forget the process's peak of memory; what it is now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """The most memory the process has held, in bytes."""
    (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM:"))
    return int(line.split()[1]) << 10


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
@pytest.mark.parametrize("reason", HOSTILE)
def test_a_picture_beyond_its_budget_is_refused_before_the_cost_is_paid(reason: str) -> None:
    data = HOSTILE[reason]()
    memory, start = peak_from_here(), time.process_time()
    decoded = decode(data, 224)
    assert (decoded.error, decoded.image) == (reason, None)
    assert time.process_time() - start < 1
    assert peak() - memory < 50 << 20


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"a\0\0" + zlib.compress(b"A" * 1_000_000, 9)) * 1000,
        chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(b"A" * 50_000_000, 9)),
        chunk(b"iCCP", b"a\0\0" + zlib.compress(b"A" * 50_000_000, 9)),
        chunk(b"tEXt", b"a\0b") * 50_000,
    ],
    ids=["thousand_texts", "long_text", "long_profile", "many_chunks"],
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_what_a_png_carries_beside_its_pixels_costs_nothing(extra: bytes, mode: str) -> None:
    plain = encode(Image.fromarray(smooth(30, 40)).convert(mode), "PNG", **({"transparency": 3} if mode == "L" else {}))
    start = time.process_time()
    decoded = decode(plain[:33] + extra + plain[33:], FULL)
    assert time.process_time() - start < 0.5
    assert decoded.error is None
    assert np.array_equal(decoded.image, decode(plain, FULL).image)


def test_pixels_beyond_the_last_row_of_a_png_are_not_inflated() -> None:
    picture = noise(8, 8)
    deflate = zlib.compressobj(9)
    rows = deflate.compress(b"".join(b"\0" + row.tobytes() for row in picture)) + deflate.flush(zlib.Z_FULL_FLUSH)
    zeros = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    header = png(8, 8, b"")[:33]
    bomb = header + chunk(b"IDAT", rows + zeros * 2500) + chunk(b"IEND", b"")  # 2.5 GiB
    start = time.process_time()
    assert np.array_equal(decode(bomb, FULL).image, picture)
    assert time.process_time() - start < 0.5


def test_a_large_png_is_the_same_picture_though_its_rows_are_counted() -> None:
    for picture in (noise(900, 900), np.dstack([noise(800, 800), noise(800, 800, 1)[..., 0]])):
        data = encode(picture, "PNG", compress_level=1)
        assert len(data) > LARGE_DATA
        truth = Image.new("RGB", (picture.shape[1], picture.shape[0]), "white")
        truth.paste(Image.fromarray(picture), mask=Image.fromarray(picture) if picture.shape[2] == 4 else None)
        assert np.abs(decode(data, FULL).image.astype(int) - np.asarray(truth)).max() <= 1
        assert decode(data[: len(data) // 2] + data[-12:], FULL).error == "decode:truncated"


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    kind=st.sampled_from([(0, 1, 8), (0, 1, 1), (2, 3, 8), (2, 3, 16), (3, 1, 8), (4, 2, 8), (6, 4, 8), (6, 4, 16)]),
    interlaced=st.booleans(),
    transparent=st.booleans(),
    missing=st.integers(0, 60),
)
def test_a_png_without_its_last_row_is_truncated(
    width: int, height: int, kind: tuple[int, int, int], interlaced: bool, transparent: bool, missing: int
) -> None:
    colour, channels, bits = kind
    if interlaced:
        steps = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
        sides = [(len(range(x, width, across)), len(range(y, height, down))) for x, y, across, down in steps]
    else:
        sides = [(width, height)]
    raw = b"".join((b"\0" + b"\x55" * -(-w * channels * bits // 8)) * h for w, h in sides if w and h)
    clear = chunk(b"tRNS", b"\0\1" * (1 if colour == 0 else 3)) if transparent and colour in (0, 2) else b""
    whole = png(width, height, raw, bits, colour, int(interlaced), clear)
    assert decode(whole, FULL).error is None
    cut = png(width, height, raw[: len(raw) - missing], bits, colour, int(interlaced), clear)
    assert decode(cut, FULL).error == (None if not missing else "decode:truncated")


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize("dark", [True, False])
def test_a_gif_without_its_last_row_is_truncated(interlaced: int, dark: bool) -> None:
    picture = Image.fromarray(noise(20, 64) * (not dark)).quantize(64)
    data = bytearray(encode(picture, "GIF", interlace=interlaced))
    assert decode(bytes(data), FULL).error is None
    at = data.rindex(b"\x2c\0\0\0\0")
    data[6:10] = data[at + 5 : at + 9] = struct.pack("<HH", 64, 64)
    assert decode(bytes(data), FULL).error == "decode:truncated"


@pytest.mark.parametrize("kind", ["cmyk", "stray_bytes"])
def test_a_jpeg_that_ends_with_its_mark_before_its_last_row_is_truncated(kind: str) -> None:
    picture = Image.fromarray(noise(64, 64))
    data = encode(picture.convert("CMYK") if kind == "cmyk" else picture, "JPEG", quality=90)
    if kind == "stray_bytes":
        at = data.index(b"\xff\xc0")
        data = data[:at] + b"\0\0\0" + data[at:]
    assert decode(data, FULL).error is None
    for cut in (60, 300, 2000):
        assert decode(data[:-cut] + b"\xff\xd9", FULL).error == "decode:truncated"


def test_cmyk_is_what_pillow_makes_of_it() -> None:
    picture = Image.fromarray(smooth(64, 80)).convert("CMYK")
    data = encode(picture, "JPEG", quality=95)
    with Image.open(io.BytesIO(data)) as opened:
        assert np.array_equal(decode(data, FULL).image, np.asarray(opened.convert("RGB")))


def test_the_largest_picture_of_an_icon_counts_whatever_its_directory_states() -> None:
    large = encode(smooth(300, 300), "PNG")
    small = encode(smooth(16, 16), "PNG")
    decoded = decode(icon((16, small), (256, large)), FULL)
    assert (decoded.error, decoded.width, decoded.height, decoded.format) == (None, 300, 300, "ico")
    assert np.array_equal(decoded.image, smooth(300, 300))
    bitmaps = encode(Image.fromarray(smooth(48, 48)), "ICO", sizes=[(16, 16), (48, 48)], bitmap_format="bmp")
    decoded = decode(bitmaps, FULL)
    assert (decoded.error, decoded.width) == (None, 48)
    assert np.array_equal(decoded.image, over_white_by_pillow(bitmaps))
    for cut in range(0, len(bitmaps), 97):
        assert decode(bitmaps[:cut], FULL).error is not None


def test_the_header_of_an_icon_is_read_without_decoding_it() -> None:
    start = time.process_time()
    assert header_size(icon((16, encode(smooth(16, 16), "PNG")), (0, png(13_000, 13_000, b"")))) == (13_000, 13_000)
    assert header_size(encode(Image.fromarray(smooth(48, 48)), "ICO", sizes=[(48, 48)], bitmap_format="bmp")) == (
        48,
        48,
    )
    assert time.process_time() - start < 0.1


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_thousands_of_frames_cost_as_much_as_one(format: str) -> None:
    frames = [Image.new("RGB", (30, 30), (n % 200, n % 7, 0)) for n in range(300)]
    data = encode(frames[0], format, save_all=True, append_images=frames[1:])
    start = time.process_time()
    assert decode(data, FULL).error is None
    assert time.process_time() - start < 0.2


def test_each_limit_is_said_to_a_person() -> None:
    budget = Budget()
    assert budget.explain("too_large:168000000px") == "has 168.0 megapixels; at most 67 are taken"
    assert budget.explain("too_long:278000px") == "has a side of 278000 pixels; at most 16384 are taken"
    assert budget.explain("too_many_scans:1006") == "has 1006 scans; at most 100 are taken"
    assert budget.explain("too_slow:24s") == "would take some 24 s to decode; at most 10 are given"
    assert budget.explain("too_much_memory:1342MiB") == "would take 1342 MiB to decode; at most 1024 are given"
    assert budget.explain("truncated") is None
