"""Logits processors: what may not be said next, and what must be.

Each takes log-probabilities of the next token (m, vocabulary), what was said so far (m, t) and which example each row
is of (m,), and gives scores of the same shape; -inf is never said. They work in the order they are listed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

IMPROBABLE = -100.0  # nats of a token that must come though another processor barred it


class Processor(Protocol):
    def __call__(self, scores: Tensor, said: Tensor, rows: Tensor) -> Tensor: ...


class Never:
    """These tokens are not said: padding, the start, the unknown word."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens = list(tokens)

    def __call__(self, scores: Tensor, said: Tensor, rows: Tensor) -> Tensor:
        scores = scores.clone()
        scores[:, self.tokens] = -torch.inf
        return scores


class AtLeast:
    """No end before `length` tokens were said."""

    def __init__(self, length: int, end: int) -> None:
        self.length, self.end = length, end

    def __call__(self, scores: Tensor, said: Tensor, rows: Tensor) -> Tensor:
        return Never([self.end])(scores, said, rows) if said.shape[1] < self.length else scores


class NotTwiceRunning:
    """No token right after itself."""

    def __call__(self, scores: Tensor, said: Tensor, rows: Tensor) -> Tensor:
        return scores.scatter(1, said[:, -1:], -torch.inf)


class NoRepeatedNgram:
    """No run of `size` tokens a second time (Paulus et al., 2018); of size 1, no token."""

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"an n-gram has at least one token, not {size}")
        self.size = size

    def __call__(self, scores: Tensor, said: Tensor, rows: Tensor) -> Tensor:
        length = said.shape[1]
        if length < self.size:
            return scores
        runs = said.unfold(1, self.size, 1)  # (m, runs, size)
        begun = (runs[:, :, :-1] == said[:, None, length - self.size + 1 :]).all(-1)
        repeats = torch.zeros_like(scores).scatter_add(1, runs[:, :, -1], begun.to(scores.dtype))
        return scores.masked_fill(repeats > 0, -torch.inf)


class RepetitionPenalty:
    """The log-probability of a token already said times `penalty` >= 1 (Keskar et al., 2019, on log-probabilities)."""

    def __init__(self, penalty: float) -> None:
        self.penalty = penalty

    def __call__(self, scores: Tensor, said: Tensor, rows: Tensor) -> Tensor:
        return scores.scatter(1, said, self.penalty * scores.gather(1, said))


class Forbidden:
    """Strings that no text holds, however they are cut into tokens; case does not count.

    Args:
        strings: forbidden wherever they stand, within a word as well.
        pieces: each token as text, the space before it included. Bytes of characters split over tokens are unseen.
    """

    def __init__(self, strings: Sequence[str], pieces: Sequence[str]) -> None:
        self.strings = [text.casefold() for text in strings if text]
        self.pieces = [piece.casefold() for piece in pieces]
        self.longest = max((len(text) for text in self.strings), default=0)
        self._inside = [any(text in piece for text in self.strings) for piece in self.pieces]
        self._finishes: dict[str, list[int]] = {}  # what is left of a string -> tokens that begin with it

    def __call__(self, scores: Tensor, said: Tensor, rows: Tensor) -> Tensor:
        scores = scores.masked_fill(torch.tensor(self._inside, device=scores.device), -torch.inf)
        for row, tokens in enumerate(said[:, -self.longest :].tolist() if self.longest else ()):
            scores[row, self._next("".join(self.pieces[token] for token in tokens))] = -torch.inf
        return scores

    def _next(self, text: str) -> list[int]:
        """Tokens that would finish a string after this text."""
        return [
            token
            for string in self.strings
            for cut in range(1, len(string))
            if text.endswith(string[:cut])
            for token in self._finishing(string[cut:])
        ]

    def _finishing(self, rest: str) -> list[int]:
        if rest not in self._finishes:
            self._finishes[rest] = [token for token, piece in enumerate(self.pieces) if piece.startswith(rest)]
        return self._finishes[rest]


class Including:
    """A string that each text must hold, e.g. what is written on the picture: by greedy, beams and sampling alike.

    Until it was said, the end's score goes to its next token: where a text would end without it, it begins. Once there
    is only just room for it, it is all that can be said. It comes last of all processors.

    Args:
        required: tokens of each example's string; none where there is none.
        end: the end's token.
        longest: tokens a text may have, beside the end.

    Raises:
        ValueError: a string is longer than a text may be.
    """

    def __init__(self, required: Sequence[Sequence[int]], end: int, longest: int) -> None:
        self.required, self.end, self.longest = [list(one) for one in required], end, longest
        for tokens in self.required:
            if len(tokens) > longest:
                raise ValueError(f"a text of {longest} tokens cannot hold a string of {len(tokens)}; allow more")

    def __call__(self, scores: Tensor, said: Tensor, rows: Tensor) -> Tensor:
        scores, left = scores.clone(), self.longest - said.shape[1]
        for row, (tokens, example) in enumerate(zip(said.tolist(), rows.tolist(), strict=True)):
            string = self.required[example]
            if not string or self.end in tokens or _holds(tokens, string):
                continue
            following = string[_begun(tokens, string)]
            best = max(float(scores[row, following]), float(scores[row, self.end]), IMPROBABLE)
            if left <= len(string):  # anything else would leave too little room for the whole of it
                scores[row] = -torch.inf
            scores[row, self.end], scores[row, following] = -torch.inf, best
        return scores


class EndWhereMute:
    """Where nothing may be said at all, the text ends, whatever barred the end."""

    def __init__(self, end: int) -> None:
        self.end = end

    def __call__(self, scores: Tensor, said: Tensor, rows: Tensor) -> Tensor:
        mute = scores.isneginf().all(1)
        if not bool(mute.any()):
            return scores
        scores = scores.clone()
        scores[mute, self.end] = 0.0
        return scores


def _holds(tokens: Sequence[int], string: Sequence[int]) -> bool:
    width = len(string)
    return any(list(tokens[at : at + width]) == string for at in range(len(tokens) - width + 1))


def _begun(tokens: Sequence[int], string: Sequence[int]) -> int:
    """How much of the string stands at the end of the text."""
    most = min(len(tokens), len(string) - 1)
    return next((size for size in range(most, 0, -1) if list(tokens[-size:]) == string[:size]), 0)


def processed(logits: Tensor, said: Tensor, rows: Tensor, processors: Sequence[Processor]) -> Tensor:
    """Log-probabilities of the next token after all processors, (m, vocabulary) float32; not normalised again."""
    scores = logits.float().log_softmax(-1)
    for processor in processors:
        scores = processor(scores, said, rows)
    return scores
