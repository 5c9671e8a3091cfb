"""From any foreign value to captions: the same value gives the same captions, whatever the source.

    captions_of(["a cat", {"de": "eine Katze"}])          two texts, the second in German
    record_captions({"caption_en": "a cat"})              the usual names of captions, by language too

A text is one caption, bytes are decoded, a list gives its captions in order, a mapping of language
codes gives `lang`. NaN, None, an empty text and what is no text (a truth value, an unknown object) give
none, so that nothing empty hides a caption that stands elsewhere.
"""

from __future__ import annotations

import datetime
import decimal
import functools
import math
import numbers
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pairwright.components.dataset.captions.text import REPLACED, decode_text, storable
from pairwright.components.dataset.shards.sidecar import caption

# Usual names of captions, the fullest first; compared by `plain_name`.
CAPTION_NAMES = (
    "captions",
    "caption",
    "texts",
    "text",
    "alt_texts",
    "alt_text",
    "alttext",
    "alt",
    "descriptions",
    "description",
    "sentences",
    "sentence",
    "translation",
    "prompt",
    "title",
    "comment",
    "raw",
)
LANGUAGE_NAMES = ("lang", "language", "languages", "locale")
# ISO 639-1; a code of three letters is taken for one of ISO 639-3, unless it is a usual name of something else.
TWO_LETTERS = frozenset(
    """
    aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en
    eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv
    ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne
    ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st
    su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
    """.split()  # noqa: SIM905
)
NOT_LANGUAGES = frozenset(("alt", "cls", "has", "ids", "img", "key", "md5", "raw", "sha", "src", "tag", "txt", "url"))
DEEPEST = 50
_LANGUAGE = re.compile(r"([A-Za-z]{2,3})((?:[-_][A-Za-z0-9]{2,8})*)")
_SAYABLE = (decimal.Decimal, datetime.date, datetime.time, uuid.UUID)


class CaptionText(NamedTuple):
    """One caption: its text, its language tag if it is known, and the encoding it was read by."""

    text: str
    lang: str | None = None
    encoding: str = "utf-8"


def captions_of(value: Any, lang: str | None = None) -> list[CaptionText]:
    """The captions in a value, in order; never raises."""
    try:
        return list(_captions(value, lang, DEEPEST))
    except (RecursionError, ValueError):  # a number of more digits than Python writes
        return []


def record_captions(record: Any, named: str | None = None) -> list[CaptionText]:
    """The captions of a record (a JSON object, a row): of the field `named`, else of the first usual name that has any.

    A name may carry a language (`caption_en`, `text-de`); then all its languages count. A record that is a
    list holds captions itself.
    """
    if isinstance(record, Sequence) and not isinstance(record, str | bytes):
        return captions_of(record)
    if not isinstance(record, Mapping):
        return []
    if named is not None:
        return captions_of(record.get(named))
    for names in _candidates(tuple(name for name in record if isinstance(name, str))):
        found = [
            text
            for name in names
            for text in captions_of(record[name], name_language(name))
            if not (name_language(name) and isinstance(record[name], numbers.Real))  # `caption_id` is no Indonesian
        ]
        if found:
            return found
    return []


def caption_fields(names: Iterable[str]) -> list[str]:
    """Those of a table's columns in which `record_captions` looks."""
    return [name for group in _candidates(tuple(dict.fromkeys(names))) for name in group]


@functools.lru_cache(maxsize=1024)
def name_language(name: str) -> str | None:
    """The language that a caption's name carries: `caption_pt_BR` is pt-BR."""
    plain = plain_name(name)
    base = next((one for one in CAPTION_NAMES if plain.startswith(one + "_") and plain not in CAPTION_NAMES), None)
    code = plain[len(base) + 1 :] if base else ""
    return language_tag(code) if re.match(r"[A-Za-z]{2}([-_]|$)", code) else None  # `text_ocr` is no language


def plain_name(name: str) -> str:
    """A field's name as it is compared: " Alt-Text" is alt_text."""
    return re.sub(r"[\s\-]+", "_", str(name).strip().casefold())


def language_tag(code: Any) -> str | None:
    """A language code as a BCP 47 tag (`pt_br` is pt-BR, `ZH-HANS` zh-Hans); None for what is none."""
    match = _LANGUAGE.fullmatch(code.strip()) if isinstance(code, str) else None
    if match is None:
        return None
    base = match[1].lower()
    if base not in TWO_LETTERS if len(base) == 2 else base in NOT_LANGUAGES:
        return None
    parts = [part for part in re.split(r"[-_]", match[2]) if part]
    shaped = [part.upper() if len(part) == 2 else part.title() if len(part) == 4 else part.lower() for part in parts]
    return "-".join([base, *shaped])


