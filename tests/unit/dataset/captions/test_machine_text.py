"""What a program left in a caption's place is known by the whole text, and a sentence never is."""

from __future__ import annotations

import hashlib
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairwright.components.dataset.captions.machine_text import machine_text
from pairwright.components.filter.scorers.caption_text import boilerplate_kind
from pairwright.components.preference.candidates import candidates_of

OBJECTS = [
    *("HASH(0x86a0bb0)", "hash(0x86a0bb0)", "ARRAY(0x1e4c2a8)", "My::Class=HASH(0x1e4c2a8)", "CODE(0x55d0c8a3f1b8)"),
    *("<object object at 0x7fe9be8184a0>", "<function <lambda> at 0x7fe9be8184a0>", "<class 'NoneType'>"),
    *("<built-in function len>", "<built-in method join of str object at 0x7fe9bf0a>"),
    *("[object Object]", "[object HTMLImageElement]", "object(stdClass)#3 (0) {", "com.example.Picture@1b28cdfa"),
    *("[Ljava.lang.String;@1b28cdfa", "#<Picture:0x00007f8b1c0a2d10>", "System.String[]", "undefined", "NaN", "{}"),
]
TEMPLATES = ["{{ title }}", "${caption}", "<%= alt %>", "%s", "%(title)s", "%%TITLE%%", "<!-- no alt -->", "&nbsp;"]
TEMPLATES += ["Lorem ipsum dolor sit amet", '<a href="x"></a>', "[[caption]]"]
COUNTERS = ["IMG_1234", "img 12", "DSC01234.JPG", "_DSC0042", "P1010101", "IMG-20200101-WA0001", "Untitled-1"]
COUNTERS += ["untitled 3", "Screenshot 2020-01-02 at 10.11.12", "image (3)", "Slide 4", "layer1", "New Document 3"]
COUNTERS += ["20200101_123456", "2004-08-25 23:29:46", "PXL_20210203_101112345.MP", "thumbnail_12", "path4711"]
PEOPLE = [
    *("a red bus", "Route 66", "M16", "AK47", "cake1", "Tasto 5", "horse#1", "8ball", "g8", "p2p", "MD5", "Nan"),
    *("bus_stop_02", "Francesco Rollandin", "deadbeef", "decade", "A face", "Facade", "an MD5 sum: 9e107d9d372bb682"),
    *("Ice Cream Cone (4 Scoop)", "a <b>bold</b> letter", "Boeing 747-400", "f(x) = 2x", "50% of a circle", ":)"),
    *("Part of the Flat Icon Collection (Wed Aug 25 23:29:46 2004)", "number 7", "1984", "WD-40", "image of a cat"),
    *(
        "a page of a book",
        "untitled drawing of a cat 3",
        "Photo of 2 dogs",
        "赤いバスが橋の上にある",
        "the default gateway",
    ),
]


@pytest.mark.parametrize(
    ("kind", "text"),
    [("object", t) for t in OBJECTS] + [("template", t) for t in TEMPLATES] + [("counter", t) for t in COUNTERS],
)
def test_what_a_program_left_is_named_by_its_kind(kind: str, text: str) -> None:
    assert machine_text(text) == machine_text(f'  "{text}"\n') == kind


@pytest.mark.parametrize("text", ["", " ", *PEOPLE])
def test_what_a_person_wrote_is_none(text: str) -> None:
    assert machine_text(text) is None


@given(st.uuids(), st.binary(max_size=8), st.sampled_from(["md5", "sha1", "sha256", "blake2b"]))
def test_identifiers_of_any_value(one: uuid.UUID, data: bytes, algorithm: str) -> None:
    digest = hashlib.new(algorithm, data).hexdigest()
    for text in (str(one), f"{{{one}}}", str(one).upper(), digest, digest.upper(), f"{digest}.jpg"):
        assert machine_text(text) == "identifier"
        assert machine_text(f"a red bus beside {text} on a bridge") is None


@given(st.integers(0x1000, 2**47), st.sampled_from(["HASH", "SCALAR", "GLOB", "Foo::Bar=ARRAY"]), st.integers(0, 99999))
def test_addresses_and_counters_of_any_value(address: int, kind: str, count: int) -> None:
    assert machine_text(f"{kind}(0x{address:x})") == "object"
    assert machine_text(f"<{kind.lower()} object at 0x{address:x}>") == "object"
    for noun in ("IMG_", "image ", "untitled-", "Photo", "layer"):
        assert machine_text(f"{noun}{count}") == "counter"
    assert machine_text(f"{count} red buses") is None


@given(st.text(max_size=40))
def test_any_text_is_of_one_kind_or_none(text: str) -> None:
    assert machine_text(text) in (None, "object", "identifier", "counter", "template")


@pytest.mark.parametrize(
    "text", ["<" * 50_000, "a." * 50_000 + "@", "img" + "1(" * 50_000, "[[" * 50_000, "<a>" * 50_000]
)
def test_long_hostile_texts_cost_no_time(text: str) -> None:
    began = time.perf_counter()
    machine_text(text + "!")
    assert time.perf_counter() - began < 1


def test_it_is_no_candidate_for_a_label_and_boilerplate_by_caption_text() -> None:
    said = [
        ("alt", "A red bus"),
        ("description", "HASH(0x86a0bb0)"),
        ("file_name", "IMG_1234"),
        ("keywords", "red, bus"),
    ]
    captions = [{"source": source, "text": text, "lang": "en"} for source, text in said]
    assert [one.source for one in candidates_of(captions, made={"made": "<function f at 0x7f00aa>"})] == [
        "alt",
        "keywords",
    ]
    assert boilerplate_kind("HASH(0x86a0bb0)") == boilerplate_kind("{{ caption }}") == "machine"
    assert boilerplate_kind("untitled 3") == "untitled", "what had a kind keeps it"
