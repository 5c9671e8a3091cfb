"""Products of a shop's page: the triple (image, title, description) and what is stated beside it.

    page = read_products(html)
    page.products[0].images, page.products[0].title, page.products[0].description

schema.org's Product as JSON-LD comes first, then as microdata, then OpenGraph's product tags (Let's
Go Shopping, Bao et al., 2024, gathers its pairs from such pages; how it reads them is not published,
so this reading follows the vocabularies). A page that states no product says why in `reason`:

    no_product          nothing on it is a product
    broken_json_ld:...  its JSON-LD does not parse, and no other markup names a product
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from html import unescape
from typing import Any

from pairwright.components.dataset.captions.text import storable
from pairwright.components.dataset.sources.product_markup import Item, Markup, TolerantParser, read_markup

NO_PRODUCT, BROKEN_JSON_LD = "no_product", "broken_json_ld"
PRODUCT_TYPES = frozenset(
    ("product", "productgroup", "productmodel", "individualproduct", "someproducts", "vehicle", "car", "book")
)
# Other products, or people's words: none of them is what the page sells.
ELSEWHERE = frozenset(
    ("isRelatedTo", "isSimilarTo", "isAccessoryOrSparePartFor", "isConsumableFor", "isVariantOf", "review", "reviews",
     "aggregateRating", "itemReviewed", "brand", "manufacturer", "seller")
)  # fmt: skip
VARIANTS = "hasVariant"
MAX_PRODUCTS = 500  # of one page; a listing longer than that is not read to its end
MAX_TEXT = 20_000  # characters of a title or description
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,500}>|&(?:#\d{1,7}|#x[0-9a-fA-F]{1,6}|\w{2,31});")
_BREAKING = frozenset(
    ("p", "br", "div", "li", "ul", "ol", "tr", "td", "th", "h1", "h2", "h3", "h4", "h5", "h6", "table", "section")
)


@dataclass(frozen=True)
class Product:
    """One product as stated.

    Attributes:
        images: references as written, the main one first. alt: the main picture's own text, if any.
        markup: "json-ld", "microdata" or "opengraph".
        labels: (name, value): brand, category, sku, colour, material.
        url: its own page, where that is stated. statement: the object it was read from, as plain JSON.
    """

    title: str = ""
    description: str = ""
    images: tuple[str, ...] = ()
    alt: str = ""
    markup: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    licence: str = ""
    author: str = ""
    url: str = ""
    lang: str = ""
    statement: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Page:
    """The products of a page, or the `reason` why it has none; `broken` holds JSON-LD that did not parse."""

    products: tuple[Product, ...]
    markup: Markup
    reason: str | None = None

    @property
    def url(self) -> str | None:
        """The page's own address, as it states it."""
        return self.markup.link("canonical") or self.markup.first_meta("og:url") or self.markup.saved_from


def read_products(html: str) -> Page:
    """Read a page. Never raises: a page without a product has a `reason`."""
    markup = read_markup(html)
    readings = (
        ("json-ld", _stated(markup.json_ld)),
        ("microdata", _stated([_plain(item) for item in markup.items])),
        ("opengraph", _opengraph(markup)),
    )
    fallbacks = _common_facts(markup)
    for name, found in readings:
        products = _distinct(_completed(product, fallbacks, markup) for product in found)
        if products:
            return Page(tuple(replace(product, markup=name) for product in products), markup)
    reason = f"{BROKEN_JSON_LD}:{markup.broken[0]}" if markup.broken else NO_PRODUCT
    return Page((), markup, reason)


