"""What a picture may cost to decode, judged from its header before the cost is paid.

A file of a few hundred kilobytes may ask for minutes and gigabytes: by its size in pixels, by one
endless side, by thousands of scans over the same pixels, or by a slow format. Each is a reason:

    too_large:168000000px    more pixels than `pixels`
    too_long:278000px        a longer side than `side` (reduced by its short side it would stay huge)
    too_many_scans:1002      a JPEG of more scans than `scans`; each goes over the whole picture
    too_slow:38s             more seconds than `seconds`, estimated
    too_much_memory:1400MiB  more memory at its peak than `memory`, estimated

The estimates are upper bounds measured on one core of a 2 GHz server; they refuse what is out of
all proportion and promise no exact second.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_PIXELS = 1 << 26  # 67 megapixels, 192 MiB as RGB
MAX_SIDE = 1 << 14  # one more than the longest WebP
MAX_SCANS = 100  # encoders write 3 to 10, optimisers up to 30; libtiff has the same limit
MAX_SECONDS = 10.0
MAX_MEMORY = 1 << 30

# At the decoder's peak: its own planes, its output, and our RGB. A format has dearer kinds.
BYTES_A_PIXEL = {
    "jpeg": 14,  # a progressive one keeps 16-bit coefficients of up to four channels
    "jpeg by pillow": 26,  # decoded twice
    "png": 12,
    "png of 16 bits": 22,
    "webp": 9,
    "webp animation": 23,  # the demuxer composes whole canvases
    "gif": 12,
    "tiff": 12,
    "avif": 16,
    "jpeg2000": 16,
}
OTHER_BYTES_A_PIXEL = 12

NANOSECONDS_A_PIXEL = {"jpeg2000": 450, "avif": 100, "png": 60, "tiff": 60, "ppm in python": 1500}
OTHER_NANOSECONDS_A_PIXEL = 50
NANOSECONDS_A_SCANNED_PIXEL = 0.7  # a JPEG's scan that says nothing new
NANOSECONDS_A_BYTE = {"bmp in python": 200, "ppm in python": 200}  # run lengths, plain numbers, odd maxima
OTHER_NANOSECONDS_A_BYTE = 20


@dataclass(frozen=True)
class Budget:
    """The most one picture may cost.

    Attributes:
        pixels: width times height, of the picture and of any tile it is stored in.
        side: the longer side in pixels.
        scans: passes a JPEG makes over its pixels.
        seconds: of one core, estimated.
        memory: bytes at the decoder's peak, estimated.
    """

    pixels: int = MAX_PIXELS
    side: int = MAX_SIDE
    scans: int = MAX_SCANS
    seconds: float = MAX_SECONDS
    memory: int = MAX_MEMORY

    def excess(self, width: int, height: int, kind: str, size: int = 0, scans: int = 1) -> str | None:
        """The first limit a picture breaks, as a reason; None if it may be decoded.

        Args:
            width, height: in pixels, from the header.
            kind: the format as Decoded names it, or a dearer kind of it ("webp animation").
            size: bytes of the file.
            scans: of a JPEG.
        """
        pixels = width * height
        if pixels > self.pixels:
            return f"too_large:{pixels}px"
        if max(width, height) > self.side:
            return f"too_long:{max(width, height)}px"
        if scans > self.scans:
            return f"too_many_scans:{scans}"
        memory = pixels * BYTES_A_PIXEL.get(kind, OTHER_BYTES_A_PIXEL)
        if memory > self.memory:
            return f"too_much_memory:{memory >> 20}MiB"
        nanoseconds: float = pixels * NANOSECONDS_A_PIXEL.get(kind, OTHER_NANOSECONDS_A_PIXEL)
        nanoseconds += pixels * scans * NANOSECONDS_A_SCANNED_PIXEL
        nanoseconds += size * NANOSECONDS_A_BYTE.get(kind, OTHER_NANOSECONDS_A_BYTE)
        return f"too_slow:{nanoseconds / 1e9:.0f}s" if nanoseconds > self.seconds * 1e9 else None

    def explain(self, reason: str) -> str | None:
        """A reason of `excess` as a person reads it; None if it is of another kind."""
        limit, _, found = reason.partition(":")
        number = float("".join(filter(str.isdigit, found)) or 0)
        said = {
            "too_large": f"has {number / 1e6:.1f} megapixels; at most {self.pixels // 1_000_000} are taken",
            "too_long": f"has a side of {number:.0f} pixels; at most {self.side} are taken",
            "too_many_scans": f"has {number:.0f} scans; at most {self.scans} are taken",
            "too_slow": f"would take some {number:.0f} s to decode; at most {self.seconds:.0f} are given",
            "too_much_memory": f"would take {number:.0f} MiB to decode; at most {self.memory >> 20} are given",
        }
        return said.get(limit)
