"""What shops write beside every product: terms of sale, calls to buy, and labels of their systems.

    score: {text: {uses: caption_text, with: {source: description, shop: true}}}

"Free shipping on orders over $50. Add to cart!" describes no picture. `caption_text` counts these
phrases with the web's own boilerplate where its `shop` setting says so: a clip-art titled "Sale" is a
caption, a product's title "Sale" is not.
"""

from __future__ import annotations

import re

_MONEY = r"(?:[$€£¥₹]\s?\d[\d.,]*|\d[\d.,]*\s?(?:[$€£¥]|usd|eur|gbp|dollars?|euros?|pounds?)\b)"
_TIME = r"(?:business |working )?(?:days?|hours?|weeks?)"
SHOP_BOILERPLATE: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "delivery",
        re.compile(
            r"\b(?:free|fast|express|worldwide|international|standard|same[- ]day|next[- ]day)\s+"
            r"(?:(?:us|uk|eu|and|&|worldwide|international)\s+){0,3}(?:shipping|delivery|returns?|postage)"
            rf"(?:\s+(?:on|for|over|with)\s+(?:all\s+)?(?:orders?|purchases?)?(?:\s*(?:over|above|of)\s*)?(?:{_MONEY})?)?"
            rf"|\b(?:ships?|shipped|dispatched|delivered|arrives?)\s+(?:in|within|from)\s+(?:\d+\s*(?:-|to)?\s*\d*\s*{_TIME}|\w+)"
            rf"|\b\d+[- ]days?\s+(?:returns?|money[- ]back(?: guarantee)?|guarantee|warranty|refunds?)",
            re.I,
        ),
    ),
    (
        "offer",
        re.compile(
            r"\b(?:up to\s+)?\d{1,3}\s?%\s*(?:off|discount|sale)\b|\b(?:on\s+)?(?:clearance|final)?\s*sale\b"
            r"|\b(?:limited(?:[- ]time)?|special|best|great|hot)\s+(?:offers?|deals?|edition offer|price|prices)\b"
            r"|\b(?:lowest|best)\s+prices?(?:\s+guaranteed?)?\b|\bwhile (?:stocks?|supplies) lasts?\b"
            rf"|\bbuy (?:one|\d+),? get (?:one|\d+)(?: free)?\b|{_MONEY}|\b(?:rrp|msrp|was|now|only|from)\s+{_MONEY}",
            re.I,
        ),
    ),
    (
        "call",
        re.compile(
            r"\b(?:buy|shop|order|add|get|grab)\s+(?:it\s+|yours\s+|them\s+)?(?:now|today|here|online|to (?:your )?"
            r"(?:cart|bag|basket|wish ?list))\b"
            r"|\b(?:learn|read|view|see|show)\s+(?:more|details|all|product description)\b"
            r"|\b(?:sign up|subscribe)(?: (?:now|today|for \w+ \w+))?\b|\bcheck ?out\b|\bsee description\b",
            re.I,
        ),
    ),
    (
        "stock",
        re.compile(
            r"\b(?:(?:currently|temporarily)\s+)?"
            r"(?:in stock|out of stock|sold out|unavailable|back ?order(?:ed)?|pre-?order)\b"
            r"|\b(?:only\s+)?\d+\s+left(?: in stock)?\b"
            r"|\b(?:brand\s+)?new (?:arrivals?|in|with tags)\b|\bbest ?sellers?\b",
            re.I,
        ),
    ),
    (
        "label",
        re.compile(
            r"\b(?:sku|upc|ean|mpn|asin|isbn|item|model|style|product)\s*(?:no\.?|number|code|id|#)?\s*[:#]\s*[\w\-]*\d[\w\-]*"
            r"|\b(?:product|item)\s+(?:description|details?|information|image|photo|name|title|page)\b:?"
            r"|\b(?:customer\s+)?reviews?\b(?:\s*\(\d+\))?|\b\d(?:\.\d)?\s*(?:out of 5\s*)?stars?\b|\bgift cards?\b"
            r"|\b(?:official (?:site|store|shop)|online (?:store|shop)|100% (?:authentic|genuine|satisfaction))\b",
            re.I,
        ),
    ),
)
