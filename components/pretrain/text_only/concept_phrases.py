"""Concept phrases: what captions speak of, by how many of them do.

concept_phrases(["a red bus on the road", "the red bus"], most=1000)     # ["red bus", "road"]

MultiCapCLIP (Yang et al., 2023) counts noun phrases of a parser; here a phrase is a run of at most three words between
function words, so that no parser is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from pairwright.components.models.words import words_of

LONGEST = 3  # words of a phrase
_FUNCTION_WORDS = """
a an the this that these those his her its their my your our some any each every no not another other of in on at by for
from to with without into onto over under above below between behind beside near next through across around up down out
off and or but as than then is are was were be being been am has have having had do does doing did can could will would
may might must there here it he she they we you i who which what where when while very so too also one two three four
five several many few more most
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())


def concept_phrases(texts: Iterable[str], most: int) -> list[str]:
    """The `most` commonest phrases, each counted once a text; equals in order of spelling."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(set(_runs(text)))
    return sorted(counts, key=lambda phrase: (-counts[phrase], phrase))[:most]


def _runs(text: str) -> Iterator[str]:
    run: list[str] = []
    for word in [*words_of(text), "the"]:
        if word in FUNCTION_WORDS:
            if run:
                yield " ".join(run[-LONGEST:])
            run = []
        else:
            run.append(word)
