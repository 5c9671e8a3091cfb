"""Names of things in a caption: those of a known list, in singular or plural, a long name before one within it.

    vocabulary = ObjectNames({"dog": ["puppy"], "hot dog": [], "cat": []})
    vocabulary.said(tokens_of("two hot dogs and a puppy"))       # ["hot dog", "dog"]

As CHAIR maps a caption's words to its objects (Rohrbach et al., 2018), with whatever synonyms one has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pairwright.components.caption_metrics.ngrams import Tokens
from pairwright.components.caption_metrics.tokens import tokens_of

IRREGULAR = {"man": "men", "woman": "women", "child": "children", "person": "people", "mouse": "mice", "foot": "feet"}
IRREGULAR |= {"goose": "geese", "tooth": "teeth", "ox": "oxen", "leaf": "leaves", "knife": "knives", "wolf": "wolves"}


class ObjectNames:
    """Things and what they are called."""

    def __init__(self, names: Mapping[str, Iterable[str]] | Iterable[str]) -> None:
        """Things by name, with their synonyms if it is a mapping. Of a word of two things the first counts."""
        listed = names if isinstance(names, Mapping) else dict.fromkeys(names, ())
        self._thing: dict[tuple[str, ...], str] = {}
        for at_first in (True, False):  # a thing's own name goes before another's synonym or plural
            for thing, others in listed.items():
                for name in [thing] if at_first else [thing, *others]:
                    for words in [tuple(tokens_of(name))] if at_first else _forms(name):
                        if words:
                            self._thing.setdefault(words, thing)
        self._longest = max(map(len, self._thing), default=0)

    def said(self, tokens: Tokens) -> list[str]:
        """Things a caption names, in its order, as often as it names them."""
        found, at = [], 0
        while at < len(tokens):
            for length in range(min(self._longest, len(tokens) - at), 0, -1):
                thing = self._thing.get(tuple(tokens[at : at + length]))
                if thing is not None:
                    found.append(thing)
                    at += length
                    break
            else:
                at += 1
        return found


def _forms(name: str) -> list[tuple[str, ...]]:
    """A name, and the plurals its last word may have."""
    words = tokens_of(name)
    if not words:
        return []
    *before, last = words
    plurals = [IRREGULAR[last]] if last in IRREGULAR else [f"{last}s", f"{last}es"]
    if last.endswith("y") and last[-2:-1] not in "aeiou":
        plurals.append(f"{last[:-1]}ies")
    return [tuple(words), *((*before, plural) for plural in plurals)]
