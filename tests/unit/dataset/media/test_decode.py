"""Decoding: scaled equals full and resized, bad pictures are reasons, transparency is white."""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from pairwright.components.dataset.media.decode import decode
from tests.pictures import encode, png, smooth

FULL = 1 << 30


def by_pillow(data: bytes) -> np.ndarray:
    """The slow truth: Pillow, upright, over white."""
    with Image.open(io.BytesIO(data)) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return np.asarray(Image.alpha_composite(white, picture).convert("RGB"))


def difference(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize(("side", "least", "most"), [(64, 64, 128), (200, 200, 400), (700, 1024, 1024)])
def test_a_jpeg_is_reduced_in_the_dct_domain(side: int, least: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    whole = simplejpeg.decode_jpeg

    def spy(data: bytes, *arguments: object, **options: object) -> np.ndarray:
        pixels = whole(data, *arguments, **options)
        made.append(min(pixels.shape[:2]))
        return pixels

    monkeypatch.setattr(simplejpeg, "decode_jpeg", spy)
    decoded = decode(encode(smooth(1024, 1300), "JPEG"), side)
    assert decoded.error is None
    assert len(made) == 1, "libjpeg-turbo is asked once"
    assert least <= made[0] <= most, "it made no more pixels than were needed, to its powers of two"


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(24, 700),
    width=st.integers(24, 700),
    side=st.integers(8, 400),
    format=st.sampled_from(["JPEG", "PNG", "WEBP", "GIF"]),
)
def test_scaled_decode_is_the_full_decode_resized(height: int, width: int, side: int, format: str) -> None:
    data = encode(smooth(height, width), format, **({"quality": 95} if format in ("JPEG", "WEBP") else {}))
    full, scaled = decode(data, FULL), decode(data, side)
    assert full.error is None
    assert scaled.error is None
    assert (scaled.width, scaled.height) == (full.width, full.height) == (width, height)
    assert full.image is not None
    assert scaled.image is not None
    assert min(scaled.image.shape[:2]) >= min(side, height, width)
    assert min(scaled.image.shape[:2]) < 4 * side or min(height, width) < 2 * side
    rows, columns = scaled.image.shape[:2]
    resized = cv2.resize(full.image, (columns, rows), interpolation=cv2.INTER_AREA)
    assert np.abs(resized.astype(int) - scaled.image.astype(int)).mean() < 8  # partial DCT blocks at the edges


def test_jpeg_is_reduced_while_decoding_and_never_below_the_side_asked_for() -> None:
    data = encode(smooth(600, 800), "JPEG")
    assert decode(data, 64).image.shape == (75, 100, 3)
    assert decode(data, 224).image.shape == (225, 300, 3)
    assert decode(data, 301).image.shape == (600, 800, 3)
    assert decode(data, 10_000).image.shape == (600, 800, 3)


def test_a_huge_picture_does_not_stay_huge_in_memory() -> None:
    assert decode(encode(smooth(4000, 5000), "JPEG"), 64).image.shape[0] < 128
    assert decode(encode(smooth(2000, 3000), "PNG", compress_level=1), 100).image.shape == (100, 150, 3)


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "1"])
def test_every_mode_becomes_rgb_over_white(format: str, mode: str) -> None:
    picture = Image.fromarray(smooth(60, 90)).convert(mode)
    if mode in ("RGBA", "LA"):
        picture.putalpha(Image.fromarray(np.linspace(0, 255, 60 * 90).reshape(60, 90).astype(np.uint8)))
    data = encode(picture, format, **({"lossless": True} if format == "WEBP" else {}))
    decoded = decode(data, FULL)
    assert decoded.error is None
    assert decoded.format == format.lower()
    assert difference(decoded.image, by_pillow(data)) <= 1


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_transparent_colour_of_a_png_is_white(mode: str) -> None:
    picture = Image.new("RGB", (40, 30), (200, 10, 10))
    picture.paste((0, 0, 255), (10, 10, 30, 20))
    picture = picture.convert(mode) if mode != "P" else picture.quantize(8)
    clear = picture.getpixel((0, 0))
    data = encode(picture, "PNG", transparency=clear)
    image = decode(data, FULL).image
    assert tuple(image[0, 0]) == (255, 255, 255)
    assert tuple(image[15, 15]) != (255, 255, 255)
    assert difference(image, by_pillow(data)) <= 1


@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
def test_sixteen_bits_become_eight(colour_type: int) -> None:
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    values = np.zeros((8, 256, channels), np.uint16)
    values[:] = (np.arange(256, dtype=np.uint16) * 257)[None, :, None]
    if colour_type in (4, 6):
        values[..., -1] = 65535
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    image = decode(png(256, 8, raw, bits=16, colour_type=colour_type), FULL).image
    assert difference(image, np.broadcast_to(np.arange(256)[None, :, None], (8, 256, 3))) <= 1