def _stated(values: list[Any]) -> Iterator[Product]:
    """Products in schema.org objects: top-level, in `@graph`, lists, `mainEntity`, offers, variants of a group."""
    known = {node["@id"]: node for node in _nodes(values) if isinstance(node.get("@id"), str) and len(node) > 1}
    todo: list[tuple[Any, dict[str, Any]]] = [(value, {}) for value in reversed(values)]
    found = 0
    while todo and found < MAX_PRODUCTS:
        value, inherited = todo.pop()
        if isinstance(value, list):
            todo.extend((one, inherited) for one in reversed(value))
        elif isinstance(value, dict) and (types_of(value) & PRODUCT_TYPES or (inherited and not types_of(value))):
            whole = inherited | value
            variants = whole.get(VARIANTS)
            if variants and VARIANTS in value:
                todo.append((variants, {k: v for k, v in whole.items() if k not in (VARIANTS, "@id", "@type", "url")}))
            else:
                found += 1
                yield _product(whole, known)
        elif isinstance(value, dict):
            todo.extend((inner, {}) for key, inner in reversed(value.items()) if key not in ELSEWHERE)


def _nodes(values: Any) -> Iterator[dict[str, Any]]:
    """Every object, however deep."""
    todo = [values]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            yield value
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)


def types_of(node: Mapping[str, Any]) -> set[str]:
    """`@type` in lower case without its vocabulary's address: "http://schema.org/Product" is "product"."""
    stated = node.get("@type")
    names = stated if isinstance(stated, list) else [stated]
    return {re.split(r"[/#:]", name)[-1].strip().lower() for name in names if isinstance(name, str)}


def _product(node: dict[str, Any], known: Mapping[str, Any]) -> Product:
    """The product an object states; a picture its offers hold counts where it names none itself."""
    pictures = list(_pictures(node.get("image"), known)) or list(_pictures(node.get("photo"), known))
    if not pictures:
        offers = [one for one in _nodes(node.get("offers")) if isinstance(one, dict)]
        pictures = [picture for offer in offers for picture in _pictures(offer.get("image"), known)]
    first = pictures[0] if pictures else ("", {})
    about = first[1]
    names = (
        ("brand", "brand"),
        ("category", "category"),
        ("sku", "sku"),
        ("color", "colour"),
        ("material", "material"),
    )
    values = ((label, plain_text(_name(node.get(key), known))[:200]) for key, label in names)
    return Product(
        title=plain_text(_name(node.get("name"), known)),
        description=plain_text(_name(node.get("description"), known)),
        images=tuple(dict.fromkeys(reference for reference, _ in pictures)),
        alt=plain_text(_name(about.get("caption"), known)),
        labels=tuple((label, value) for label, value in values if value),
        licence=_name(about.get("license") or node.get("license"), known),
        author=plain_text(_name(about.get("creditText") or about.get("creator") or about.get("author"), known)),
        url=_name(node.get("url"), known),
        lang=_name(node.get("inLanguage"), known),
        statement=node,
    )


def _pictures(value: Any, known: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(reference, the ImageObject or {}) of an `image`: a text, an ImageObject, an `@id`, or a list of them."""
    if isinstance(value, str):
        if value.strip():
            yield value.strip(), {}
    elif depth > 8:  # an @id may name itself
        return
    elif isinstance(value, list):
        for one in value:
            yield from _pictures(one, known, depth + 1)
    elif isinstance(value, dict):
        reference = next((value[key] for key in ("contentUrl", "url", "thumbnailUrl") if value.get(key)), None)
        if reference is not None:
            yield from ((text, value) for text, _ in _pictures(reference, known, depth + 1))
        elif isinstance(value.get("@id"), str) and known.get(value["@id"], value) is not value:
            yield from _pictures(known[value["@id"]], known, depth + 1)


def _name(value: Any, known: Mapping[str, Any], depth: int = 0) -> str:
    """The text of a value: itself, its `name` or `@value`, or that of the first of a list."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or value is None or depth > 8:
        return ""
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, list):
        return next((text for one in value if (text := _name(one, known, depth + 1))), "")
    if isinstance(value, dict):
        for key in ("name", "@value", "url"):
            if text := _name(value.get(key), known, depth + 1):
                return text
        target = known.get(value["@id"]) if isinstance(value.get("@id"), str) else None
        return _name(target, known, depth + 1) if target is not None and target is not value else ""
    return ""


