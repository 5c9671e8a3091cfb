"""Collocate neural modules: a decoder whose modules look for objects, attributes and relations, word by word.

Yang et al., 2019, "Learning to Collocate Neural Modules for Image Captioning" (CNM), as the authors' code has it. With
R the picture's parts (n, P, d), q the query of a word, c the language LSTM's cell after the last one:

    object     o = Att(q, W_o R)           attribute  a = Att(q, W_a R)
    relation   r = Att(q, SelfAtt(R))      function   f = W_f c
    w = softmax(W LSTM_controller[q; o; r; a])          four weights, one a module
    h = LSTM_language[w_f f; w_o o; w_r r; w_a a; q]    each scaled by its weight, end to end and not summed
    q <- q + h                                          and again, M steps over each other

Each step has a controller of its own; the last step's is the one that a linguistic loss teaches. Att is additive
attention. The released command's controller (version 3) is given the objects twice and no relations: `sees="released"`.
Width, attention and dropout are not the authors' (1,000, 512, 0.5); for their bottom-up regions any parts serve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pairwright.components.errors import ModelError
from pairwright.components.models.captioner.decoder import Cache, Decoder, Layer

MODULES = ("function", "object", "relation", "attribute")  # in the order of the controller's weights
Sees = Literal["all", "released"]
LAYERS = 2  # of the relation module's self-attention
States = tuple[tuple[Tensor, Tensor], ...]  # of LSTMs: hidden and cell, each (n, width)


@dataclass(frozen=True)
class Regions:
    """A picture's parts as the modules read them, each (n, P, width); `there` (n, P) bool, `whole` (n, width)."""

    object: Tensor
    relation: Tensor
    attribute: Tensor
    there: Tensor
    whole: Tensor

    def select(self, rows: Tensor) -> Regions:
        return Regions(*(one[rows] for one in (self.object, self.relation, self.attribute, self.there, self.whole)))


class ModuleCache:
    """The parts once they were read, and the LSTMs' states."""

    def __init__(self, regions: Regions | None = None, states: States | None = None) -> None:
        self.regions, self.states = regions, states

    def select(self, rows: Tensor) -> ModuleCache:
        assert self.regions is not None
        assert self.states is not None
        return ModuleCache(self.regions.select(rows), tuple((h[rows], c[rows]) for h, c in self.states))


class Attended(nn.Module):
    """Additive attention: a query (n, width) over parts (n, P, width) -> (n, width), 0 where no part is there."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.part, self.score = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, 1)

    def forward(self, query: Tensor, parts: Tensor, there: Tensor) -> Tensor:
        scores = self.score(torch.tanh(self.part(parts) + self.query(query)[:, None])).squeeze(-1)
        weights = scores.masked_fill(~there, torch.finfo(scores.dtype).min).softmax(-1) * there
        return (weights[:, None] @ parts).squeeze(1)


class Step(nn.Module):
    """One of the M: four modules, their controller, and the language LSTM that reads what it made of them."""

    def __init__(self, width: int, sees: Sees) -> None:
        super().__init__()
        self.sees = sees
        self.object, self.relation, self.attribute = (Attended(width) for _ in range(3))
        self.function = nn.Linear(width, width)
        self.controller, self.weigh = nn.LSTMCell(4 * width, width), nn.Linear(width, len(MODULES))
        self.fused = nn.Identity()  # the modules' outputs as weighed, end to end
        self.language = nn.LSTMCell(5 * width, width)

    def forward(
        self, query: Tensor, regions: Regions, states: States, forced: Tensor | None
    ) -> tuple[Tensor, Tensor, States]:
        """(n, width) -> the next query, the controller's logits (n, 4), and the states of both LSTMs."""
        controller, language = states
        o, r, a = (
            getattr(self, name)(query, getattr(regions, name), regions.there)
            for name in ("object", "relation", "attribute")
        )
        seen = (o, o if self.sees == "released" else r, a)
        controller = self.controller(torch.cat([query, *seen], -1), controller)
        logits = self.weigh(controller[0])
        weights = logits.softmax(-1) if forced is None else forced.expand_as(logits)
        modules = torch.stack([self.function(language[1]), o, r, a], 1)
        fused = self.fused((weights[..., None] * modules).flatten(1))
        language = self.language(torch.cat([fused, query], -1), language)
        return query + language[0], logits, (controller, language)


