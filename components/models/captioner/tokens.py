"""Captions as tokens: words counted among the captions themselves, or whatever a language model reads."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pairwright.components.errors import ModelError
from pairwright.components.models import words as of_words
from pairwright.components.models.words import SPECIAL, UNKNOWN, words_of

VOCABULARY = "vocabulary.txt"


class Tokens(Protocol):
    """A tokenizer, as a captioner needs it.

    Attributes:
        start, end: what each caption begins and ends with.
        never: what is never said.
        pieces: each token as text, with the space before it.
    """

    start: int
    end: int
    never: tuple[int, ...]

    @property
    def pieces(self) -> list[str]: ...

    def encode(self, captions: Sequence[str], most: int) -> Tensor:
        """(n, at most `most` + 2) int64: start, tokens, end, and whatever stands behind it."""

    def string(self, text: str) -> list[int] | None:
        """Tokens of a string within a caption, None where they cannot say it."""

    def decode(self, tokens: Sequence[int]) -> str:
        """What stands before the end."""

    def save(self, folder: Path) -> None: ...


def prompts_of(tokens: Tokens, texts: Sequence[str], most: int) -> Tensor:
    """(n, at most `most`) int64, padded on the left by -1: questions, a user's words. The first of them are read."""
    rows = [tokens.encode([text], most)[0, 1:].tolist() if text else [] for text in texts]
    rows = [row[: row.index(tokens.end)] if tokens.end in row else row for row in rows]
    width = max((len(row) for row in rows), default=0)
    return torch.tensor([[-1] * (width - len(row)) + row for row in rows], dtype=torch.int64).reshape(len(rows), width)


def to_be_said(tokens: Tensor, end: int) -> Tensor:
    """Of tokens (n, t): which of tokens[:, 1:] are to be said, bool (n, t - 1), up to the first end."""
    ends = (tokens[:, 1:] == end).long()
    return ends.cumsum(1) - ends == 0


def nats_of(logits: Tensor, tokens: Tensor, end: int) -> Tensor:
    """Of logits after tokens[:, :-1]: nats of each token to be said and of the end, 0 behind it (n, t - 1)."""
    said = F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten(), reduction="none")
    return said.view(len(tokens), -1) * to_be_said(tokens, end)


class WordTokens:
    """Words in lower case, numbered, the ends of sentences among them where they were; what is unknown is no word."""

    start, end = of_words.START, of_words.END
    never: tuple[int, ...] = (of_words.PAD, of_words.START, of_words.UNKNOWN)

    def __init__(self, words: Sequence[str]) -> None:
        if tuple(words[: len(SPECIAL)]) != SPECIAL:
            raise ValueError(f"{VOCABULARY} does not begin with {', '.join(SPECIAL)}")
        self.words = list(words)
        self.number = {word: i for i, word in enumerate(self.words)}

    @property
    def pieces(self) -> list[str]:
        return [""] * len(SPECIAL) + [f" {word}" for word in self.words[len(SPECIAL) :]]

    def encode(self, captions: Sequence[str], most: int) -> Tensor:
        return of_words.tokens_of(captions, self.number, most)

    def string(self, text: str) -> list[int] | None:
        found = [self.number.get(word, UNKNOWN) for word in words_of(text, of_words.STOP in self.number)]
        return None if UNKNOWN in found else found

    def decode(self, tokens: Sequence[int]) -> str:
        return of_words.text_of(_before(tokens, self.end), self.words)

    def save(self, folder: Path) -> None:
        (folder / VOCABULARY).write_text("\n".join(self.words) + "\n", encoding="utf-8")


def read_words(folder: Path) -> WordTokens:
    return WordTokens((folder / VOCABULARY).read_text(encoding="utf-8").split("\n")[:-1])


class PretrainedTokens:
    """A tokenizer of `transformers`; a caption is a line of text with a space before it, its end the model's own.

    `vocabulary` is how many tokens the model scores, which may be more than the tokenizer knows.
    """

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        end = tokenizer.eos_token_id
        if end is None:
            raise ModelError("the language model's tokenizer knows no end of a text (eos_token)")
        self.tokenizer, self.end = tokenizer, int(end)
        self.start = int(tokenizer.bos_token_id) if tokenizer.bos_token_id is not None else self.end
        spare = range(len(tokenizer), vocabulary)  # rows of the model's that stand for no token
        self.vocabulary = vocabulary
        self.never = tuple(sorted({int(one) for one in tokenizer.all_special_ids} - {self.end} | set(spare)))

    @functools.cached_property
    def pieces(self) -> list[str]:
        """As they read after another token, whose text is taken away again; special ones say nothing. Made once."""
        silent, anchor = {self.end, *self.never}, self._ids("a")
        before = self._read(anchor)
        return [
            "" if token in silent else self._read([*anchor, token]).removeprefix(before)
            for token in range(self.vocabulary)
        ]

    def _read(self, tokens: Sequence[int]) -> str:
        said: str = self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return said

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def encode(self, captions: Sequence[str], most: int) -> Tensor:
        rows = [[self.start, *self._ids(f" {' '.join(text.split())}")[:most], self.end] for text in captions]
        length = max((len(row) for row in rows), default=2)
        return torch.tensor([row + [self.end] * (length - len(row)) for row in rows]).reshape(len(rows), length)

    def string(self, text: str) -> list[int] | None:
        found = self._ids(f" {' '.join(text.split())}")
        unknown = self.tokenizer.unk_token_id
        return None if unknown is not None and unknown in found else found

    def decode(self, tokens: Sequence[int]) -> str:
        return " ".join(self._read(_before(tokens, self.end)).split())

    def save(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)


def _before(tokens: Sequence[int], end: int) -> list[int]:
    found = list(tokens)
    return found[: found.index(end)] if end in found else found
