"""Token map: a linear map, without a gradient, from pictures' vectors to a language model's tokens.

    fit: {map: {uses: token_map, with: {encoder: "step:space", language_model: ./smollm2, pictures: pictures.vector}}}

SITTA (Paischer et al., 2023). The map is learnt of the language model's own words, each embedded as a text by the dual
encoder (`anchors: words`), or of pairs, each picture with every word of its caption (`anchors: pairs`); by Procrustes,
which only turns, or by least squares. Asked with pictures, it says which tokens are near (the captioner `sitta`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from pairwright.components.component import Captions, Columns, Fit, FitInputs
from pairwright.components.dataset.groups import held_out
from pairwright.components.dataset.pairs import caption_of
from pairwright.components.errors import ModelError
from pairwright.components.models.resolve import TOWER_LIBRARIES
from pairwright.components.registry import fit
from pairwright.components.settings import ModelFolder, Settings

if TYPE_CHECKING:
    from torch import Tensor

    from pairwright.components.models.token_map.language import Language

FEWEST = 2  # anchors


class TokenMapSettings(Settings):
    encoder: ModelFolder = Field(description="dual encoder of the shared space")
    language_model: ModelFolder = Field(description="of transformers, or a captioner trained with a `prompt`")
    pictures: str = Field("pictures.vector", description="step.column of pictures' unit vectors in the shared space")
    source: str = Field("alt", description="captions, of anchors: pairs")
    anchors: Literal["words", "pairs"] = "words"
    method: Literal["procrustes", "least_squares"] = "procrustes"
    ridge: float = Field(0.0, ge=0, description="of least_squares: weight of |W|^2, times the anchors")
    template: str = Field("{}", description="what is embedded of a word")
    most_words: int = Field(4000, ge=1, description="whole words of the language model that take part, the first")
    most_pairs: int = Field(20_000, ge=1, description="of anchors: pairs, evenly over the data")


@fit("token_map")
class FitTokenMap(Fit[TokenMapSettings]):
    """Metrics: `anchors`, `token_r1` (share of the words whose own token is nearest to their vector, centred as words
    are: on what it was fitted), `not_turning` (the greatest |W'W - I|, or of W W' in a smaller space).

    Raises:
        ModelError: there are fewer than two anchors, or no picture has a vector.
    """

    requires = Columns("pictures") + Captions("source")
    libraries = ("transformers", *TOWER_LIBRARIES)

    def fit(self, inputs: FitInputs, folder: Path, progress: Any = None) -> Mapping[str, float]:
        import torch

        from pairwright.components.models.token_map.language import open_language

        assert self.settings.language_model.path is not None
        with torch.no_grad():
            device = str(inputs.extra.get("device", "cpu"))
            return self._fit(inputs, folder, open_language(self.settings.language_model.path, device))

    def _fit(self, inputs: FitInputs, folder: Path, language: Language) -> Mapping[str, float]:
        from pairwright.components.models.token_map import token_map as of

        wish, vectors = self.settings, language.vectors()
        words = language.words(wish.most_words)
        pictures, captions = self._pairs(inputs)
        embedded = self._embedded(list(words))
        if wish.anchors == "words":
            x, tokens = of.Scale.of(embedded)(embedded), list(words.values())
        else:
            said = [[words[word] for word in caption.lower().split() if word in words] for caption in captions]
            x = of.Scale.of(pictures)(pictures)[[row for row, some in enumerate(said) for _ in some]]
            tokens = [token for some in said for token in some]
        if len(tokens) < FEWEST:
            raise ModelError(f"token_map has {len(tokens)} anchors of {len(words)} whole words; name another model")
        scale = of.Scale.of(vectors[list(words.values())])
        y = scale(vectors[tokens])
        weight = of.procrustes(x, y) if wish.method == "procrustes" else of.least_squares(x, y, wish.ridge)
        made = of.TokenMap(weight, of.Scale.of(pictures), scale)
        made.save(folder, _card(wish, len(tokens)), {"anchors": wish.anchors, "method": wish.method})
        by_words = of.TokenMap(weight, of.Scale.of(embedded), scale)
        return _measured(by_words, embedded, vectors, list(words.values())) | {"anchors": float(len(tokens))}

    def _pairs(self, inputs: FitInputs) -> tuple[Tensor, list[str]]:
        """Vectors of pictures that may be learnt from, and their captions ("" where there is none)."""
        import torch

        wish, view = self.settings, inputs.view
        known = view.column(wish.pictures).is_valid().to_numpy() & ~held_out(view)
        rows = np.flatnonzero(known)
        if len(rows) < FEWEST:
            raise ModelError(f"token_map: {len(rows)} pairs have {wish.pictures}; score them first")
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), wish.most_pairs)).astype(np.int64)]
        sidecar = view.sidecar(["captions"])["captions"].take(rows).to_pylist()
        captions = [caption_of(one, wish.source) or "" for one in sidecar]
        return torch.from_numpy(view.numpy(wish.pictures)[rows].astype(np.float32)), captions

    def _embedded(self, words: list[str]) -> Tensor:
        from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder

        encoder = load_dual_encoder(self.settings.encoder)
        return encoder.encode_text([self.settings.template.format(word) for word in words]).float().cpu()


def _measured(made: Any, embedded: Tensor, vectors: Tensor, tokens: list[int]) -> dict[str, float]:
    import torch

    own = torch.tensor(tokens)
    found = made.nearest(embedded, vectors, own, 1)[:, 0]
    weight = made.weight.double()
    square = weight.T @ weight if weight.shape[0] >= weight.shape[1] else weight @ weight.T
    apart = (square - torch.eye(len(square), dtype=square.dtype)).abs().max()
    return {"token_r1": float((found == own).float().mean()), "not_turning": float(apart)}


def _card(wish: TokenMapSettings, anchors: int) -> str:
    return f"""# Token map

A linear map from the space of {wish.encoder.reference} into the space of tokens of {wish.language_model.reference}, by
{wish.method.replace("_", " ")} on {anchors} anchors ({wish.anchors}). No gradient was computed. Asked with a picture's
vector, it says which tokens are near; it writes nothing by itself.
"""
