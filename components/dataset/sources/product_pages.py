"""Product pages: a shop's pages as pairs of a product's picture with its title and description.

    pairwright ingest product-pages ./saved-pages ./shop
    pairwright ingest product-pages pages.csv ./shop          # a column of page URLs, downloaded

A folder holds saved pages (.html) with their pictures where they were saved: relative to the page,
below the folder as the shop's server has them, in a browser's `PAGE_files`, or by host name as wget
mirrors them. `fetch=true` downloads the pictures that are not there; a list's are always downloaded,
into DEST/fetched, so that the same command again asks only for what failed or is new.

A page is never lost: it gives a row a product, or one row that says why there is none.

    empty_page, page_too_big         disallowed       its robots tag says noai
    no_product, broken_json_ld:...   (components/dataset/sources/product_page.py)
    no_image                         the product names no picture
    no_text                          it has neither title nor description
    missing_file, unsafe_link, empty_image, not_a_picture, download_failed:...   its picture cannot be had

Captions are `title`, `description` and `alt` (the picture's own alternative text), each only where it
is stated; brand, category and the shop's name are labels.
"""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from pydantic import Field

from pairwright.components.component import batches
from pairwright.components.dataset.captions.text import as_json, one_line, storable
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.media.image_type import image_suffix
from pairwright.components.dataset.shards import storage
from pairwright.components.dataset.shards.keys import Keys
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.tar_index import EMPTY_IMAGE, NO_IMAGE
from pairwright.components.dataset.sources.download import (
    PAGE,
    PICTURE,
    SUCCESS,
    FetchOptions,
    Wanted,
    fetch_all,
    is_disallowed,
)
from pairwright.components.dataset.sources.folder import MISSING_FILE, Folder
from pairwright.components.dataset.sources.imagefolder import BAD_METADATA
from pairwright.components.dataset.sources.img2dataset import DOWNLOAD_FAILED
from pairwright.components.dataset.sources.product_markup import decode_page
from pairwright.components.dataset.sources.product_page import Page, Product, file_of, read_products
from pairwright.components.dataset.sources.source import (
    FolderOptions,
    Progress,
    absolute,
    list_files,
    picture,
    write_pairs,
)
from pairwright.components.dataset.sources.url_list import SUFFIXES as LISTS
from pairwright.components.dataset.sources.url_list import UrlOptions, read_links
from pairwright.components.errors import DatasetError
from pairwright.components.hashing import sha256_text

PAGES = (".html", ".htm", ".xhtml")
EMPTY_PAGE, PAGE_TOO_BIG, DISALLOWED, NO_TEXT = "empty_page", "page_too_big", "disallowed", "no_text"
NOT_A_PICTURE = "not_a_picture"
FETCHED = "fetched"
LONGEST_STATEMENT = 1 << 16  # bytes of JSON kept as metadata; a longer one (hundreds of reviews) is left out
LOOKED_AT = 3  # pages read to recognise a shop's folder


class ProductPagesOptions(FolderOptions, FetchOptions):
    url_column: str | None = Field(None, description="of a list of pages; default: url, URL, link, ...")
    fetch: bool = Field(False, description="download pictures that do not lie beside their page")
    max_page_bytes: int = Field(8 << 20, ge=1, description="of one page")


@dataclass
class Entry:
    """One page to be read: where it is, what came of it, and what its products need."""

    path: str  # below the source; of a list the page's number
    url: str | None = None
    data: bytes = b""
    error: str | None = None
    page: Page | None = None
    needs: list[str | None] = field(default_factory=list)  # a product's picture: a URL to fetch, or None


def looks_like_product_pages(source: str) -> bool:
    try:
        if not storage.exists(absolute(source)) or absolute(source).lower().endswith(PAGES):
            return False
        pages = list_files(source, PAGES)[:LOOKED_AT]
        return any(read_products(decode_page(storage.read_bytes(page))).products for page in pages)
    except (DatasetError, OSError):
        return False


def product_pages_inputs(source: str, options: ProductPagesOptions) -> list[str] | None:
    """What is copied; None where something is downloaded, which a later run tries again."""
    return None if options.fetch or absolute(source).lower().endswith(LISTS) else [absolute(source)]


