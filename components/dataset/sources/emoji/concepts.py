"""Concepts: what an emoji stands for, its names in many languages, its keywords, its family.

    concepts = read_concepts(share, languages=("de", "ja"))       # of Debian's unicode-data and unicode-cldr-core

`emoji-test.txt` (Unicode UTS #51) says which code points are an emoji for the general public, in which group and
subgroup; CLDR's annotations say what it is called (`tts`, its short name) and by which keywords it is found. A
concept is a fully-qualified emoji without skin tone.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pairwright.components.errors import DatasetError

EMOJI_TEST = "unicode/emoji/emoji-test.txt"
CLDR = "unicode/cldr/common"
ANNOTATIONS = ("annotations", "annotationsDerived")  # the second is composed: flags, hair, occupations
NAMED_BY_CLDR, NAMED_BY_TEST = "unicode-cldr-core/tts", "unicode-data/emoji-test"
INHERITED = "↑↑↑"  # CLDR: as the parent language has it
STYLE_SELECTOR, JOINER = "\ufe0f", "\u200d"
TONES = frozenset(chr(code) for code in range(0x1F3FB, 0x1F400))
HAIR = frozenset("🦰🦱🦲🦳")
SIGNS = frozenset("♀♂")
# One motif in the sexes it is drawn in: each is a variant of the last.
SEXES = ("👨👩🧑", "👦👧🧒", "👴👵🧓", "🤴👸🫅", "🕺💃", "🤰🫃🫄", "🎅🤶")
NEUTRAL = {one: sexes[-1] for sexes in SEXES for one in sexes}
PEOPLE = frozenset("🧑🧒🧓")
COUPLES = {"💋": "💏", "❤": "💑", "🤝": "👭"}  # what stands between two people: how the whole is written
HOLDING_HANDS = frozenset("👫👬👭")
MX_CLAUS = f"🧑{JOINER}🎄"  # a variant of Santa Claus and of Mrs. Claus, written as an occupation
_LINE = re.compile(r"(?P<codes>[0-9A-F ]+?)\s*;\s*(?P<status>[a-z-]+)\s*#\s*\S+\s+E[\d.]+\s*(?P<name>.*)")


@dataclass(frozen=True)
class Concept:
    """One emoji.

    Attributes:
        text: its characters, without variation selectors.
        name: CLDR's English short name; emoji-test's where CLDR has none; "" where neither has.
        producer: who named it.
        group, subgroup: as emoji-test orders them, e.g. "Animals & Nature", "animal-bird".
        keywords: CLDR's English keywords, as they are.
        translations: (language tag, short name), in the order asked for.
        family: the same for variants by sex and hair, in characters.
    """

    text: str
    name: str
    producer: str
    group: str
    subgroup: str
    keywords: tuple[str, ...]
    translations: tuple[tuple[str, str], ...]
    family: str

    @property
    def code(self) -> str:
        """`1f469-200d-1f680`."""
        return code_of(self.text)


@dataclass(frozen=True)
class Annotations:
    """One language's short names and keywords by bare characters."""

    names: dict[str, str]
    keywords: dict[str, tuple[str, ...]]


def read_concepts(share: Path, languages: Sequence[str]) -> tuple[list[Concept], Counter[str]]:
    """Every concept, in emoji-test's order, and how many lines of it are none, by reason.

    Args:
        share: a `usr/share` that holds `unicode/emoji` and `unicode/cldr`.
        languages: of the translations, as CLDR names its files (`pt_PT`).

    Raises:
        DatasetError: a file is missing or cannot be read, or no such language is annotated.
    """
    english = read_annotations(share, "en")
    others = [(language.replace("_", "-"), read_annotations(share, language)) for language in languages]
    concepts, left_out = [], Counter[str]()
    for status, text, name, group, subgroup in _lines(share / EMOJI_TEST):
        if status != "fully-qualified":
            left_out[status] += 1
        elif TONES & set(text):
            left_out["skin tone"] += 1
        else:
            given = english.names.get(text, "")
            translations = ((tag, known.names[text]) for tag, known in others if text in known.names)
            concepts.append(
                Concept(
                    text,
                    given or name,
                    NAMED_BY_CLDR if given else NAMED_BY_TEST,
                    group,
                    subgroup,
                    english.keywords.get(text, ()),
                    tuple(translations),
                    family(text),
                )
            )
    return concepts, left_out


def read_annotations(share: Path, language: str) -> Annotations:
    """CLDR's annotations of a language, plain and derived; what is empty or inherited is not there.

    Raises:
        DatasetError: there is no such language, or a file cannot be read.
    """
    names: dict[str, str] = {}
    keywords: dict[str, tuple[str, ...]] = {}
    paths = [path for part in ANNOTATIONS if (path := share / CLDR / part / f"{language}.xml").is_file()]
    if not paths:
        raise DatasetError(f'{share / CLDR} has no annotations in "{language}"; name another language')
    for path in paths:
        try:
            root = ElementTree.parse(path).getroot()
        except (ElementTree.ParseError, OSError) as error:
            raise DatasetError(f"{path} cannot be read ({error}); unpack unicode-cldr-core again") from None
        for one in root.iter("annotation"):
            text, said = bare(one.get("cp", "")), (one.text or "").strip()
            if not said or said == INHERITED:
                continue
            if one.get("type") == "tts":
                names[text] = said
            else:
                keywords[text] = tuple(word.strip() for word in said.split("|") if word.strip())
    return Annotations(names, keywords)


def _lines(path: Path) -> Iterator[tuple[str, str, str, str, str]]:
    """(status, bare characters, name, group, subgroup) of each line of emoji-test.txt that lists an emoji."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read ({error}); unpack unicode-data again") from None
    group = subgroup = ""
    for line in lines:
        if line.startswith("# group:"):
            group = line.partition(":")[2].strip()
        elif line.startswith("# subgroup:"):
            subgroup = line.partition(":")[2].strip()
        elif listed := _LINE.match(line):
            yield listed["status"], characters(listed["codes"]), listed["name"].strip(), group, subgroup


def bare(text: str) -> str:
    """Characters without variation selectors, which sources write or leave out as they like."""
    return text.replace(STYLE_SELECTOR, "")


def characters(codes: str) -> str:
    """`1f469-200d-1f680` or `1F469 200D 1F680` -> the bare characters.

    Raises:
        ValueError: it names no code points.
    """
    return bare("".join(chr(int(code, 16)) for code in re.split(r"[-\s]+", codes.strip())))


def code_of(text: str) -> str:
    """The characters' code points, in hexadecimal, joined by hyphens."""
    return "-".join(f"{ord(one):x}" for one in text)


def family(text: str) -> str:
    """What variants of one motif share: its characters without sex, hair and skin; couples and families as one each."""
    toneless = "".join(one for one in bare(text) if one not in TONES)
    parts = [NEUTRAL.get(part, part) for part in toneless.split(JOINER) if part not in SIGNS | HAIR]
    if any(part in HOLDING_HANDS for part in parts):
        return COUPLES["🤝"]
    if sum(part in PEOPLE for part in parts) > 1:
        between = next((part for part in ("💋", "❤", "🤝") if part in parts), None)
        return COUPLES[between] if between else "👪"
    joined = JOINER.join(parts)
    return NEUTRAL["🎅"] if joined == MX_CLAUS else joined