def test_cmyk_jpeg_has_its_true_colours() -> None:
    image = smooth(64, 80)
    data = encode(Image.fromarray(image).convert("CMYK"), "JPEG", quality=95)
    decoded = decode(data, FULL)
    assert decoded.error is None
    assert np.abs(decoded.image.astype(int) - image.astype(int)).mean() < 4


def test_an_animation_is_its_first_frame() -> None:
    frames = [Image.fromarray(smooth(40, 50, seed)) for seed in range(3)]
    for format in ("GIF", "WEBP", "PNG"):
        data = encode(frames[0], format, save_all=True, append_images=frames[1:])
        decoded = decode(data, FULL)
        assert decoded.error is None, format
        assert np.abs(decoded.image.astype(int) - smooth(40, 50, 0).astype(int)).mean() < 12, format


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(smooth(64, 96), format, exif=exif, **({"quality": 95} if format in ("JPEG", "WEBP") else {}))
    decoded = decode(data, FULL)
    truth = by_pillow(data)
    assert (decoded.height, decoded.width) == truth.shape[:2]
    assert difference(decoded.image, truth) <= 6


def vp8x(width: int, height: int) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + sides
    return b"RIFF" + struct.pack("<I", len(body)) + body


def huge_jpeg(width: int, height: int) -> bytes:
    """A small JPEG whose frame header claims another size."""
    data = bytearray(encode(smooth(16, 16), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


JPEG = encode(smooth(100, 120), "JPEG")
BAD = {
    "decode:empty": [b""],
    "decode:not_an_image": [b"<html>404</html>", b"\0" * 64, b"%!PS-Adobe-3.0 EPSF-3.0\n"],
    "decode:truncated": [
        JPEG[: len(JPEG) // 2],
        JPEG[:200],
        JPEG[:20],
        encode(smooth(100, 120), "PNG")[:-2000],
        encode(smooth(100, 120), "PNG")[:20],
        png(64, 64, b"\0" * 100),
        encode(smooth(100, 120), "WEBP")[:-100],
        encode(smooth(100, 120), "GIF")[:-2000],
        encode(Image.fromarray(smooth(100, 120)).convert("CMYK"), "JPEG")[:-1000],
    ],
    "decode:too_large:168000000px": [
        png(14000, 12000, b"\0" * 100),
        huge_jpeg(14000, 12000),
        vp8x(14000, 12000),
        b"GIF89a" + struct.pack("<HH", 14000, 12000) + b"\0\0\0",
        encode(Image.new("1", (14000, 12000)), "BMP"),
    ],
    "decode:too_long:278000px": [png(230, 278_000, b"")],
    "decode:corrupt": [
        png(0, 10, b""),
        png(30, 30, b"\x09" * 3000),
    ],
}


@pytest.mark.parametrize("error", BAD)
def test_a_bad_picture_is_a_reason(error: str) -> None:
    for data in BAD[error]:
        for side in (32, FULL):
            decoded = decode(data, side)
            assert (decoded.error, decoded.image) == (error, None)


def test_a_truncated_jpeg_is_never_grey_filler_wherever_it_is_cut() -> None:
    for cut in range(2, len(JPEG) - 1, 7):
        assert decode(JPEG[:cut], FULL).error is not None, cut


def test_stray_bytes_between_segments_lose_no_picture() -> None:
    at = JPEG.index(b"\xff\xc0")
    stray = JPEG[:at] + b"\0\0\0" + JPEG[at:]
    with pytest.raises(ValueError, match="extraneous"):
        simplejpeg.decode_jpeg(stray, "RGB")
    assert difference(decode(stray, FULL).image, decode(JPEG, FULL).image) == 0


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_bytes_make_it_raise(data: st.DataObject) -> None:
    start = data.draw(st.sampled_from([JPEG, *(encode(smooth(20, 30), f) for f in ("PNG", "WEBP", "GIF", "TIFF"))]))
    junk = bytearray(start[: data.draw(st.integers(0, len(start)))])
    for _ in range(data.draw(st.integers(0, 8))):
        if junk:
            junk[data.draw(st.integers(0, len(junk) - 1))] = data.draw(st.integers(0, 255))
    decoded = decode(bytes(junk) + data.draw(st.binary(max_size=16)), data.draw(st.sampled_from([8, FULL])))
    assert (decoded.image is None) == (decoded.error is not None)
    if decoded.image is not None:
        assert decoded.image.dtype == np.uint8
        assert decoded.image.ndim == 3
        assert decoded.image.shape[2] == 3
