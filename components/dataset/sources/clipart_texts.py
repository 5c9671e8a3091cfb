"""The texts of the demo corpus: Tux Paint's stamp captions and Open Clip Art's SVG metadata.

A stamp's `.txt` has its English caption on the first line, then `LANG.utf8=TEXT` lines (in older
releases `LANG=TEXT`, in that language's own encoding). A drawing's SVG has Dublin Core metadata that
authors filled in as they pleased: that is the noise this corpus is for, so nothing is cleaned here.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

# Encodings of `LANG=` lines without `.utf8`, by language; the rest are Latin-1.
LEGACY_ENCODINGS = {
    "cs": "iso8859-2", "hr": "iso8859-2", "hu": "iso8859-2", "pl": "iso8859-2", "ro": "iso8859-2",
    "sk": "iso8859-2", "sl": "iso8859-2", "bg": "cp1251", "be": "cp1251", "mk": "iso8859-5", "sr": "iso8859-5",
    "ru": "koi8-r", "uk": "koi8-u", "el": "iso8859-7", "tr": "iso8859-9", "he": "iso8859-8", "lt": "iso8859-13",
    "lv": "iso8859-13", "et": "iso8859-15", "ja": "euc-jp", "ko": "euc-kr", "zh_CN": "gb2312", "zh_TW": "big5",
    "th": "tis-620", "vi": "cp1258", "ar": "iso8859-6",
}  # fmt: skip
_TRANSLATION = re.compile(rb"([a-z]{2,3}(?:_[A-Z]{2})?(?:@[a-z]+)?)(\.utf8)?=(.*)")
_MODIFIERS = {"latin": "Latn", "cyrillic": "Cyrl"}

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
PUBLIC_DOMAIN = "CC-PDDC"


def decode_line(data: bytes, lang: str = "en") -> str:
    """One line: UTF-8 where it is, else the language's old encoding; never raises."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode(LEGACY_ENCODINGS.get(lang, "latin-1"), "replace")


def bcp47(locale: str) -> str:
    """A POSIX locale as a language tag: pt_BR -> pt-BR, sr@latin -> sr-Latn, ca@valencia -> ca-valencia."""
    name, _, modifier = locale.partition("@")
    tag = name.replace("_", "-")
    return f"{tag}-{_MODIFIERS.get(modifier, modifier)}" if modifier else tag


def read_stamp_text(data: bytes) -> tuple[str | None, list[tuple[str, str]]]:
    """The English caption (None if the file is empty) and (language tag, text) in the file's order.

    Where a language has both a UTF-8 line and an old one, the UTF-8 line counts.
    """
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    english = decode_line(lines[0]).strip() if lines and lines[0].strip() else None
    translations: dict[str, tuple[bool, str]] = {}
    for line in lines[1:]:
        match = _TRANSLATION.fullmatch(line.rstrip(b"\r"))
        if not match:
            continue
        locale, utf8 = match[1].decode(), match[2] is not None
        text = decode_line(match[3], locale).strip()
        if text and (utf8 or not translations.get(locale, (False, ""))[0]):
            translations[locale] = (utf8, text)
    return english, [(bcp47(locale), text) for locale, (_, text) in translations.items()]


@dataclass(frozen=True)
class Drawing:
    """What an SVG's metadata says; None where it says nothing, "" where it says so emptily."""

    title: str | None = None
    description: str | None = None
    keywords: tuple[str, ...] = ()
    author: str | None = None
    licence: str | None = None


def read_drawing(path: Path) -> Drawing:
    """The Dublin Core metadata of one SVG; an unreadable one says nothing."""
    try:
        for _, element in ElementTree.iterparse(path, events=("end",)):
            if element.tag == f"{RDF}RDF":
                return _drawing(element)
    except (ElementTree.ParseError, OSError, ValueError, LookupError):
        pass
    return Drawing()


def _drawing(rdf: ElementTree.Element) -> Drawing:
    # Files differ in the version of their namespaces, never in the local names.
    work = next((one for one in rdf if _local(one) == "Work"), None)
    if work is None:
        return Drawing()
    parts: dict[str, ElementTree.Element] = {}
    for part in work:
        parts.setdefault(_local(part), part)
    subject = parts.get("subject")
    items = [] if subject is None else [one.text or "" for one in subject.iter() if _local(one) == "li"]
    if subject is not None and not items:
        items = (subject.text or "").split(",")
    return Drawing(
        _text(parts.get("title")),
        _text(parts.get("description")),
        tuple(text.strip() for text in items if text.strip()),
        _agent(parts.get("creator")),
        _licence(parts.get("license")),
    )


def _local(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _text(element: ElementTree.Element | None) -> str | None:
    return None if element is None else (element.text or "").strip()


def _agent(element: ElementTree.Element | None) -> str | None:
    """`<dc:creator><cc:Agent><dc:title>NAME`."""
    titles = [] if element is None else [_text(one) for one in element.iter() if _local(one) == "title"]
    return next((title for title in titles if title), None)


def _licence(element: ElementTree.Element | None) -> str | None:
    resource = "" if element is None else element.get(f"{RDF}resource", "").strip()
    if not resource:
        return None
    return PUBLIC_DOMAIN if "public" in resource.lower() and "domain" in resource.lower() else resource
