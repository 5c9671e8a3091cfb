"""Caption complexity and action: how much a caption says about things, their attributes and their relations.

    score: {says: {uses: caption_complexity, with: {source: alt}}}
    keep:  {complex_enough: "says.complexity >= 1", something_happens: "says.actions >= 1"}

The C and A of CAT filtering (Radenovic et al., 2023, "Filtering, Distillation, and Hard Negatives for
Vision-Language Pre-Training"): in the graph of a caption's entities, complexity is the largest number
of attributes and relations of any one object ("a black cat is chasing a small, brown bird" is 3, by
the bird), and action asks for at least one verb of action. The paper parses with a trained
parser; here a chunker over closed-class words does (components/dataset/captions/english.py), for English
captions only. Its T, text spotting, is `ocr_text`. Mechanism verified by test, figure not reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    PREP,
    PRON,
    STOP,
    VERB,
    tagged,
)
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.registry import scorer
from pairwright.components.settings import Settings

# "A photo of a dog" says no more than "a dog".
MEDIA = frozenset(
    ("photo", "photograph", "picture", "image", "drawing", "painting", "illustration", "sketch", "close-up", "view")
)


class CaptionComplexitySettings(Settings):
    source: str = "alt"


@dataclass
class Graph:
    """Entities of a caption and what ties them.

    Attributes:
        objects: head nouns, in order. attributes: (object, attribute).
        relations: (object, predicate, object); the first is -1 where nothing named it.
        actions: (object or -1, verb).
    """

    objects: list[str] = field(default_factory=list)
    attributes: list[tuple[int, str]] = field(default_factory=list)
    relations: list[tuple[int, str, int]] = field(default_factory=list)
    actions: list[tuple[int, str]] = field(default_factory=list)

    @property
    def complexity(self) -> int:
        """The largest number of attributes, relations and actions that touch one object; 0 without one."""
        degree = [0] * len(self.objects)
        ended = {(subject, predicate.split()[0]) for subject, predicate, _ in self.relations}
        unary = [subject for subject, verb in self.actions if (subject, verb) not in ended]
        touched = [thing for thing, _ in self.attributes] + unary
        touched += [end for subject, _, thing in self.relations for end in (subject, thing)]
        for thing in touched:
            if thing >= 0:
                degree[thing] += 1
        return max(degree, default=0)


@scorer("caption_complexity")
class CaptionComplexity(Scorer[CaptionComplexitySettings]):
    """Columns are null where the pair has no caption of this source.

    Columns:
        objects, attributes, relations, actions: how many the caption names.
        complexity: of the object with most attributes, relations and actions, how many it has.
    """

    requires = Captions("source")
    sees_failures = True
    columns = {name: pa.int32() for name in ("objects", "attributes", "relations", "actions", "complexity")}

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        graphs = [None if text is None else caption_graph(text) for text in pairs.captions(self.settings.source)]
        found: dict[str, Any] = {
            name: [None if graph is None else len(getattr(graph, name)) for graph in graphs]
            for name in ("objects", "attributes", "relations", "actions")
        }
        return found | {"complexity": [None if graph is None else graph.complexity for graph in graphs]}


def caption_graph(text: str) -> Graph:
    """The entities and relations of one caption, by a single pass over its tagged words."""
    reader = _Reader()
    for word, tag in _without_medium(tagged(text)):
        reader.read(word, tag)
    reader.end_phrase()
    return reader.graph


@dataclass
class _Reader:
    """Where the pass stands.

    A preposition ties to the nearest noun phrase before it, or to the verb right before it; an
    adjective behind "is" belongs to the subject; a mark breaks off whatever waits for its object.

    Attributes:
        waiting: attributes read whose noun comes. noun: the noun phrase's nouns so far.
        last: the object named last. subject, predicate: what waits for an object ("" if nothing does).
        linked: an auxiliary stands last, so an adjective describes `last`.
    """

    graph: Graph = field(default_factory=Graph)
    waiting: list[str] = field(default_factory=list)
    noun: list[str] = field(default_factory=list)
    last: int = -1
    subject: int = -1
    predicate: str = ""
    linked: bool = False

    def read(self, word: str, tag: str) -> None:
        if tag == NOUN:
            self.noun.append(word)
            return
        listed = bool(self.waiting) and not self.noun  # "small, brown and furry bird" goes on
        self.end_phrase()
        if tag == ADJ and self.linked and self.last >= 0:
            self.graph.attributes.append((self.last, word))
        elif tag == ADJ:
            self.waiting.append(word)
        elif tag == VERB:
            self.graph.actions.append((self.last, word))
            self.subject, self.predicate, self.linked = self.last, word, False
        elif tag == PREP:
            if not self.predicate:
                self.subject = self.last
            self.predicate, self.linked = f"{self.predicate} {word}".strip(), False
        elif tag == AUX:
            self.linked = True
        elif tag == PRON:
            self.last, self.predicate = -1, ""
        elif tag in (STOP, CONJ) and not (listed and (word == "," or tag == CONJ)):
            self.waiting.clear()
            self.predicate, self.linked = "", False

    def end_phrase(self) -> None:
        """The noun phrase is over: its last noun is an object, with its attributes and what led to it."""
        if not self.noun:
            return
        thing = len(self.graph.objects)
        self.graph.objects.append(self.noun[-1])
        self.graph.attributes.extend((thing, attribute) for attribute in self.waiting)
        if self.predicate:
            self.graph.relations.append((self.subject, self.predicate, thing))
        self.last, self.predicate, self.linked = thing, "", False
        self.waiting.clear()
        self.noun.clear()


def _without_medium(words: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Without a beginning like "a black and white photo of"."""
    for i, (word, tag) in enumerate(words[:8]):
        if word in MEDIA and i + 1 < len(words) and words[i + 1][0] == "of":
            return words[i + 2 :]
        if tag not in (DET, ADJ, NUM, CONJ, NOUN, ADV):
            break
    return words