def plain_text(text: str) -> str:
    """Text as a reader sees it: tags and entities that content systems leave in JSON resolved, single spaces."""
    text = text[:MAX_TEXT]
    for _ in range(2):  # "&amp;lt;" was escaped twice
        if not _TAG.search(text):
            break
        reader = _TextReader()
        reader.feed(text)
        reader.close()
        text = "".join(reader.parts)
    return storable(" ".join(text.split()))


class _TextReader(TolerantParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BREAKING:
            self.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in _BREAKING:
            self.parts.append(" ")

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def _plain(item: Item, depth: int = 0) -> dict[str, Any]:
    """A microdata item as the object JSON-LD would have; one value stands alone."""
    if depth > 50:
        return {}
    values = {
        name: [_plain(one, depth + 1) if isinstance(one, Item) else one for one in found]
        for name, found in item.properties.items()
    }
    return {"@type": item.types, **{name: found[0] if len(found) == 1 else found for name, found in values.items()}}


def _opengraph(markup: Markup) -> Iterator[Product]:
    """The product of OpenGraph's tags: `og:type` product, or any `product:` tag."""
    kind = (markup.first_meta("og:type") or "").strip().lower()
    if not kind.removeprefix("og:").startswith("product") and not any(n.startswith("product:") for n, _ in markup.meta):
        return
    images = [
        c.strip() for n, c in markup.meta if n in ("og:image", "og:image:url", "og:image:secure_url") and c.strip()
    ]
    names = (("product:brand", "brand"), ("product:category", "category"), ("product:color", "colour"))
    values = ((label, plain_text(markup.first_meta(name) or "")[:200]) for name, label in names)
    yield Product(
        title=plain_text(markup.first_meta("og:title") or ""),
        description=plain_text(markup.first_meta("og:description") or ""),
        images=tuple(dict.fromkeys(images)),
        alt=plain_text(markup.first_meta("og:image:alt") or ""),
        labels=tuple((label, value) for label, value in values if value),
        statement={name: content for name, content in markup.meta if name.startswith(("og:", "product:"))},
    )


def _common_facts(markup: Markup) -> dict[str, str]:
    """What holds for the whole page, where a product does not state its own."""
    licence = markup.link("license") or markup.first_meta("dcterms.license", "dc.rights", "license") or ""
    return {"licence": licence.strip(), "lang": (markup.lang or "").strip()}


def _completed(product: Product, fallbacks: Mapping[str, str], markup: Markup) -> Product:
    """The product with the page's licence and language, and its picture's alternative text from the `img`."""
    changes: dict[str, Any] = {name: value for name, value in fallbacks.items() if not getattr(product, name)}
    if product.images and not product.alt:
        main = file_of(product.images[0])
        matching = (alt for source, alt in markup.images if alt and main and file_of(source) == main)
        changes["alt"] = plain_text(next(matching, ""))
    return replace(product, **changes) if changes else product


def file_of(reference: str) -> str:
    """The last part of a reference's path: what a picture is called wherever it is kept."""
    return unescape(reference).partition("?")[0].partition("#")[0].rstrip("/").rpartition("/")[2]


def _distinct(products: Iterable[Product]) -> list[Product]:
    """Products once each: markup often states one twice, the second time with less."""
    kept: list[Product] = []
    for product in products:
        same = next(
            (i for i, one in enumerate(kept) if one.title == product.title and _overlap(one.images, product.images)),
            None,
        )
        if same is None:
            kept.append(product)
            continue
        first = kept[same]
        facts = ("description", "images", "alt", "licence", "author", "url")
        kept[same] = replace(first, **{name: getattr(product, name) for name in facts if not getattr(first, name)})
    return kept


def _overlap(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    return not a or not b or bool(set(a) & set(b))