def read_product_pages(source: str, dest: str, options: ProductPagesOptions, progress: Progress) -> Dataset:
    """Read a folder or a list of pages into shards, in the order of their paths or of the list.

    Raises:
        DatasetError: there is no page or no list, or `dest` lies in the folder.
        WorkspaceError: `dest` cannot be written.
    """
    root = absolute(source).rstrip("/")
    if root.lower().endswith(PAGES):
        raise DatasetError(f"{source} is one page; name the folder it was saved in")
    if root.lower().endswith(LISTS):
        options = options.model_copy(update={"fetch": True})
        listed = UrlOptions(url_column=options.url_column)
        entries = [Entry(link.key, link.url, error=_unread(link.problem)) for link in read_links(source, listed)]
        shop = _Shop("", frozenset(), dest, options)
    else:
        if (dest + "/").startswith(root + "/"):
            raise DatasetError(f"{dest} lies in the folder being read, which is never written; name another DEST")
        here = Folder(root, options.follow_links).listing().files
        pages = [path for path in here if path.lower().endswith(PAGES)]
        if not pages:
            raise DatasetError(f"{source} holds no page ({', '.join(PAGES)}); name the folder they were saved in")
        entries = [Entry(path) for path in pages]
        shop = _Shop(root, frozenset(here), dest, options)
    return write_pairs(source, dest, options, _rows(shop, entries, progress), None, lambda *_: None)


def _rows(shop: _Shop, entries: list[Entry], progress: Progress) -> Iterator[dict[str, Any]]:
    """Rows of every page, a run of pages at a time so that memory does not grow with their number."""
    keys, done = Keys(), 0
    for run in batches(entries, shop.options.pairs_per_shard):
        shop.read(run)
        fetched = shop.fetch([need for entry in run for need in entry.needs if need], PICTURE)
        for entry in run:
            yield from _rows_of(shop, entry, fetched, keys)
            entry.data, entry.page, entry.needs = b"", None, []
            done += 1
            if done % 100 == 0 or done == len(entries):
                progress(done, len(entries), "pages")


@dataclass(frozen=True)
class _Shop:
    """Where pages and pictures are had from.

    Attributes:
        root: the folder, "" for a list. here: files below it, relative.
    """

    root: str
    here: frozenset[str]
    dest: str
    options: ProductPagesOptions

    @property
    def folder(self) -> Folder:
        return Folder(self.root, self.options.follow_links)

    def read(self, run: Sequence[Entry]) -> None:
        """Fill in each entry's page, or the reason why it has none, and which pictures must be fetched."""
        if not self.root:
            fetched = self.fetch([entry.url or "" for entry in run if entry.error is None], PAGE)
        for entry in run:
            if entry.error is not None:
                continue
            if self.root:
                entry.data, entry.error = self.folder.read(entry.path)
            else:
                entry.data, entry.error = fetched[entry.url or ""]
            entry.error = entry.error or self._refusal(entry.data)
            if entry.error is None:
                entry.page = read_products(decode_page(entry.data))
                entry.error = self._robots(entry.page) or entry.page.reason
            if entry.error is None and entry.page is not None:
                entry.url = _joined(entry.url, entry.page.url or "") or entry.url
                entry.needs = [self._address(entry, product) for product in entry.page.products]

    def _refusal(self, data: bytes) -> str | None:
        if not data.strip():
            return EMPTY_PAGE
        return PAGE_TOO_BIG if len(data) > self.options.max_page_bytes else None

    def _robots(self, page: Page) -> str | None:
        said = [content for name, content in page.markup.meta if name in ("robots", "pairwright")]
        return DISALLOWED if self.options.honour_noai and is_disallowed(said) else None

    def _address(self, entry: Entry, product: Product) -> str | None:
        """The URL to fetch a product's picture from; None if it is here, states none or may not be fetched."""
        if not product.images or not self.options.fetch or self.local(entry, product):
            return None
        base = entry.page.markup.base if entry.page else None
        found = _joined(_joined(entry.url, base or "") or entry.url, product.images[0])
        return found if found and found.startswith(("http://", "https://")) else None

    def local(self, entry: Entry, product: Product) -> str | None:
        """The product's first picture that lies in the folder, relative to it."""
        return next((p for image in product.images for p in self._places(entry, image) if p in self.here), None)

    def _places(self, entry: Entry, reference: str) -> Iterator[str]:
        """Where a reference may lie below the folder; what climbs out of it is found nowhere."""
        folder, stem = posixpath.dirname(entry.path), posixpath.splitext(entry.path)[0]
        try:
            parts = urlsplit(reference)
        except ValueError:
            return
        path = unquote(parts.path)
        if not parts.scheme and not parts.netloc:
            yield posixpath.normpath(path.lstrip("/") if path.startswith("/") else posixpath.join(folder, path))
        elif parts.netloc:
            yield posixpath.normpath(posixpath.join(parts.netloc, path.lstrip("/")))
        yield posixpath.join(f"{stem}_files", unquote(file_of(reference)))

    def fetch(self, urls: Sequence[str], wanted: Wanted) -> dict[str, tuple[bytes, str | None]]:
        """URL -> (bytes, why there are none). What came before lies in DEST/fetched and is not asked for again."""
        found: dict[str, tuple[bytes, str | None]] = {}
        missing = []
        for url in dict.fromkeys(urls):
            place = self._place(url, wanted)
            if storage.exists(place):
                found[url] = (storage.read_bytes(place), None)
            else:
                missing.append(url)
        with tempfile.TemporaryDirectory(prefix="pairwright-") as folder:
            outcomes = fetch_all(missing, self._limits(wanted), Path(folder), lambda _: None, wanted) if missing else []
            for url, outcome in zip(missing, outcomes, strict=True):
                if outcome.status == SUCCESS and outcome.path is not None:
                    found[url] = (outcome.path.read_bytes(), None)
                    storage.write_bytes(self._place(url, wanted), found[url][0])
                else:
                    found[url] = (b"", f"{DOWNLOAD_FAILED}:{one_line(outcome.reason or 'unknown')}")
        return found

    def _place(self, url: str, wanted: Wanted) -> str:
        return storage.join(self.dest, FETCHED, sha256_text(f"{wanted.what} {url}"))

    def _limits(self, wanted: Wanted) -> FetchOptions:
        limits = {name: getattr(self.options, name) for name in FetchOptions.model_fields}
        return FetchOptions(**(limits | ({"max_bytes": self.options.max_page_bytes} if wanted is PAGE else {})))


