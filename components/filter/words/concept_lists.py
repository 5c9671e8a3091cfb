"""Concept lists: the words and phrases a caption's text is matched against, and the matching.

`ConceptList.matches` finds every concept in every caption in one pass over the tokens: concepts are a
trie of token numbers kept as sorted integer keys, and one `searchsorted` a depth advances all positions
of all captions at once. So its cost does not grow with the number of concepts but with its logarithm.
A concept matches whole words only, as MetaCLIP's space-padded substrings do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairwright.components.errors import InvalidRecipe

# Function words of English: they are in every caption and name nothing.
FUNCTION_WORDS = """
a about above after against all also am an and any are as at be been before being below between both but by can
could did do does doing down during each either few for from further had has have having he her here hers him his
how i if in into is it its itself just me more most my no nor not now of off on once only or other our ours out over
own same she should so some such than that the their theirs them then there these they this those through to too
under until up very was we were what when where which while who whom why will with would you your yours
"""
STOP_WORDS = frozenset(FUNCTION_WORDS.split())
_PLAIN = re.compile(r"[^\w]+|_+")


@dataclass(frozen=True)
class Tokens:
    """Captions as token numbers, end to end: `number` (t,) int64, and `row` (t,) of each token, ascending."""

    number: np.ndarray
    row: np.ndarray


class ConceptList:
    """Concepts of one or more words over a vocabulary of tokens.

    Attributes:
        names: the concepts; their position is their number.
        vocabulary: token -> number.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(dict.fromkeys(" ".join(plain_words(name)) for name in names))
        self.names = [name for name in self.names if name]
        self.vocabulary: dict[str, int] = {}
        self._levels: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._build()

    def _build(self) -> None:
        """The trie: at each depth sorted keys node * V + token, the node each leads to, and its concept or -1."""
        words = [name.split() for name in self.names]
        for word in (word for parts in words for word in parts):
            self.vocabulary.setdefault(word, len(self.vocabulary))
        size = max(len(self.vocabulary), 1)
        nodes: dict[tuple[str, ...], int] = {(): 0}
        for depth in range(max((len(parts) for parts in words), default=0)):
            edges: dict[int, tuple[int, int]] = {}
            for concept, parts in enumerate(words):
                if len(parts) <= depth:
                    continue
                key = nodes[tuple(parts[:depth])] * size + self.vocabulary[parts[depth]]
                node = nodes.setdefault(tuple(parts[: depth + 1]), len(nodes))
                ends = len(parts) == depth + 1
                edges[key] = (node, concept if ends else edges.get(key, (node, -1))[1])
            keys = np.array(sorted(edges), np.int64)
            found = np.array([edges[key] for key in keys.tolist()], np.int64).reshape(-1, 2)
            self._levels.append((keys, found[:, 0], found[:, 1]))

    def matches(self, captions: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Every distinct (row, concept) of these normalised captions, by row: two int64 arrays."""
        tokens = number_tokens(captions, self.vocabulary)
        at = np.flatnonzero(tokens.number >= 0)
        node, rows, concepts = np.zeros(len(at), np.int64), [], []
        size = max(len(self.vocabulary), 1)
        for depth, (keys, nodes, ends) in enumerate(self._levels):
            place = at + depth
            inside = place < len(tokens.number)
            at, node, place = at[inside], node[inside], place[inside]
            # A caption's last word and the next caption's first are no phrase.
            alive = (tokens.row[place] == tokens.row[at]) & (tokens.number[place] >= 0)
            at, node, place = at[alive], node[alive], place[alive]
            key = node * size + tokens.number[place]
            index = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
            hit = keys[index] == key
            at, index = at[hit], index[hit]
            node = nodes[index]
            done = ends[index] >= 0
            rows.append(tokens.row[at[done]])
            concepts.append(ends[index[done]])
        if not rows:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        pairs = np.unique(np.concatenate(rows) * len(self.names) + np.concatenate(concepts))
        return pairs // len(self.names), pairs % len(self.names)


def plain_words(text: str) -> list[str]:
    """A concept's words, normalised as captions are."""
    import unicodedata

    return _PLAIN.sub(" ", unicodedata.normalize("NFKC", text).lower()).split()


def number_tokens(captions: pa.Array, vocabulary: dict[str, int]) -> Tokens:
    """Tokens of normalised captions by this vocabulary; -1 for a word outside it. A null caption has none."""
    split = pc.split_pattern(pc.fill_null(captions, ""), " ")
    words = pc.list_flatten(split).dictionary_encode()
    known = np.array([vocabulary.get(word, -1) for word in words.dictionary.to_pylist()], np.int64)
    index = words.indices.to_numpy(zero_copy_only=False)
    number = known[index] if len(known) else np.zeros(0, np.int64)
    return Tokens(number, pc.list_parent_indices(split).to_numpy(zero_copy_only=False).astype(np.int64))


def read_concepts(path: str) -> ConceptList:
    """Concepts of a text file, one a line; empty lines and lines that begin with # are left out.

    Raises:
        InvalidRecipe: it cannot be read, or names no concept.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRecipe(f"{path} cannot be read as a list of concepts: {error}") from None
    found = ConceptList([line for line in lines if line.strip() and not line.lstrip().startswith("#")])
    if not found.names:
        raise InvalidRecipe(f"{path} names no concept; write one a line")
    return found


def concepts_of(captions: Iterable[pa.Array], least: int, least_information: float) -> ConceptList:
    """Concepts of a population's own captions, as MetaCLIP takes them from Wikipedia's.

    Words in at least `least` captions that are no function words or numbers, and pairs of words in as
    many whose pointwise mutual information, in bits, is at least `least_information`.
    """
    words: dict[str, int] = {}
    number: dict[str, int] = {}
    pairs: dict[int, int] = {}
    total = 0
    for part in captions:
        total += len(part)
        for word in pc.unique(pc.list_flatten(pc.split_pattern(pc.fill_null(part, ""), " "))).to_pylist():
            number.setdefault(word, len(number))
        tokens = number_tokens(part, number)
        _count(words, pairs, tokens, list(number))
    spoken = {word: count for word, count in words.items() if count >= least and _names_something(word)}
    names, found = list(number), list(spoken)
    for key, count in pairs.items():
        first, second = names[key >> 32], names[key & 0xFFFFFFFF]
        if count >= least and first in spoken and second in spoken:
            information = math.log2(count * total / (words[first] * words[second]))
            if information >= least_information:
                found.append(f"{first} {second}")
    return ConceptList(found)


def _count(words: dict[str, int], pairs: dict[int, int], tokens: Tokens, names: list[str]) -> None:
    """Add to the number of captions that hold each word and each pair of neighbours."""
    single = np.unique(np.stack([tokens.row, tokens.number]), axis=1)[1]
    for token, count in zip(*(values.tolist() for values in np.unique(single, return_counts=True)), strict=True):
        words[names[token]] = words.get(names[token], 0) + count
    together = tokens.row[1:] == tokens.row[:-1]
    keys = (tokens.number[:-1] << 32 | tokens.number[1:])[together]
    double = np.unique(np.stack([tokens.row[1:][together], keys]), axis=1)[1]
    for key, count in zip(*(values.tolist() for values in np.unique(double, return_counts=True)), strict=True):
        pairs[key] = pairs.get(key, 0) + count


def _names_something(word: str) -> bool:
    return len(word) > 1 and word not in STOP_WORDS and not word.isdigit()
