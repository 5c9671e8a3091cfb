"""Caption fluency: whether a caption reads as written language, by rules and without a model.

    score: {fluency: {uses: caption_fluency, with: {source: description}}}
    keep:  {fluent: "fluency.score >= 0.4"}

Fluency is one of the three rules of Let's Go Shopping (Bao et al., 2024; only the rule's name is
given there: the measures and the threshold here are ours, starting values, unverified). English only:
a keyword list lacks function words, shuffled words break the order that closed classes keep ("the of",
"a and", a preposition at the end), keyboard noise is no syllables. `perplexity` says the same with a
model, for any language.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from pairwright.components.component import Captions, Scorer
from pairwright.components.dataset.captions.english import (
    ADJ,
    ADV,
    AUX,
    CONJ,
    DET,
    NOUN,
    NUM,
    PHRASAL,
    PREP,
    PRON,
    STOP,
    VERB,
    closed_class,
    tagged,
    tokens,
)  # fmt: skip
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.filter.scorers.caption_text import WORD, repetition
from pairwright.components.registry import scorer
from pairwright.components.settings import Settings

SHORT = 5  # words; a title of so few needs no function word
GLUE = 0.2  # share of function words from which a longer text is taken for sentences; prose has 0.4
# Neighbours that English does not have, by tags. `STOP` stands for a mark or the end.
FORBIDDEN = frozenset(
    [(DET, tag) for tag in (PREP, CONJ, AUX, PRON, STOP)]
    + [(PREP, tag) for tag in (CONJ, AUX, STOP)]
    + [(CONJ, STOP), (AUX, STOP), (PRON, DET), (PRON, PRON), (AUX, AUX), (ADJ, DET), (CONJ, CONJ), (DET, DET)]
)
# ... but for these: "all the", "is being", "that is", "those of", "has been", "all of", "both of".
ALLOWED_PAIRS = frozenset(
    (first, second)
    for firsts, seconds in (
        ("all both half such what", "the a an this that these those my your his her its our their"),
        ("all both some any many few each several half either neither these those this", "of in on from with"),
        ("this these those that some many all both each another other what whose", "is are was were has have can will"),
        ("some many all both each other another this that these those either his", ". , ; ? ! ) and or"),
        ("her", "and or . ,"),
        ("is are was were has have had will can could should would may might must do does be", "be been being have"),
        ("give gives show shows", "a an the"),
    )
    for first in firsts.split()
    for second in seconds.split()
)  # fmt: skip
_CONSONANTS = re.compile(r"[bcdfghjklmnpqrstvwxz]{5,}")  # "strengths" has four and a y is none
_KEYBOARD = re.compile(r"asdf|sdfg|dfgh|fghj|ghjk|hjkl|qwer|wert|erty|zxcv|xcvb|cvbn|vbnm|(.)\1\1")


class CaptionFluencySettings(Settings):
    source: str = "alt"


@scorer("caption_fluency")
class CaptionFluency(Scorer[CaptionFluencySettings]):
    """Columns are null where the pair has no caption of this source; all are 0..1.

    Columns:
        function_words: share of the words that are of a closed class.
        order: 1 less the share of function words that stand where English has none.
        spelling: share of the words that could be English words by their letters.
        score: order x spelling x (1 - repetition) x glue, where glue falls below GLUE function words;
            0 without a word.
    """

    requires = Captions("source")
    sees_failures = True
    columns = {name: pa.float32() for name in ("function_words", "order", "spelling", "score")}

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        rows = [{} if text is None else fluency(text) for text in pairs.captions(self.settings.source)]
        return {name: [row.get(name) for row in rows] for name in self.columns}


def fluency(text: str) -> dict[str, float]:
    """The scorer's columns for one caption."""
    words = [word for word in tokens(text) if word[0].isalnum()]
    if not any(word[0].isalpha() for word in words):
        return dict.fromkeys(("function_words", "order", "spelling", "score"), 0.0)
    function = sum(closed_class(word) not in (None, NUM) for word in words) / len(words)
    facts = {"function_words": function, "order": word_order(text), "spelling": spelling(words)}
    glue = 1.0 if len(words) <= SHORT else min(function / GLUE, 1.0)
    varied = 1 - repetition(text, WORD.findall(text))
    return facts | {"score": facts["order"] * facts["spelling"] * varied * glue}


def word_order(text: str) -> float:
    """1 less the share of closed-class words (and articles before the wrong sound) that break an order.

    One at the very end counts twice.
    """
    words = [*tagged(text), (".", STOP)]
    closed = sum(tag not in (NOUN, VERB, ADJ, ADV, NUM, STOP) for _, tag in words)
    broken = 0
    for i, (word, tag) in enumerate(words[:-1]):
        after, next_tag = words[i + 1]
        if (tag, next_tag) in FORBIDDEN:
            phrasal = word in PHRASAL and i > 0 and words[i - 1][1] in (VERB, ADV, NOUN)
            fine = phrasal or (word, after) in ALLOWED_PAIRS
            broken += 0 if fine else 2 if i == len(words) - 2 else 1  # cut short in the middle of a phrase
        elif word in ("a", "an") and after[0].isalpha():
            broken += (word == "an") != _vowel_sound(after)
    return 1 - min(broken / closed, 1.0) if closed else 1.0


def _vowel_sound(word: str) -> bool:
    """Whether "an" stands before the word, as well as letters tell."""
    if re.match(r"(?:uni|use|usu|eu|one|once|ut[ei])", word):
        return False
    if re.match(r"(?:hour|hono|heir|x-?ray|mp|f-|lcd|led\b)", word):
        return True
    return word[0] in "aeiou"


def spelling(words: Sequence[str]) -> float:
    """Share of the words that have a vowel, no run of five consonants and no keyboard row in them."""
    letters = [word for word in words if word[0].isalpha()]
    fine = sum(_spellable(word) for word in letters)
    return fine / len(letters) if letters else 0.0


def _spellable(word: str) -> bool:
    if len(word) <= 3 or not word.isascii():  # "TV", "xl"; other scripts are not ours to judge
        return True
    digits = any(character.isdigit() for character in word)
    return (
        not digits
        and bool(re.search(r"[aeiouy]", word))
        and not _CONSONANTS.search(word)
        and not _KEYBOARD.search(word)
    )
