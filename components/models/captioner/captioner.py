"""The captioner: a prefix of what is told, a decoder, and the tokens it speaks in.

    logits = model.logits({"image": vectors}, tokens[:, :-1])             # trained by the task `captioner`
    captions = model.generate({"image": vectors}, Decoding(search="beam", beams=4))

After Mokady et al., 2021, "ClipCap": a vector is mapped to a few tokens, and a decoder says the caption after them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pairwright.components.errors import ModelError
from pairwright.components.models.captioner.decoder import Cache, Decoder
from pairwright.components.models.captioner.memory import Memory, pooled
from pairwright.components.models.captioner.prefix import Part, Prefix, not_told
from pairwright.components.models.captioner.tokens import Tokens, nats_of, to_be_said
from pairwright.components.models.decoding.session import Guided, Session
from pairwright.components.models.decoding.settings import Decoding

BLOCK = 512  # pairs captioned at once
IMAGE = "image"  # the part that guidance weighs against being left out, and by which a memory is asked
Told = Mapping[str, Tensor]


class Captioner(nn.Module):
    """A prefix and what goes on from it.

    Attributes:
        longest: a caption's tokens at most, its start and end not counted.
        memory: phrases of which those nearest to the picture are told beside it, if there are any.
    """

    memory: Memory | None

    def __init__(
        self, parts: Sequence[Part], decoder: Decoder, tokens: Tokens, longest: int, hidden: int = 256, fusion: int = 0
    ) -> None:
        super().__init__()
        self.prefix, self.decoder = Prefix(parts, decoder.width, hidden, fusion), decoder
        self.tokens, self.longest, self.hidden, self.fusion = tokens, longest, hidden, fusion
        self.memory = None
        needed = self.prefix.length + longest + 1
        if needed > decoder.longest:
            raise ModelError(f"prefix and caption are {needed} tokens, the decoder reads {decoder.longest}; say less")

    @property
    def parts(self) -> dict[str, Part]:
        return {part.name: part for part in self.prefix.parts}

    def recalled(self, told: Told) -> Told:
        """What is told, a clip as one vector where the model takes one, and what its memory adds."""
        image = told.get(IMAGE)
        if image is None or IMAGE not in self.parts:
            return told
        if image.ndim > 2 and self.parts[IMAGE].most == 1:
            told = {**told, IMAGE: pooled(image.float())}
        if self.memory is None or self.memory.part in told:
            return told
        return {**told, self.memory.part: self.memory(told[IMAGE] if told[IMAGE].ndim == 2 else pooled(told[IMAGE]))}

    def begun(self, told: Told, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """What is told and tokens so far (n, t) -> embedded (n, p + t, width), and which are there; None if all."""
        said = self.decoder.embed(tokens)
        x, there = self.prefix(self.recalled(told), self.decoder.embed, said.dtype)
        there = torch.cat([there, torch.ones_like(tokens, dtype=torch.bool)], dim=1)
        return torch.cat([x, said], dim=1), None if bool(there.all()) else there

    def logits(self, told: Told, tokens: Tensor) -> Tensor:
        """Tokens so far (n, t), from the start on -> next-token logits after each (n, t, vocabulary)."""
        x, there = self.begun(told, tokens)
        found: Tensor = self.decoder(x, there)
        return found[:, -tokens.shape[1] :]

    def counted(self, tokens: Tensor) -> Tensor:
        """Of tokens (n, t): which of tokens[:, 1:] are to be said, bool (n, t - 1), up to the first end."""
        return to_be_said(tokens, self.tokens.end)

    def nats(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """Of logits after tokens[:, :-1]: nats of each token to be said and of the end, 0 behind it (n, t - 1)."""
        return nats_of(logits, tokens, self.tokens.end)

    def session(self, told: Told, longest: int | None = None, guidance: float = 1.0) -> Session:
        """Captions in the making; with guidance, each pair stands beside itself without its picture.

        Raises:
            ModelError: guidance is asked for and there is no picture to leave out.
        """
        if guidance == 1:
            return CaptionSession.of(self, told, longest or self.longest)
        if IMAGE not in told:
            raise ModelError(f"guidance weighs the picture against none; what is told is {sorted(told)}")
        without = not_told(told[IMAGE], torch.ones(len(told[IMAGE]), dtype=torch.bool, device=told[IMAGE].device))
        both = {name: torch.cat([value, without if name == IMAGE else value]) for name, value in told.items()}
        return Guided(CaptionSession.of(self, both, longest or self.longest), guidance)

    @torch.no_grad()
    def generate(
        self,
        told: Told,
        decoding: Decoding | None = None,
        required: Sequence[Sequence[int]] = (),
        seeds: Sequence[int] = (),
        watch: Callable[[Session], Session] = lambda session: session,
    ) -> list[list[str]]:
        """Captions of each pair, as many as there are beams, the best (of each group) first.

        Args:
            required: tokens of a string that each pair's captions must hold (`tokens.string`), [] if none.
            seeds: one a pair, of what is drawn for it.
            watch: stands before the session of each block: it may tell of what is said, or end it by an exception.
        """
        wish, captions = decoding or Decoding(), []
        longest = min(wish.most or self.longest, self.longest)
        count = len(next(iter(told.values())))
        pieces = self.tokens.pieces if wish.forbidden else ()
        for first in range(0, count, BLOCK):
            block = slice(first, first + BLOCK)
            session = self.session({name: value[block] for name, value in told.items()}, longest, wish.guidance)
            processors = wish.processors(self.tokens.end, self.tokens.never, pieces, required[block], longest)
            found = wish.decode(watch(session), self.tokens.end, longest, processors, seeds[block])
            captions += [[self.tokens.decode(text) for text in texts] for texts in found.tolist()]
        return captions


class CaptionSession:
    """A session of decoding over the captioner's key-value cache; each token is computed once."""

    def __init__(self, decoder: Decoder, cache: Cache, x: Tensor | None, there: Tensor | None, logits: Tensor | None):
        self.decoder, self.cache, self.there = decoder, cache, there
        self._x, self._logits = x, logits  # tokens not computed yet, or what follows those that are

    @classmethod
    def of(cls, model: Captioner, told: Told, longest: int) -> CaptionSession:
        first = next(iter(told.values()))
        start = torch.full((len(first), 1), model.tokens.start, device=first.device)
        x, there = model.begun(told, start)
        return cls(model.decoder, model.decoder.cache(len(x), x.shape[1] + longest), x, there, None)

    @property
    def size(self) -> int:
        at = self._x if self._x is not None else self._logits
        assert at is not None
        return len(at)

    def logits(self) -> Tensor:
        if self._x is not None:
            self._logits = self.decoder(self._x, self.there, self.cache, last=True)[:, -1].float()
            self._x = None
        assert self._logits is not None
        return self._logits

    def append(self, tokens: Tensor) -> None:
        self.logits()  # whatever was said before is in the cache
        self._x = self.decoder.embed(tokens[:, None])
        if self.there is not None:
            self.there = F.pad(self.there, (0, 1), value=True)

    def select(self, rows: Tensor) -> CaptionSession:
        x, there, logits = (None if one is None else one[rows] for one in (self._x, self.there, self._logits))
        return CaptionSession(self.decoder, self.cache.select(rows), x, there, logits)
