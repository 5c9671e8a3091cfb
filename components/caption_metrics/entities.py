"""Entity retention: which of the names and numbers of the text a picture came with does a caption still say.

    entities_of("The Eiffel Tower in Paris, 1889")     # ["eiffel tower", "paris", "1889"]

Names are told by their capitals, without a tagger: a run of words that begin with one (or a word of capitals, or a
number); a sentence's first word alone is none, unless it is a run with the next, is all capitals or has a capital
within it. Wrong for languages that write other words with capitals, and where every word has one: then all are taken.
Who has a tagger hands its own entities to `retained`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

from pairwright.components.caption_metrics.tokens import tokens_of

_WORD = re.compile(r"[^\W_]+(?:['’.\-][^\W_]+)*|[^\w\s]+")
_JOINED = frozenset(("of", "the", "de", "la", "von", "van", "da", "di", "du", "del", "al"))
_WORDS = (
    "a an the this that these those my your his her its our their i we you he she it they in on at by for from to of "
    "with and or but as there here is are was were"
)
_FUNCTION = frozenset(_WORDS.split())


def entities_of(text: str) -> list[str]:
    """Its names and numbers, in lower case, each once, in its order."""
    found: dict[str, None] = {}
    run: list[str] = []
    first = True

    def close() -> None:
        while run and run[-1].lower() in _JOINED | _FUNCTION:
            run.pop()
        if run:
            found.setdefault(" ".join(tokens_of(" ".join(run))))
        run.clear()

    words = _WORD.findall(unicodedata.normalize("NFC", text))
    for at, word in enumerate(words):
        after = words[at + 1] if at + 1 < len(words) else ""
        if word == "." and run and len(run[-1]) == 1 and run[-1].isupper():
            continue  # an initial
        if not word[0].isalnum():
            close()
            first = first or word in (".", "!", "?", ":", "...")
        elif _is_name(word, first, after) or (run and word.lower() in _JOINED and after[:1].isupper()):
            run.append(word)
            first = False
        else:
            close()
            first = False
    close()
    return [name for name in found if name]


def _is_name(word: str, first: bool, after: str) -> bool:
    if word[0].isdigit():
        return True
    if not word[0].isupper() or word.lower() in _FUNCTION:
        return False
    own = (len(word) > 1 and word.isupper()) or any(letter.isupper() for letter in word[1:])
    return not first or own or (after[:1].isupper() and after.lower() not in _FUNCTION)


def retained(entities: Sequence[Iterable[str]], captions: Sequence[str]) -> list[np.ndarray]:
    """Of each text's entities, which its caption says, word for word whatever the case: bool arrays.

    Raises:
        ValueError: there are more captions than texts.
    """
    found = []
    for names, caption in zip(entities, captions, strict=True):
        said = f" {' '.join(tokens_of(caption))} "
        found.append(np.array([f" {' '.join(tokens_of(name))} " in said for name in names], bool))
    return found
