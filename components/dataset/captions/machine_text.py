"""Text that a program left where a caption belongs: nobody wrote it, and it says nothing of a picture.

    machine_text("HASH(0x86a0bb0)")     "object"
    machine_text("IMG_1234")            "counter"
    machine_text("a red bus")           None

A Perl script printed a reference where it meant a list, a camera counted, a template was not filled in. The
whole text must be of the kind: a sentence in which such a thing occurs ("route 66", "an MD5 sum: 9e10...") is
a person's. What a title's writer shortened ("cake1", "bus_stop_02") is not meant here either.
"""

from __future__ import annotations

import re

_HEX = r"(?:0x)?[0-9a-f]"
_NOUN = (
    r"img|image|imagen|bild|foto|photo|pict?|picture|pix|dsc[nf]?|dscf|cimg|mvi|mov|vid|gopr|scan|screen ?shot|"
    r"untitled|unnamed|unbenannt|sans ?titre|new (?:document|image|drawing|file)|document|file|layer|path|group|"
    r"rect|slide|page|figure|fig|thumb(?:nail)?|download|attachment|clipboard|bitmap|default|noname|temp|tmp"
)
KINDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    # A value printed as the language keeps it: Perl, Python, JavaScript, Ruby, Java, PHP, .NET.
    (
        "object",
        re.compile(
            r"(?:[a-z_][\w:.]*=)?[a-z_]\w*\(0x[0-9a-f]{4,16}\)"
            r"|#?<[^\n]{1,200}\b(?:at |:)?0x[0-9a-f]{4,16}[^\n]{0,200}>"
            r"|<(?:class|function|module|bound method|built-in)\b[^<>]*>"
            r"|\[object \w+\]|object\(\w+\)#\d+.*|[a-z_$][\w$]*(?:\.[\w$]+)+@[0-9a-f]{5,8}|\[l?[\w.;]*@[0-9a-f]{5,8}"
            r"|(?:system\.)?(?:object|string|collections\.[\w.`]+)\[\]|(?-i:nan|NaN|undefined|nil)|\(null\)|\{\}|\[\]|\(\)",
            re.I,
        ),
    ),
    # A key of a database, a hash, an encoded blob.
    (
        "identifier",
        re.compile(
            rf"\{{?{_HEX}{{8}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{12}}\}}?(?:\.\w{{2,5}})?"
            r"|(?:md5|sha\d*)?[:\-]?(?=[0-9a-f]*\d)[0-9a-f]{16,128}(?:\.\w{2,5})?"
            r"|0x[0-9a-f]{4,}|\d{9,}(?:[_\-]\d+)*(?:_[a-z])?(?:\.\w{2,5})?|data:\w+/[\w.+\-]+[;,].*",
            re.I,
        ),
    ),
    # A counter behind a device's or a program's own word, or a time of the clock: nobody chose it.
    (
        "counter",
        re.compile(
            rf"(?:{_NOUN})(?:[\s_\-.#]*\(?\d[\d\s_\-.,:()]*\)?|[_\-]?\d{{4,}}[_\-]?\w{{0,8}})(?:copy)?(?:\.\w{{2,5}})?"
            r"|p[a-c\d]\d{6}(?:\.\w{2,5})?|_?dsc\d{4,}"
            r"|(?:img|vid|pxl|wp|screen ?shot)[_\- ](?:from )?\d{4}[\d\-][\d\-_.: ]*(?:at )?[\w\-_.: ]*"
            r"|(?:19|20)\d\d[\-_.:]?[01]\d[\-_.:]?[0-3]\d"
            r"(?:[t_\- ]+[0-2]\d[\-_.:]?[0-5]\d(?:[\-_.:]?[0-5]\d)?(?:\.\d+)?z?)?",
            re.I,
        ),
    ),
    # A template that was never filled in, or filler.
    (
        "template",
        re.compile(
            r"\{\{[^{}]*\}\}|\$\{[^{}]*\}|<%.*%>|\{%.*%\}|%[sd]|%\(\w+\)[sd]|\[\[[^\[\]]*\]\]|%%\w+%%|__\w+__"
            r"|lorem ipsum\b.*|<!--.*-->|&\w+;|(?:<[^<>]*>\s*)+",
            re.I | re.S,
        ),
    ),
)


def machine_text(text: str) -> str | None:
    """object | identifier | counter | template, if the whole text is one, surrounding space and quotes aside."""
    bare = text.strip().strip("\"'").strip()
    return next((kind for kind, pattern in KINDS if pattern.fullmatch(bare)), None)
