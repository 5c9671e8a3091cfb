"""A caption's words as COCO's evaluation counts them: PTB-like, in Python, lower case, without punctuation.

    tokens_of("It's a dog's life, 3.5 m long.")     # ["it", "'s", "a", "dog", "'s", "life", "3.5", "m", "long"]

After the rules that Stanford's PTBTokenizer applies to English captions: clitics ("'s", "n't", "'ll") are words of
their own, so are "can not" in "cannot", signs as "&", "%" and "$" stay, hyphenated words, numbers with commas, points
and slashes and short forms ("u.s.") stay whole; then what COCO's evaluation takes for punctuation is left out. It is
not that tokenizer: its rules for addresses, emoticons, fractions, hashtags and abbreviations beyond a few ("mr.") are
not here. `python -m benchmarks.oracle_captions --tokens DATA` says of how many captions both give the same; metrics
are compared on the same tokens.
"""

from __future__ import annotations

import re
import unicodedata

# What pycocoevalcap's wrapper of PTBTokenizer drops.
PUNCTUATION = frozenset(["''", "'", "``", "`", "-lrb-", "-rrb-", "-lcb-", "-rcb-", *".?!,:-;", "--", "..."])
_QUOTES = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": " -- ", "…": " ... "})
_CLITIC = re.compile(r"(?<=[^\W_])(n't|'(?:s|m|d|re|ve|ll))(?![^\W_])")
_FUSED = re.compile(r"\b(can)(not)\b|\b(gon|wan|got)(na|ta)\b|\b(gim|lem)(me)\b")
_TOKEN = re.compile(
    r"(?:[^\W\d_]\.){2,}"  # u.s.
    r"|(?:mr|mrs|ms|dr|st|jr|sr|vs|prof|inc|ltd)\."
    r"|no\.(?=\s*\d)|(?<!\w)\.?\d++(?:[.,:/-]\d++)*+(?:st|nd|rd|th|s)?(?![^\W\d])"
    r"|n't\b|'(?:s|m|d|re|ve|ll)\b"
    r"|[^\W_]+(?:[-_/'][^\W_]+)*"
    r"|\.\.\.|--|[^\w\s]|_+"
)


def tokens_of(text: str) -> list[str]:
    """Its words in order, in lower case; [] of a text that has none."""
    plain = unicodedata.normalize("NFC", text).translate(_QUOTES).lower()
    apart = _FUSED.sub(lambda found: " ".join(part for part in found.groups() if part), plain)
    apart = _CLITIC.sub(r" \1", apart)
    return [token for token in _TOKEN.findall(apart) if token not in PUNCTUATION and token not in '"()[]{}']
