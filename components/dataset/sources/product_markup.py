"""What a page says about itself to machines: its JSON-LD blocks, microdata items, meta tags and pictures.

    markup = read_markup(html)
    markup.json_ld, markup.items, markup.meta, markup.images

Three vocabularies carry products on the web: JSON-LD in scripts, microdata in attributes (both of
schema.org) and OpenGraph in meta tags. Shops' pages are rarely well-formed, so nothing here raises:
a broken JSON-LD block is a reason in `broken`, an unclosed element ends where its parent does.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from pairwright.components.dataset.captions.text import decode_text, marked_encoding, storable

VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr")
)
# Where microdata keeps a property's value, by element; any other element's value is its text.
VALUE_ATTRIBUTE = {
    "a": "href", "area": "href", "link": "href", "img": "src", "source": "src", "embed": "src", "iframe": "src",
    "audio": "src", "video": "src", "track": "src", "object": "data", "data": "value", "meter": "value",
    "time": "datetime", "meta": "content",
}  # fmt: skip
MAX_DEPTH = 200  # open elements; deeper ones are read as if they were void
CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.\-]{2,40})", re.I)
_WRAPPING = re.compile(r"^\s*(?:<!--|//\s*<!\[CDATA\[|/\*\s*<!\[CDATA\[\s*\*/|<!\[CDATA\[)|"
                       r"(?:-->|//\s*\]\]>|/\*\s*\]\]>\s*\*/|\]\]>)\s*;?\s*$")  # fmt: skip
_SAVED_FROM = re.compile(r"saved from url=\(\d+\)\s*(\S+)")


@dataclass
class Item:
    """A microdata item: its types, and its properties in the page's order (texts or items)."""

    types: list[str]
    properties: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, names: str, value: Any) -> None:
        for name in names.split():
            self.properties.setdefault(name, []).append(value)


@dataclass
class Markup:
    """What one page says.

    Attributes:
        json_ld: the values of its JSON-LD blocks. broken: why a block is none, one line each.
        items: microdata items that are no property of another.
        meta: (name or property in lower case, content), in order.
        links: (rel in lower case, href), in order. images: (source, alternative text or None), in order.
        title: of the `title` element. lang: of the `html` element. saved_from: as browsers note it.
    """

    json_ld: list[Any] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    meta: list[tuple[str, str]] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    images: list[tuple[str, str | None]] = field(default_factory=list)
    title: str = ""
    lang: str | None = None
    base: str | None = None
    saved_from: str | None = None

    def first_meta(self, *names: str) -> str | None:
        """Content of the first of these meta tags that is there and not empty, in the order of `names`."""
        for name in names:
            for known, content in self.meta:
                if known == name and content.strip():
                    return content
        return None

    def link(self, rel: str) -> str | None:
        return next((href for rels, href in self.links if rel in rels.split() and href.strip()), None)


def read_markup(html: str) -> Markup:
    """The markup of a page; never raises, whatever the page is."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.markup


def decode_page(data: bytes) -> str:
    """A page's bytes as text: by its byte order mark, its `meta charset`, else UTF-8 with U+FFFD for the rest."""
    named = None if marked_encoding(data) else CHARSET.search(data[:4096])
    if named:
        try:
            return storable(data.decode(named.group(1).decode("ascii")))
        except (LookupError, ValueError):  # an unknown charset, or a page that is not in the one it names
            pass
    return storable(decode_text(data)[0])


@dataclass
class _Open:
    """An open element, and the microdata it carries."""

    tag: str
    item: Item | None = None  # the item it begins
    prop: str | None = None  # the property whose value is its text
    owner: Item | None = None
    text: list[str] = field(default_factory=list)


class TolerantParser(HTMLParser):
    """html.parser without its one exception."""

    def parse_marked_section(self, i: int, report: Any = 1) -> int:
        """`<![if IE]>` and its kin, which html.parser asserts that nobody writes wrongly."""
        try:
            return super().parse_marked_section(i, report)
        except AssertionError:
            return self.parse_bogus_comment(i, report)


