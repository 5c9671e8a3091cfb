"""Words as numbers: the vocabulary of the small decoders that are learnt from captions alone.

words = vocabulary_of(captions, most=4000, least=2)
tokens = tokens_of(captions, {word: i for i, word in enumerate(words)}, most=16)     # (n, t)
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

PAD, START, END, UNKNOWN = range(4)
SPECIAL = ("<pad>", "<start>", "<end>", "<unknown>")
STOP = "."  # the end of a sentence, where captions have several
_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
_WORD_OR_STOP = re.compile(rf"{_WORD.pattern}|\.(?=\s|$)")


def words_of(text: str, stops: bool = False) -> list[str]:
    """A caption's words, lower case; with `stops` the ends of its sentences are words, too."""
    pattern = _WORD_OR_STOP if stops else _WORD
    return pattern.findall(unicodedata.normalize("NFKC", text).lower())


def vocabulary_of(captions: Iterable[str], most: int, least: int, stops: bool = False) -> list[str]:
    """The special tokens and the `most` commonest words that occur in `least` captions, equals in order of spelling."""
    counts: Counter[str] = Counter()
    for text in captions:
        counts.update(set(words_of(text, stops)))
    ordered = sorted((word for word, count in counts.items() if count >= least), key=lambda word: (-counts[word], word))
    return [*SPECIAL, *ordered[:most]]


def tokens_of(captions: Sequence[str], number: Mapping[str, int], most: int) -> Tensor:
    """(n, at most `most` + 2) int64: start, words (with stops, where those are numbered), end, padding."""
    stops = STOP in number
    rows = [[START, *(number.get(word, UNKNOWN) for word in words_of(text, stops)[:most]), END] for text in captions]
    length = max((len(row) for row in rows), default=2)
    return torch.tensor([row + [PAD] * (length - len(row)) for row in rows]).reshape(len(rows), length)


def text_of(tokens: Iterable[int], words: Sequence[str]) -> str:
    """The words before the end."""
    return " ".join(words[token] for token in tokens if token > UNKNOWN).replace(f" {STOP}", STOP)
