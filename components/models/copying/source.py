"""What a copying model is given and says, as tokens: words with their case, and signs.

A word the vocabulary lacks has a number behind it, the same wherever it stands in one example: it can be copied, and
said in no other way.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

PAD, START, END, UNKNOWN = range(4)
SPECIAL = ("<pad>", "<start>", "<end>", "<unknown>")
NOWHERE = -1  # padding of a source
HEAD = (START, 0, 0, False, False)  # what every source begins with, so that none is empty
_TOKEN = re.compile(r"[^\W_]+(?:['’\-.&][^\W_]+)*|[^\w\s]|_+")
_CLOSES, _OPENS = set(",.;:!?%)]}»”…"), set("([{«“#$")


def tokens_of(text: str) -> list[str]:
    """Words and signs, in order."""
    return _TOKEN.findall(text)


def text_of(tokens: Sequence[str]) -> str:
    """Words and signs as a line of text; a straight quote opens and closes in turn."""
    text, glued, quoted = "", True, False
    for token in tokens:
        closing = token in _CLOSES or (token == '"' and quoted)
        text += token if glued or closing else f" {token}"
        glued = token in _OPENS or (token == '"' and not quoted)
        quoted ^= token == '"'
    return text


def vocabulary_of(texts: Iterable[str], most: int, least: int) -> list[str]:
    """The special tokens and the `most` commonest tokens that `least` texts hold, equals in order of spelling."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(set(tokens_of(text)))
    ordered = sorted((one for one, count in counts.items() if count >= least), key=lambda one: (-counts[one], one))
    return [*SPECIAL, *ordered[:most]]


@dataclass(frozen=True)
class Sources:
    """n sources of at most s tokens.

    Attributes:
        words: int64 (n, s), numbers of known words or those behind; NOWHERE where a source has ended.
        field: int64 (n, s), which of the fields a token is of. place: its place in that.
        capital: bool (n, s), a capital begins it. shared: bool (n, s), another field of the example holds it, too,
            whatever its case.
    """

    words: Tensor
    field: Tensor
    place: Tensor
    capital: Tensor
    shared: Tensor

    def named(self) -> dict[str, Tensor]:
        return {one.name: getattr(self, one.name) for one in fields(self)}


class Vocabulary:
    """Known words by number, and the fields an example is given in."""

    def __init__(self, words: Sequence[str], given: Sequence[str], longest: int) -> None:
        if tuple(words[: len(SPECIAL)]) != SPECIAL:
            raise ValueError(f"a vocabulary begins with {', '.join(SPECIAL)}")
        self.words, self.given, self.longest = list(words), tuple(given), longest
        self.number = {word: i for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def read(self, examples: Sequence[Mapping[str, str]]) -> tuple[Sources, list[list[str]]]:
        """Sources, each field cut to `longest` tokens, and each example's words behind the known ones."""
        rows: list[list[tuple[int, int, int, bool, bool]]] = []
        unknown: list[list[str]] = []
        for example in examples:
            parts = [tokens_of(example.get(name, ""))[: self.longest] for name in self.given]
            folded = [{token.casefold() for token in part} for part in parts]
            behind = list(dict.fromkeys(one for part in parts for one in part if one not in self.number))
            number = self._numbering(behind)
            rows.append(
                [HEAD]
                + [
                    (number(token), f, p, token[0].isupper(), _elsewhere(token, f, folded))
                    for f, part in enumerate(parts)
                    for p, token in enumerate(part)
                ]
            )
            unknown.append(behind)
        return _sources(rows), unknown

    def targets(self, texts: Sequence[str], unknown: Sequence[Sequence[str]], longest: int) -> Tensor:
        """(n, at most `longest` + 2) int64: start, words, end, padding; a word nobody knows or gave is UNKNOWN."""
        rows = []
        for text, behind in zip(texts, unknown, strict=True):
            number = self._numbering(behind)
            rows.append([START, *(number(token) for token in tokens_of(text)[:longest]), END])
        width = max((len(row) for row in rows), default=2)
        return torch.tensor([row + [PAD] * (width - len(row)) for row in rows]).reshape(len(rows), width)

    def _numbering(self, behind: Sequence[str]) -> Callable[[str], int]:
        own = {word: len(self) + i for i, word in enumerate(behind)}
        return lambda token: self.number.get(token, own.get(token, UNKNOWN))

    def text(self, numbers: Sequence[int], unknown: Sequence[str]) -> str:
        """What stands before the end."""
        said = list(numbers)
        said = said[: said.index(END)] if END in said else said
        every = [*self.words, *unknown]
        return text_of([every[number] for number in said if UNKNOWN < number < len(every)])


def _elsewhere(token: str, field: int, folded: Sequence[set[str]]) -> bool:
    return any(token.casefold() in words for other, words in enumerate(folded) if other != field)


def _sources(rows: Sequence[Sequence[tuple[int, int, int, bool, bool]]]) -> Sources:
    width = max((len(row) for row in rows), default=0) or 1
    padding = (NOWHERE, 0, 0, False, False)
    table = torch.tensor([[*row, *[padding] * (width - len(row))] for row in rows], dtype=torch.int64)
    words, field, place, capital, shared = table.reshape(len(rows), width, 5).unbind(-1)
    return Sources(words, field, place, capital.bool(), shared.bool())