class _Reader(TolerantParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.markup = Markup()
        self._open: list[_Open] = []
        self._script: list[str] | None = None  # text of the JSON-LD block being read
        self._in_title = False

    def close(self) -> None:
        if self.cdata_elem:  # a script that is never closed; html.parser would drop its text
            self.feed(f"</{self.cdata_elem}>")
        super().close()
        self._end_script()
        self._close_to(0)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in reversed(attrs)}  # of a repeated attribute the first counts
        self._note(tag, given)
        item = Item(given.get("itemtype", "").split()) if "itemscope" in given else None
        owner = self._current()
        prop = given.get("itemprop", "").strip() or None
        if item is not None:
            if prop and owner is not None:
                owner.add(prop, item)
            else:
                self.markup.items.append(item)
            prop = None
        elif prop and owner is not None:
            attribute = "content" if "content" in given else VALUE_ATTRIBUTE.get(tag)
            if attribute is not None:
                owner.add(prop, given.get(attribute, ""))
                prop = None
        if tag not in VOID and len(self._open) < MAX_DEPTH:
            self._open.append(_Open(tag, item, prop, owner))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        before = len(self._open)
        self.handle_starttag(tag, attrs)
        self._close_to(before)
        if tag == "script":  # html.parser does not read on in it, so nothing more of the block would come
            self._script = None

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._end_script()
        if tag == "title":
            self._in_title = False
        for depth in range(len(self._open) - 1, -1, -1):
            if self._open[depth].tag == tag:
                self._close_to(depth)
                return

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self._script.append(data)
            return
        if self._in_title:
            self.markup.title += data
        for element in self._open:
            if element.prop:
                element.text.append(data)

    def handle_comment(self, data: str) -> None:
        found = _SAVED_FROM.search(data[:4096])
        if found and self.markup.saved_from is None:
            self.markup.saved_from = found.group(1)

    def unknown_decl(self, data: str) -> None:
        if data.startswith("CDATA[") and self._script is None:
            self.handle_data(data[6:])

    def _note(self, tag: str, given: dict[str, str]) -> None:
        """What is kept of an element whether or not it is microdata."""
        markup = self.markup
        if tag == "script" and given.get("type", "").partition(";")[0].strip().lower() == "application/ld+json":
            self._end_script()
            self._script = []
        elif tag == "meta":
            name = given.get("property") or given.get("name") or given.get("itemprop") or ""
            markup.meta.append((name.strip().lower(), given.get("content", "")))
        elif tag == "link":
            markup.links.append((given.get("rel", "").lower(), given.get("href", "")))
        elif tag == "img":
            source = given.get("src", "")
            if not source or source.startswith("data:"):  # a placeholder of lazy loading
                source = given.get("data-src") or given.get("data-original") or source
            markup.images.append((source, given.get("alt")))
        elif tag == "html":
            markup.lang = markup.lang or given.get("lang") or None
        elif tag == "base":
            markup.base = markup.base or given.get("href") or None
        elif tag == "title" and not markup.title:
            self._in_title = not any(element.tag == "svg" for element in self._open)

    def _current(self) -> Item | None:
        return next((element.item for element in reversed(self._open) if element.item is not None), None)

    def _close_to(self, depth: int) -> None:
        """End every open element from `depth` on; a property's text is whole now."""
        while len(self._open) > depth:
            element = self._open.pop()
            if element.prop and element.owner is not None:
                element.owner.add(element.prop, "".join(element.text))

    def _end_script(self) -> None:
        if self._script is None:
            return
        text, self._script = "".join(self._script), None
        if not text.strip():
            return
        try:
            self.markup.json_ld.append(parse_json_ld(text))
        except (ValueError, RecursionError) as error:
            self.markup.broken.append(" ".join(str(error).split())[:120])


def parse_json_ld(text: str) -> Any:
    """One block's value; comment and CDATA wrappers, control characters and closing semicolons are forgiven.

    Raises:
        ValueError, RecursionError: it is no JSON, or nests too deep.
    """
    bare = text
    for _ in range(4):  # a comment may wrap a CDATA section
        bare = _WRAPPING.sub("", bare)
    return json.loads(bare.strip().rstrip(";"), strict=False)