class ModuleDecoder(Decoder):
    """A prefix of `patches` tokens is the picture's parts; what is behind it are words.

    Unlike others it says nothing of what follows the parts: its logits are of the words' places alone.
    """

    def __init__(
        self,
        vocabulary: int,
        longest: int,
        patches: int,
        width: int = 128,
        heads: int = 4,
        stacked: int = 2,
        sees: Sees = "all",
    ) -> None:
        super().__init__()
        if width % heads:
            raise ModelError(f"the decoder's width {width} is no multiple of its {heads} heads")
        self.width, self.longest, self.patches, self.heads, self.sees = width, longest, patches, heads, sees
        self.words = nn.Embedding(vocabulary, width)
        self.objects, self.attributes = nn.Linear(width, width), nn.Linear(width, width)
        self.relations = nn.ModuleList(Layer(width, heads) for _ in range(LAYERS))
        self.place = nn.Parameter(torch.randn(patches, width) * 0.02)
        self.attend = nn.LSTMCell(3 * width, width)
        self.steps = nn.ModuleList(Step(width, sees) for _ in range(stacked))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.words.weight, std=0.02)

    def config(self) -> dict[str, Any]:
        sizes = {"longest": self.longest, "patches": self.patches, "width": self.width, "heads": self.heads}
        return sizes | {"stacked": len(self.steps), "sees": self.sees}

    def embed(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.words(tokens)
        return found

    def cache(self, rows: int, length: int) -> ModuleCache:
        return ModuleCache()

    def forward(self, x: Tensor, there: Tensor | None, cache: Cache | None = None, last: bool = False) -> Tensor:
        assert cache is None or isinstance(cache, ModuleCache)
        logits, _ = self.read(x, there, cache)
        return logits[:, -1:] if last else logits

    def read(
        self, x: Tensor, there: Tensor | None, cache: ModuleCache | None = None, forced: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `forward`, and how the controllers weighed: logits of words (n, t, V), of modules (n, t, M, 4).

        Args:
            forced: weights (4,) in the place of the controllers', in the order of MODULES.

        Raises:
            ModelError: the prefix is not of as many tokens as the picture has parts.
        """
        cache = cache if cache is not None else ModuleCache()
        if cache.regions is None:
            if x.shape[1] <= self.patches:
                raise ModelError(f"modules look at {self.patches} parts of a picture; tell them of all of these")
            parts = x[:, : self.patches]
            known = x.new_ones(parts.shape[:2], dtype=torch.bool) if there is None else there[:, : self.patches]
            cache.regions = self._regions(parts, known)
            zeros = x.new_zeros(len(x), self.width)
            cache.states = ((zeros, zeros),) * (1 + 2 * len(self.steps))
            x = x[:, self.patches :]
        assert cache.states is not None
        said, steered = [], []
        for word in x.unbind(1):
            hidden, steering, cache.states = self._word(word, cache.regions, cache.states, forced)
            said.append(hidden)
            steered.append(steering)
        logits: Tensor = self.norm(torch.stack(said, 1)) @ self.words.weight.T
        return logits, torch.stack(steered, 1)

    def _word(
        self, word: Tensor, regions: Regions, states: States, forced: Tensor | None
    ) -> tuple[Tensor, Tensor, States]:
        attend = self.attend(torch.cat([regions.whole, word, states[-1][0]], -1), states[0])
        query, after, steered = attend[0], [attend], []  # each word's states, in the order of the cache
        for number, step in enumerate(self.steps):
            at = 1 + 2 * number
            query, logits, made = step(query, regions, states[at : at + 2], forced)
            after += made
            steered.append(logits)
        return query, torch.stack(steered, 1), tuple(after)

    def _regions(self, parts: Tensor, there: Tensor) -> Regions:
        parts = (parts + self.place) * there[..., None]
        seen = there[:, None, None] | torch.eye(self.patches, dtype=torch.bool, device=parts.device)
        related = parts
        for number, layer in enumerate(self.relations):
            related = layer(related, seen, None, number)
        whole = parts.sum(1) / there.sum(1, keepdim=True).clamp(min=1)
        return Regions(self.objects(parts), related, self.attributes(parts), there, whole)