def alt_entries(texts: Iterable[CaptionText], producer: str | None = None) -> list[dict[str, Any]]:
    """Captions as entries of a sidecar row: source `alt`, numbered in order."""
    return [caption(text.text, ordinal=number, lang=text.lang, producer=producer) for number, text in enumerate(texts)]


def encoding_labels(texts: Iterable[CaptionText]) -> list[tuple[str, str]]:
    """The label of a row whose captions were not plain UTF-8: how they were read.

    U+FFFD stands in a text only where something could not be read, here or by who wrote the file.
    """
    read = {REPLACED if "\ufffd" in text.text else text.encoding for text in texts}
    return [("caption_encoding", encoding) for encoding in sorted(read - {"utf-8", "utf-8-sig"})]


@functools.lru_cache(maxsize=1024)  # the records of a table have the same fields
def _candidates(names: tuple[str, ...]) -> list[list[str]]:
    """Groups of a record's fields that may hold captions, the likeliest first."""
    plain = {name: plain_name(name) for name in names}
    exact = [[name for name in plain if plain[name] == wanted] for wanted in CAPTION_NAMES]
    languages = [
        [name for name in plain if plain[name].startswith(wanted + "_") and name_language(name)]
        for wanted in CAPTION_NAMES
    ]
    return [group for group in exact + languages if group]


def _captions(value: Any, lang: str | None, depth: int) -> Iterable[CaptionText]:
    if not isinstance(value, str):
        value = _plain(value)
    if depth == 0 or value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        if value.strip():
            yield CaptionText(storable(value), lang)
    elif isinstance(value, bytes | bytearray | memoryview):
        text, encoding = decode_text(bytes(value))
        if text.strip():
            yield CaptionText(storable(text), lang, encoding)
    elif isinstance(value, numbers.Real):
        if isinstance(value, int) or math.isfinite(value):
            yield CaptionText(str(value), lang)
    elif isinstance(value, _SAYABLE):
        if str(value) not in ("NaT", "NaN", "sNaN"):
            yield CaptionText(str(value), lang)
    elif isinstance(value, Mapping):
        yield from _of_mapping(value, lang, depth)
    elif isinstance(value, Sequence | set | frozenset):
        yield from _of_sequence(value, lang, depth)


def _plain(value: Any) -> Any:
    """numpy's, pandas' and Arrow's values as Python's own."""
    for method in ("as_py", "tolist", "item"):
        convert = getattr(value, method, None)
        if convert is not None and not isinstance(value, bytes | bytearray | memoryview | Mapping):
            try:
                return convert()
            except Exception:  # a value of another library's that does not even convert is no caption
                return None
    return value


def _of_sequence(value: Iterable[Any], lang: str | None, depth: int) -> Iterable[CaptionText]:
    items = sorted(value, key=repr) if isinstance(value, set | frozenset) else list(value)
    # Arrow gives a map as pairs; a list of languages beside texts is no such thing, for JSON has no tuples.
    if items and all(isinstance(one, tuple) and len(one) == 2 and language_tag(one[0]) for one in items):
        for code, inner in items:
            yield from _captions(inner, language_tag(code), depth - 1)
        return
    for one in items:
        yield from _captions(one, lang, depth - 1)


def _of_mapping(value: Mapping[Any, Any], lang: str | None, depth: int) -> Iterable[CaptionText]:
    plain = {plain_name(name): inner for name, inner in value.items() if isinstance(name, str)}
    texts = next((plain[name] for name in CAPTION_NAMES if plain.get(name) is not None), None)
    if texts is not None:
        said = next((plain[name] for name in LANGUAGE_NAMES if plain.get(name) is not None), None)
        if isinstance(said, list) and isinstance(texts, list) and len(said) == len(texts):
            for code, inner in zip(said, texts, strict=True):
                yield from _captions(inner, language_tag(code) or lang, depth - 1)
        else:
            yield from _captions(texts, language_tag(said) or lang, depth - 1)
    elif value and all(language_tag(code) for code in value):
        for code, inner in value.items():
            yield from _captions(inner, language_tag(code), depth - 1)
