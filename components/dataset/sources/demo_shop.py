"""A made shop: product pages written from the demo corpus's own pictures and captions, with planted defects.

    pairwright ingest demo-shop data/raw build/demo-shop

No shop's pages may be shipped, so these are written: a page a stamp, its real picture and its real
caption as the description, in every form of markup that shops use. Some pages get one defect each, drawn
by a hash of the stamp's key; DEST/pages/truth.json names them, and nothing in a page does. Nobody sells these
things: the shop's name says that it is made. DEST holds the dataset that `product-pages` reads from them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from pairwright.components.dataset.dataset import Dataset, open_dataset
from pairwright.components.dataset.pairs import caption_of
from pairwright.components.dataset.shards.storage import is_remote
from pairwright.components.dataset.sources.product_pages import ProductPagesOptions, read_product_pages
from pairwright.components.dataset.sources.source import CopyingOptions, Progress
from pairwright.components.errors import DatasetError

SHOP = "Made shop of Pairwright's demo corpus"
ADDRESS = "https://made-shop.example"
TRUTH, PAGES = "truth.json", "pages"
PREFIX = "stamp-"
TELLING = 4  # words from which a caption's language can be told at all
LEFT_OUT = ("symbols",)  # letters and coins are no products
LANGUAGES = ("de", "fr", "es", "ru", "pl")
BOILERPLATE = (
    "Free shipping on all orders over $50. 30-day returns. Add to cart!",
    "Buy now! Limited time offer, up to 50% off. Only 3 left in stock.",
    "See product description. SKU: 4711-09. Customer reviews (12).",
)
# Defect -> the reason that must be found for it: an error of the page, or a rule of lets_go_shopping.
DEFECTS: dict[str, str] = {
    "page_without_image": "no_image",
    "page_without_product": "no_product",
    "broken_markup": "broken_json_ld",
    "boilerplate": "clean_text",
    "keywords": "fluent",
    "no_information": "informative",
    "other_language": "english",
    "same_picture": "unique_picture",
    "resized_picture": "no_near_duplicate",
    "clutter": "clean_picture",
}


class DemoShopOptions(CopyingOptions):
    defect_share: float = Field(0.3, ge=0, lt=1, description="of the pages, how many get a defect")
    seed: int = Field(0, ge=0, description="of the defects planted")


@dataclass(frozen=True)
class Stamp:
    """What a page is written from."""

    key: str
    title: str
    text: str
    translation: str | None
    category: str
    licence: str
    author: str
    suffix: str
    data: bytes


def read_demo_shop(source: str, dest: str, options: DemoShopOptions, progress: Progress) -> Dataset:
    """Write the pages under `dest`/pages and read them as any shop's.

    Raises:
        DatasetError: the source holds no stamps, or `dest` is remote.
    """
    if is_remote(dest):
        raise DatasetError(f"{dest} is remote; make the shop in a local folder and export it")
    folder = Path(dest) / PAGES
    write_shop(open_dataset(source), folder, options)
    read = ProductPagesOptions(
        name=options.name or "demo-shop",
        description=options.description or "Pages made from the stamps of the demo corpus, defects planted",
        licence=options.licence or "GPL-2.0-only",
        pairs_per_shard=options.pairs_per_shard,
    )
    return read_product_pages(str(folder), dest, read, progress)


def write_shop(dataset: Dataset, folder: Path, options: DemoShopOptions) -> dict[str, str]:
    """Write a page and a picture for each stamp, and truth.json; returns page name -> defect ("" for none)."""
    stamps = list(stamps_of(dataset))
    if not stamps:
        raise DatasetError(f"{dataset.name} holds no stamps; name the demo corpus, data/raw")
    (folder / "img").mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("*.html"), *(folder / "img").iterdir()):
        old.unlink()
    truth = {}
    for number, stamp in enumerate(stamps):
        defect = _defect(stamp, options)
        if defect == "other_language" and stamp.translation is None:
            defect = ""
        name = f"p{number:04d}"
        _write_page(folder, name, stamp, defect, stamps, options.seed)
        truth[name] = defect
        if defect in ("same_picture", "resized_picture"):  # the copy stands beside the page it repeats
            _write_page(folder, f"{name}-original", stamp, "", stamps, options.seed)
            truth[f"{name}-original"] = ""
    (folder / TRUTH).write_text(json.dumps(truth, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return truth


def stamps_of(dataset: Dataset) -> Iterator[Stamp]:
    """The corpus's stamps that could be products, in its order."""
    for shard, table in dataset.iter_sidecars():
        for row in table.to_pylist():
            labels = {label["name"]: label["value"] for label in row["labels"]}
            text = caption_of(row["captions"], "alt")
            category = labels.get("category", "")
            if not row["key"].startswith(PREFIX) or category in LEFT_OUT or not text or row["error"]:
                continue
            medium = row["media"][0]
            translations = (caption_of(row["captions"], f"translation@{lang}") for lang in LANGUAGES)
            yield Stamp(
                key=row["key"],
                title=" ".join(row["key"].rpartition("-")[2].split("_")).capitalize(),
                text=text,
                translation=next((one for one in translations if one and len(one.split()) >= TELLING), None),
                category=category,
                licence=row["licence"] or "",
                author=row["author"] or "",
                suffix=medium["member"].rpartition(".")[2],
                data=shard.read_member(medium),
            )


