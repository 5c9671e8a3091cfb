"""The page reader: the exact triple from every way shops write it, and never an exception."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pairwright.components.dataset.sources.product_markup import decode_page, read_markup
from pairwright.components.dataset.sources.product_page import BROKEN_JSON_LD, NO_PRODUCT, plain_text, read_products

TRIPLE = (("https://shop.example/img/mug.jpg",), "Red mug", "A red mug with a white handle.")
MUG = {"@type": "Product", "name": TRIPLE[1], "description": TRIPLE[2], "image": TRIPLE[0][0]}


def ld(*values: object, head: str = "", body: str = "") -> str:
    blocks = "".join(f'<script type="application/ld+json">{json.dumps(value)}</script>' for value in values)
    return f"<!doctype html><html lang=en><head>{head}{blocks}</head><body>{body}</body></html>"


def triple(html: str, number: int = 0) -> tuple:
    product = read_products(html).products[number]
    return product.images, product.title, product.description


@pytest.mark.parametrize(
    "value",
    [
        MUG,
        [MUG],
        {"@context": "https://schema.org", "@graph": [{"@type": "WebSite", "name": "Shop"}, MUG]},
        MUG | {"@type": "http://schema.org/Product"},
        MUG | {"@type": ["schema:Product", "Thing"]},
        MUG | {"image": [MUG["image"]]},
        MUG | {"image": {"@type": "ImageObject", "url": MUG["image"]}},
        MUG | {"image": [{"@type": "ImageObject", "contentUrl": MUG["image"]}]},
        MUG | {"image": {"@type": "ImageObject", "url": {"@id": "x", "url": MUG["image"]}}},
        [MUG | {"image": {"@id": "#pic"}}, {"@type": "ImageObject", "@id": "#pic", "url": MUG["image"]}],
        {"@type": "WebPage", "mainEntity": MUG},
        {"@type": "ItemList", "itemListElement": [{"@type": "ListItem", "item": MUG}]},
        {"@type": "Offer", "price": "9.99", "itemOffered": MUG},
        {k: v for k, v in MUG.items() if k != "image"} | {"offers": {"@type": "Offer", "image": MUG["image"]}},
        {k: v for k, v in MUG.items() if k != "image"}
        | {"offers": {"@type": "AggregateOffer", "offers": [{"@type": "Offer", "image": [MUG["image"]]}]}},
        MUG | {"name": {"@value": "Red mug", "@language": "en"}},
        MUG | {"name": "  Red\n mug ", "description": "<p>A red mug</p><p>with a white handle.</p>"},
        MUG | {"description": "A &lt;b&gt;red&lt;/b&gt; mug with a white&amp;nbsp;handle."},
        MUG | {"isRelatedTo": {"@type": "Product", "name": "Other", "image": "other.jpg"}},
    ],
)
def test_json_ld_gives_the_exact_triple_however_it_is_nested(value: object) -> None:
    page = read_products(ld(value))
    assert len(page.products) == 1
    assert triple(ld(value)) == TRIPLE
    assert page.products[0].markup == "json-ld"
    assert page.reason is None


def test_microdata_gives_the_exact_triple_with_nested_items_and_unclosed_elements() -> None:
    html = """<div itemscope itemtype="https://schema.org/Product">
      <ul><li>unclosed<li>list</ul>
      <h1 itemprop="name">Red <b>mug</b></h1>
      <img itemprop="image" src="https://shop.example/img/mug.jpg" alt="The mug from its left">
      <div itemprop="brand" itemscope itemtype="https://schema.org/Brand">
        <span itemprop="name">Potter &amp; Sons</span></div>
      <div itemprop="offers" itemscope itemtype="https://schema.org/Offer">
        <meta itemprop="price" content="9.99"><span itemprop="name">not the product's name</span></div>
      <p itemprop="description">A red mug
         with a white handle.
    </div>"""
    page = read_products(html)
    assert triple(html) == TRIPLE
    assert page.products[0].markup == "microdata"
    assert page.products[0].alt == "The mug from its left"
    assert ("brand", "Potter & Sons") in page.products[0].labels


def test_opengraph_is_read_where_it_says_product_and_only_there() -> None:
    tags = (
        '<meta property="og:title" content="Red mug"><meta property="og:image" content="https://shop.example/img/mug.jpg">'
        '<meta property="og:description" content="A red mug with a white handle.">'
    )
    html = f'<head><meta property="og:type" content="product">{tags}</head>'
    assert triple(html) == TRIPLE
    assert read_products(html).products[0].markup == "opengraph"
    assert triple(f'<head><meta property="product:price:amount" content="9">{tags}</head>') == TRIPLE
    article = read_products(f'<head><meta property="og:type" content="article">{tags}</head>')
    assert (article.products, article.reason) == ((), NO_PRODUCT)


def test_broken_json_ld_falls_back_and_says_so_and_without_a_fallback_is_the_reason() -> None:
    broken = '<script type="application/ld+json">{"@type": "Product", "name": "Red mug", }</script>'
    tags = '<meta property="og:type" content="product"><meta property="og:title" content="Red mug">'
    fallen = read_products(broken + tags)
    assert [p.title for p in fallen.products] == ["Red mug"]
    assert fallen.markup.broken
    page = read_products(broken)
    assert page.products == ()
    assert page.reason is not None
    assert page.reason.startswith(f"{BROKEN_JSON_LD}:")
    assert "line 1" in page.reason


@pytest.mark.parametrize(
    "block",
    [
        "<!-- {} -->",
        "//<![CDATA[\n{}\n//]]>",
        "/*<![CDATA[*/ {} /*]]>*/",
        "{};",
        "\n\n{}\n",
    ],
)
def test_wrappers_around_json_are_forgiven(block: str) -> None:
    text = block.replace("{}", json.dumps(MUG))
    assert triple(f'<script type="application/ld+json; charset=utf-8">{text}</script>') == TRIPLE


def test_control_characters_in_a_string_and_a_block_never_closed_are_forgiven() -> None:
    raw = json.dumps(MUG).replace("A red mug with", "A red mug\nwith")
    assert triple(f'<script type="application/ld+json">{raw}') == TRIPLE


def test_one_broken_block_does_not_cost_the_good_one_beside_it() -> None:
    assert triple('<script type="application/ld+json">{oops</script>' + ld(MUG)) == TRIPLE


def test_what_is_stated_beside_the_triple_is_kept() -> None:
    node = MUG | {
        "brand": {"@type": "Brand", "name": "Potter"},
        "category": ["Kitchen > Mugs", "x"],
        "color": "red",
        "image": {"@type": "ImageObject", "url": MUG["image"], "caption": "Mug, left side", "license": "https://cc.example/by",
                  "creditText": "A. Potter"},
        "url": "/p/mug",
    }  # fmt: skip
    html = ld(node, head='<link rel="canonical" href="https://shop.example/p/mug?x=1">')
    page = read_products(html)
    product = page.products[0]
    assert dict(product.labels) == {"brand": "Potter", "category": "Kitchen > Mugs", "colour": "red"}
    assert (product.alt, product.licence, product.author, product.url, product.lang) == (
        "Mug, left side", "https://cc.example/by", "A. Potter", "/p/mug", "en",
    )  # fmt: skip
    assert page.url == "https://shop.example/p/mug?x=1"
    bare = read_products(ld(MUG, head='<link rel="license" href="https://cc.example/0">')).products[0]
    assert bare.licence == "https://cc.example/0"


def test_variants_are_products_of_their_own_that_inherit_what_the_group_states() -> None:
    group = MUG | {
        "@type": "ProductGroup",
        "hasVariant": [
            {"@type": "Product", "name": "Red mug, small"},
            {"@type": "Product", "name": "Blue mug", "image": "blue.jpg", "description": "A blue mug."},
        ],
    }
    page = read_products(ld(group))
    assert [(p.images, p.title, p.description) for p in page.products] == [
        (TRIPLE[0], "Red mug, small", TRIPLE[2]),
        (("blue.jpg",), "Blue mug", "A blue mug."),
    ]


def test_a_product_stated_twice_is_one_and_two_of_one_name_with_other_pictures_are_two() -> None:
    short = {k: v for k, v in MUG.items() if k != "description"}
    assert len(read_products(ld(short, MUG)).products) == 1
    assert triple(ld(short, MUG)) == TRIPLE
    assert len(read_products(ld(MUG, MUG | {"image": "other.jpg"})).products) == 2


def test_a_products_picture_takes_the_alternative_text_of_its_own_img_alone() -> None:
    body = '<img src="/i/logo.png" alt="Shop"><img src="/cache/mug.jpg?w=200" alt="A mug, seen from above">'
    assert read_products(ld(MUG, body=body)).products[0].alt == "A mug, seen from above"
    assert read_products(ld(MUG, body='<img src="/i/logo.png" alt="Shop">')).products[0].alt == ""


def test_plain_text_keeps_what_only_looks_like_markup() -> None:
    for text in ("5 < 6 & 7 > 3", "AT&T", "a <3 b", "R&D; x"):
        assert plain_text(text) == text
    assert plain_text("caf&eacute;<br/>au&#32;lait") == "café au lait"


def test_a_page_is_decoded_by_the_charset_it_names() -> None:
    page = '<meta charset="iso-8859-1"><title>Café</title>'
    assert "Café" in decode_page(page.encode("latin-1"))
    assert "Café" in decode_page(page.replace("iso-8859-1", "nonsense").encode())
    assert "Café" in decode_page(b"\xff\xfe" + page.encode("utf-16-le"))
    assert "Caf\ufffd" in decode_page("<title>Café</title>".encode("latin-1"))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20) | st.sampled_from(["Product", "@id", "#a", "x.jpg"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["@type", "@id", "@graph", "name", "image", "url", "offers", "hasVariant", "description"]),
        inner,
        max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(JSON)
@example({"@type": "Product", "image": {"@id": "#a"}, "@id": "#a"})
@example([{"@id": "#a", "image": {"@id": "#b"}}, {"@id": "#b", "image": {"@id": "#a"}, "@type": "Product"}])
def test_any_json_is_read_without_an_exception_and_every_page_has_a_product_or_a_reason(value: object) -> None:
    page = read_products(ld(value))
    assert bool(page.products) != bool(page.reason)
    for product in page.products:
        assert all(isinstance(image, str) and image for image in product.images)
        for text in (product.title, product.description, product.alt, product.licence, product.author, product.url):
            assert isinstance(text, str)


PIECES = st.sampled_from(
    ["<", ">", "</", "<!", "<![", "<![CDATA[", "]]>", "<!--", "-->", "<?", "</script>",
     "<script type=application/ld+json>",
     "<script/>", '{"@type":"Product","name":"', '"}', "<div itemscope itemtype=Product>", "<b itemprop=name>",
     "<img itemprop=image src=", "</div>", "<meta property=og:type content=product>", "<title>", "<![if IE]>", "&#0;",
     "&#xD800;", "\x00", "\ud800", "&amp;", " ", "a"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES | st.text(max_size=8), max_size=30).map("".join))
@example("<![if")
@example("<![%x[")
@example('<a href="<![')
def test_any_text_is_read_without_an_exception(html: str) -> None:
    page = read_products(html)
    assert bool(page.products) != bool(page.reason)
    read_products(decode_page(html.encode("utf-8", "surrogatepass")))


@given(st.binary(max_size=300))
def test_any_bytes_are_decoded(data: bytes) -> None:
    decode_page(data).encode()


@pytest.mark.parametrize(
    "html",
    [
        '<script type="application/ld+json">' + "[" * 100_000,
        '<script type="application/ld+json">' + '{"a":' * 900 + "1" + "}" * 900 + "</script>",
        "<div itemscope itemprop=x>" * 20_000,
        "<b itemprop=name>a" * 20_000,
        "<![" * 20_000,
        "<p " + "a=1 " * 50_000 + ">",
        '<script type="application/ld+json">' + json.dumps(MUG | {"description": "<" * 100_000}) + "</script>",
    ],
)
def test_hostile_pages_are_read_in_seconds(html: str) -> None:
    start = time.perf_counter()
    page = read_products(html)
    assert bool(page.products) != bool(page.reason)
    assert time.perf_counter() - start < 5


def test_the_markup_keeps_who_saved_the_page_from_where() -> None:
    markup = read_markup("<!-- saved from url=(0030)https://shop.example/p/mug.html -->")
    assert markup.saved_from == "https://shop.example/p/mug.html"
