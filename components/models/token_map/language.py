"""A language model as words with vectors, and as texts that go on from some of them.

    language = open_language(folder)
    language.vectors()                                      # (vocabulary, width): the tokens' own embeddings
    language.words(4000)                                    # {"dog": 3913, ...}
    language.continued([[3913, 517]], Decoding(most=16))    # ["a dog in the snow"]

A causal language model of `transformers`, which is given the words and the prompt ("A picture of"), or a captioner of
ours that was trained to say a caption after the words of its `prompt`, which is given the words.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from pairwright.components.errors import ModelError
from pairwright.components.models.captioner.captioner import Captioner, CaptionSession
from pairwright.components.models.captioner.decoder import Decoder
from pairwright.components.models.captioner.folder import FORMAT, load_captioner
from pairwright.components.models.captioner.pretrained import load_pretrained
from pairwright.components.models.captioner.tokens import PretrainedTokens, Tokens
from pairwright.components.models.decoding.settings import Decoding

ROWS = 256  # texts in the making at once
LONGEST = 24  # tokens of a continuation, where nothing else is said
SHORTEST_WORD = 3  # letters
PROMPT = "A picture of"


class Language:
    """What both kinds are."""

    decoder: Decoder
    tokens: Tokens

    @torch.no_grad()
    def vectors(self) -> Tensor:
        """The input embedding of each token, (vocabulary, width) float32 on the CPU."""
        return self.decoder.embed(torch.arange(len(self.pieces), device=self.device)).float().cpu()

    @cached_property
    def pieces(self) -> list[str]:
        """Each token as text, with the space before it."""
        return self.tokens.pieces

    @property
    def device(self) -> torch.device:
        return next(self.decoder.parameters()).device

    def words(self, most: int) -> dict[str, int]:
        """The first `most` whole words in lower case, and the first token of each: those with a space before them."""
        found: dict[str, int] = {}
        for token, piece in enumerate(self.pieces):
            word = piece[1:].lower()
            if piece.startswith(" ") and word.isalpha() and len(word) >= SHORTEST_WORD and len(found) < most:
                found.setdefault(word, token)
        return found

    def continued(self, prompts: Sequence[Sequence[int]], decoding: Decoding, seeds: Sequence[int] = ()) -> list[str]:
        """What is said after each prompt's tokens, all prompts being of one length; "" where nothing is."""
        found = []
        for first in range(0, len(prompts), ROWS):
            block = torch.tensor(prompts[first : first + ROWS], device=self.device)
            found += self._continued(block, decoding, seeds[first : first + ROWS])
        return found

    def _continued(self, prompts: Tensor, decoding: Decoding, seeds: Sequence[int]) -> list[str]:
        raise NotImplementedError


class CaptionerLanguage(Language):
    """A captioner that says a caption after words, no picture being told.

    Raises:
        ModelError: it was trained without a prompt, or for fewer words.
    """

    def __init__(self, model: Captioner, where: Path) -> None:
        if "prompt" not in model.parts:
            raise ModelError(f"{where} was trained without a prompt, it goes on from no words; give its training one")
        self.model, self.decoder, self.tokens = model, model.decoder, model.tokens

    def _continued(self, prompts: Tensor, decoding: Decoding, seeds: Sequence[int]) -> list[str]:
        most = self.model.parts["prompt"].size
        if prompts.shape[1] > most:
            raise ModelError(f"{prompts.shape[1]} words are told, the model reads {most}; ask for fewer")
        return [texts[0] for texts in self.model.generate({"prompt": prompts}, decoding, seeds=seeds)]


class PretrainedLanguage(Language):
    """A causal language model of `transformers`; what it says ends with its first sentence or line."""

    def __init__(self, decoder: Decoder, tokens: Tokens, prompt: str = PROMPT) -> None:
        self.decoder, self.tokens = decoder, tokens
        self.prompt = tokens.encode([prompt], LONGEST)[0, 1:-1].tolist() if prompt else []
        self.stops = {at for at, piece in enumerate(self.pieces) if "\n" in piece or piece.strip() in (".", "!", "?")}

    def _continued(self, prompts: Tensor, decoding: Decoding, seeds: Sequence[int]) -> list[str]:
        n, most = len(prompts), decoding.most or LONGEST
        start = prompts.new_full((n, 1), self.tokens.start)
        told = torch.cat([start, prompts, prompts.new_tensor(self.prompt).expand(n, -1)], 1)
        if told.shape[1] + most > self.decoder.longest:
            raise ModelError(
                f"words, prompt and {most} tokens are more than the {self.decoder.longest} the model reads"
            )
        with torch.no_grad():
            cache = self.decoder.cache(n, told.shape[1] + most)
            session = CaptionSession(self.decoder, cache, self.decoder.embed(told), None, None)
            pieces = self.pieces if decoding.forbidden else ()
            processors = decoding.processors(self.tokens.end, self.tokens.never, pieces, [], most)
            found = decoding.decode(session, self.tokens.end, most, processors, seeds)[:, 0]
        return [self.tokens.decode(self._sentence(text)) for text in found.tolist()]

    def _sentence(self, text: Sequence[int]) -> list[int]:
        return list(text[: next((at for at, token in enumerate(text) if token in self.stops), len(text))])


def open_language(folder: str | Path, device: str = "cpu", prompt: str = PROMPT) -> Language:
    """The language model in a folder, frozen.

    Raises:
        ModelError: it holds none, or a captioner without a prompt.
    """
    root = Path(folder)
    try:
        config = json.loads((root / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{root} is no model folder ({error}); name one of transformers, or a captioner's") from None
    if config.get("format") == FORMAT.name:
        return CaptionerLanguage(load_captioner(root, device), root)
    decoder, tokenizer = load_pretrained(root)
    decoder = decoder.to(device)
    return PretrainedLanguage(decoder, PretrainedTokens(tokenizer, decoder.vocabulary), prompt)