def _draw(stamp: Stamp, seed: int, what: str) -> int:
    """A number that depends on nothing but the stamp, the seed and what is drawn."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{what}/{stamp.key}".encode()).digest()[:6], "big")


def _defect(stamp: Stamp, options: DemoShopOptions) -> str:
    if _draw(stamp, options.seed, "whether") / (1 << 48) >= options.defect_share:
        return ""
    return list(DEFECTS)[_draw(stamp, options.seed, "which") % len(DEFECTS)]


def _write_page(folder: Path, name: str, stamp: Stamp, defect: str, stamps: list[Stamp], seed: int) -> None:
    data, suffix = stamp.data, stamp.suffix
    if defect == "resized_picture":
        data, suffix = _jpeg(_smaller(_picture(stamp.data))), "jpg"
    elif defect == "clutter":
        others = [stamps[_draw(stamp, seed, f"other {n}") % len(stamps)] for n in range(14)]
        data, suffix = _jpeg(_collage([_picture(one.data) for one in others], _draw(stamp, seed, "collage"))), "jpg"
    image = f"img/{name}.{suffix}"
    (folder / image).write_bytes(data)
    facts = _facts(name, stamp, defect, "" if defect == "page_without_image" else image, seed)
    (folder / f"{name}.html").write_text(_page(facts, defect, _draw(stamp, seed, "form")), encoding="utf-8")


def _facts(name: str, stamp: Stamp, defect: str, image: str, seed: int) -> dict[str, str]:
    """What the page states."""
    description = stamp.text
    if defect == "boilerplate":
        description = BOILERPLATE[_draw(stamp, seed, "boilerplate") % len(BOILERPLATE)]
    elif defect == "keywords":
        words = stamp.key.removeprefix(PREFIX).replace("_", "-").split("-")
        description = " ".join([*words, "sticker", "gift", "kids", "craft", "decor", *words[::-1]])
    elif defect == "no_information":
        description = "Nice."
    elif defect == "other_language":
        description = stamp.translation or ""
    return {
        "url": f"{ADDRESS}/{name}",
        "title": stamp.title,
        "description": description,
        "image": image,
        "category": stamp.category,
        "licence": stamp.licence,
        "author": stamp.author,
    }


def _page(facts: dict[str, str], defect: str, form: int) -> str:
    """A page in one of the forms in which shops state products."""
    writer = FORMS[form % len(FORMS)]
    body = _microdata if writer is _microdata else None
    head = "" if body else writer(facts)
    if defect == "broken_markup":
        head, body = '<script type="application/ld+json">{"@type": "Product", "name": "half a pro', None
    elif defect == "page_without_product":
        head, body = "", None
    inner = body(facts) if body else f"<h1>{escape(facts['title'])}</h1>"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(facts["title"])}</title>\n'
        f'<link rel="canonical" href="{facts["url"]}"><link rel="license" href="{escape(facts["licence"])}">\n'
        f'<meta property="og:site_name" content="{escape(SHOP)}">\n{head}</head>\n<body>{inner}</body></html>\n'
    )


def _node(facts: dict[str, str], image: Any) -> dict[str, Any]:
    named = {"@type": "Product", "name": facts["title"], "description": facts["description"]}
    return named | {"category": facts["category"]} | ({"image": image} if facts["image"] else {})


def _script(value: dict[str, Any]) -> str:
    text = json.dumps({"@context": "https://schema.org"} | value).replace("</", r"<\/")
    return f'<script type="application/ld+json">{text}</script>\n'


def _json_ld(facts: dict[str, str]) -> str:
    return _script(_node(facts, [facts["image"]]))


def _graph(facts: dict[str, str]) -> str:
    picture = {"@type": "ImageObject", "@id": "#image", "contentUrl": facts["image"], "creditText": facts["author"]}
    return _script({"@graph": [{"@type": "WebPage"}, _node(facts, {"@id": "#image"}), picture]})


def _opengraph(facts: dict[str, str]) -> str:
    stated = {"type": "product", "title": facts["title"], "description": facts["description"], "image": facts["image"]}
    tags = "".join(f'<meta property="og:{name}" content="{escape(value)}">\n' for name, value in stated.items())
    return tags + f'<meta property="product:category" content="{escape(facts["category"])}">\n'


def _microdata(facts: dict[str, str]) -> str:
    picture = f'<img itemprop="image" src="{escape(facts["image"])}">' if facts["image"] else ""
    return (
        f'<div itemscope itemtype="https://schema.org/Product"><h1 itemprop="name">{escape(facts["title"])}</h1>'
        f'{picture}<meta itemprop="category" content="{escape(facts["category"])}">'
        f'<p itemprop="description">{escape(facts["description"])}</div>'
    )


FORMS: tuple[Callable[[dict[str, str]], str], ...] = (_json_ld, _graph, _opengraph, _microdata)


def _picture(data: bytes) -> np.ndarray:
    """(h, w, 3) BGR uint8, on white."""
    import cv2

    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None, "a picture of the demo corpus does not decode"
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if image.shape[2] == 4:
        alpha = image[..., 3:].astype(np.float32) / 255
        image = (image[..., :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
    return image


def _smaller(image: np.ndarray) -> np.ndarray:
    import cv2

    height, width = image.shape[:2]
    size = (max(width * 7 // 10, 16), max(height * 7 // 10, 16))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def _collage(images: list[np.ndarray], seed: int) -> np.ndarray:
    """Many pictures strewn over a ground of coloured patches: what a web picture looks like beside a shop's."""
    import cv2

    random = np.random.default_rng(seed)
    canvas = cv2.resize(random.integers(0, 256, (7, 7, 3), dtype=np.uint8), (200, 200), interpolation=cv2.INTER_NEAREST)
    for image in images:
        side = int(random.integers(50, 90))
        top, left = (int(one) for one in random.integers(0, 200 - side, 2))
        canvas[top : top + side, left : left + side] = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(canvas)


def _jpeg(image: np.ndarray) -> bytes:
    import cv2

    done, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])
    assert done, "OpenCV cannot write a JPEG"
    return bytes(coded.tobytes())