def _rows_of(
    shop: _Shop, entry: Entry, fetched: dict[str, tuple[bytes, str | None]], keys: Keys
) -> Iterator[dict[str, Any]]:
    """A row a product of the page, or one that says why there is none."""
    first = keys.of_path(entry.path)
    address = storable(entry.url or entry.path)
    if entry.error is not None or entry.page is None:
        yield {"key": first, "origin": address, "group": address, "error": entry.error or "unread_page"}
        return
    for number, product in enumerate(entry.page.products):
        need = entry.needs[number]
        data, error = fetched[need] if need else _picture_here(shop, entry, product)
        suffix = image_suffix(data) or ""
        if error is None and not suffix:
            error = NOT_A_PICTURE if data else EMPTY_IMAGE
        if error is None and not (product.title or product.description):
            error = NO_TEXT
        yield {
            "key": keys.of_path(f"{entry.path}/{number}") if number else first,
            "media": [picture(suffix, data)] if suffix else [],
            "captions": _captions(product),
            "labels": _labels(entry.page, product, entry.url),
            "licence": storable(product.licence)[:300] or None,
            "author": product.author[:300] or None,
            "origin": storable(_joined(entry.url, product.url) or address),
            "group": address,
            "meta": _meta(entry, product),
            "text": product.title or product.description,
            "error": error,
        }


def _picture_here(shop: _Shop, entry: Entry, product: Product) -> tuple[bytes, str | None]:
    """The bytes of a product's picture that is in the folder or in the page itself, or why there are none."""
    if not product.images:
        return b"", NO_IMAGE
    path = shop.local(entry, product)
    if path is not None:
        return shop.folder.read(path)
    inline = re.match(r"data:image/[\w.+\-]+;base64,", product.images[0])
    if inline:
        try:
            return base64.b64decode(unquote(product.images[0][inline.end() :]), validate=False), None
        except (binascii.Error, ValueError):
            return b"", NOT_A_PICTURE
    return b"", MISSING_FILE


def _captions(product: Product) -> list[dict[str, Any]]:
    texts = (("title", product.title), ("description", product.description), ("alt", product.alt))
    lang = re.match(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$", product.lang)
    return [
        caption(text, source=source, lang=lang.group() if lang else None, producer=f"{product.markup} product")
        for source, text in texts
        if text
    ]


def _labels(page: Page, product: Product, url: str | None) -> list[tuple[str, str]]:
    shop = page.markup.first_meta("og:site_name") or (_host(url) if url else "")
    named = [*product.labels, ("markup", product.markup), ("shop", storable(shop.strip()))]
    named += [("broken_json_ld", storable(reason)) for reason in page.markup.broken[:1]]
    return [(name, value) for name, value in named if value]


def _meta(entry: Entry, product: Product) -> bytes:
    facts = {"page": entry.path, "url": entry.url, "images": list(product.images)}
    try:
        whole = as_json(facts | {"product": product.statement})
    except RecursionError:  # nested as deep as a parser just bears
        whole = b""
    return whole if 0 < len(whole) <= LONGEST_STATEMENT else as_json(facts | {"images": list(product.images)[:5]})


def _unread(problem: str | None) -> str | None:
    return f"{BAD_METADATA}:{problem}" if problem else None


def _joined(base: str | None, reference: str) -> str | None:
    """A reference as an absolute address, None where it is none."""
    try:
        found = urljoin(base or "", reference.strip())
        return found if urlsplit(found).netloc else None
    except ValueError:
        return None


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""
