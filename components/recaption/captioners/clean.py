"""What a noisy alt-text says once its noise is taken away: file names, credits, mark-up, addresses.

    "Clipart by Nicu Buculei - jigsaw_red_10"   -> "jigsaw red"
    "Fire_Truck-03.png"                         -> "Fire Truck"
    "Part of the Flat Icon Collection (Wed …)"  -> ""      says nothing of the picture
    "A dog &amp; a cat | Free stock photo"      -> "A dog & a cat"
    "IMG_20190412.jpg"                          -> ""

It only takes words away, so it can put none in; a caption with words of its own is never emptied.
"""

from __future__ import annotations

import html
import re

_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,200}>")
_ADDRESS = re.compile(r"\b(?:https?://|www\.)\S+", re.IGNORECASE)
_EXTENSION = re.compile(r"\.(?:jpe?g|png|gif|webp|svgz?|bmp|tiff?|ico|xcf|psd)\b", re.IGNORECASE)
_CREDIT_BEFORE = re.compile(
    r"^\s*(?:free\s+)?(?:clip\s?-?art|cliparts|image|picture|photo|illustration|drawing|vector)s?"
    r"\s+(?:by|from|©)\s+[^-–—|:]{2,60}\s*[-–—|:]\s*",
    re.IGNORECASE,
)
_CREDIT_AFTER = re.compile(
    r"\s*[-–—|,(]\s*(?:royalty[- ]free\s+|free\s+)?(?:stock\s+|vector\s+)*"
    r"(?:clip\s?-?art|photos?|photography|images?|pictures?|illustrations?|vectors?|wallpapers?|icons?|downloads?)"
    r"(?:\s+(?:by|from|©)\s+[^|]{1,60})?\s*\)?\s*$",
    re.IGNORECASE,
)
_COPYRIGHT = re.compile(r"\s*(?:©|\(c\)|copyright)\s.*$", re.IGNORECASE)
_SAYS_NOTHING = re.compile(
    r"^\s*(?:part of the .{2,60} collection\b.*"
    r"|.{0,30}\b(?:svg|icons?|clip\s?-?arts?)\b.{0,30} collection by .*"
    r"|various cliparts?|clip\s?-?arts?|untitled.*|unnamed.*|no title"
    r"|(?:image|picture|photo|drawing|layer|untitled|new document|default|title|svg)\s*#?\d*"
    r"|n/?a|none|null|-+)\s*$",
    re.IGNORECASE,
)
_CAMERA = re.compile(
    r"^(?:img|dscn?|dscf|pict?|p|image|photo|scan|screenshot|wp|vid|mvi)?[\s_-]*\d[\d\s_-]*$", re.IGNORECASE
)
# A word of a file name that is a counter or a code: 03, fc23, v2, 640x480, 9f8e7d6c.
_CODE = re.compile(r"^(?:[a-z]{0,3}\d+[a-z]?|\d+x\d+|(?=\w*\d)[0-9a-f]{8,})$", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-zà-ÿ])(?=[A-ZÀ-Þ])")
_LETTER = re.compile(r"[^\W\d_]")


def clean_caption(text: str | None) -> str:
    """The caption without its noise; "" if it was nothing but noise."""
    plain = " ".join(_ADDRESS.sub(" ", _TAG.sub(" ", html.unescape(text or ""))).split())
    if not _LETTER.search(plain) or _SAYS_NOTHING.match(plain):
        return ""
    body = _CREDIT_BEFORE.sub("", plain)
    for pattern in (_CREDIT_AFTER, _COPYRIGHT):
        shorter = pattern.sub("", body).strip()
        body = shorter if _LETTER.search(shorter) else body
    body = _from_file_name(body) if _is_file_name(body) else body
    return "" if _SAYS_NOTHING.match(body) or not _LETTER.search(body) else body.strip(" -–—|_")


def _is_file_name(text: str) -> bool:
    return " " not in text and bool(
        _EXTENSION.search(text) or "_" in text or re.search(r"\d", text) or text.count("-") > 1
    )


def _from_file_name(name: str) -> str:
    """Words of a file name, without its extension, counters and codes."""
    stem = _EXTENSION.sub("", name)
    if _CAMERA.match(stem):
        return ""
    words = _CAMEL.sub(" ", re.sub(r"[_\-.+#]+", " ", stem)).split()
    words = [re.sub(r"(?<=[^\W\d_]{3})\d+$", "", word) for word in words if not _CODE.match(word)]
    return " ".join(words)
