"""Perplexity: how likely a caption is as language, under a small language model.

    score: {language_model: {uses: perplexity, with: {model: "step:lm"}}}
    keep:  {fluent: "language_model.score >= quantile(language_model.score, 0.1)"}

The model is any causal language model folder of `transformers`, or the n-grams that the fit `ngram_model`
makes from the captions at hand, which needs no download. CCNet (Wenzek et al., 2020) filters web text so. A
low probability is not the same as bad language: rare words are unlikely, too. `slor` takes them out: the
syntactic log-odds ratio (Pauls & Klein, 2012; Lau et al., 2017) compares the text with its words each
alone, so that it tells a sentence from the same words shuffled.

Whichever the model, a caption is read with runs of space and control characters as one space, and `score`
divides its nats by what they are of: the UTF-8 bytes scored, and 1 more where the end is scored, too. The
n-grams score the end as a byte of its own. A model of `transformers` scores none, and of a caption longer
than it reads only the beginning, so that its remaining bytes do not count.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Captions, Scorer, batches
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import ModelError
from pairwright.components.filter.fits.ngram_model import CONFIG, MODEL_TYPE, load
from pairwright.components.filter.selections.caption_column import normalised
from pairwright.components.models.causal_lm import load_causal_lm
from pairwright.components.models.cross_fit import SEEN_BY_BOTH
from pairwright.components.models.ngram import as_bytes
from pairwright.components.registry import scorer
from pairwright.components.settings import ModelFolder, Settings


class PerplexitySettings(Settings):
    model: ModelFolder  # a causal language model's folder, or `step:NAME` of an `ngram_model`
    source: str = "alt"
    batch_size: int = Field(32, ge=1, description="captions at once through a transformers model")


@scorer("perplexity")
class Perplexity(Scorer[PerplexitySettings]):
    """Columns are null where the pair has no caption, none that is read, or both halves of the model saw it.

    Columns:
        score: log-probability of what is scored of the caption, in nats a UTF-8 byte of it (see the
            module's docstring), at most 0; higher reads better.
        perplexity: exp of the mean negative log-probability of a token (a byte, for `ngram_model`).
        tokens: tokens scored, at most what a transformers model reads; for `ngram_model` bytes, with the end.
        slor: nats a byte by which the caption is likelier than its words apart; null for transformers' models.
    """

    requires = Captions("source")
    libraries = ("torch", "transformers", "tokenizers")
    runs_model = True
    columns = {"score": pa.float32(), "perplexity": pa.float32(), "tokens": pa.int32(), "slor": pa.float32()}

    def setup(self, device: str) -> None:
        folder = self.settings.model.path
        if folder is None:
            raise ModelError(f"{self.settings.model.reference} is not resolved to a folder; run it through a recipe")
        self.ngrams = load(folder) if is_ngram(folder) else None
        self.model = None if self.ngrams else load_causal_lm(folder, device)

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        texts = [text or "" for text in pairs.captions(self.settings.source)]
        if self.model is None:
            return self._by_ngrams(pairs, texts)
        plain = [as_bytes(text)[:-1].decode() for text in texts]
        found = [one for batch in batches(plain, self.settings.batch_size) for one in self.model.nll(batch)]
        return {
            "score": [-one.nats / one.size if one.size else None for one in found],
            "perplexity": [float(np.exp(one.nats / one.tokens)) if one.size else None for one in found],
            "tokens": [one.tokens if one.size else None for one in found],
            "slor": [None] * len(texts),
        }

    def _by_ngrams(self, pairs: PairBatch, texts: Sequence[str]) -> dict[str, Any]:
        assert self.ngrams is not None
        halves, table = self.ngrams
        groups = [row.get("group") for row in pairs.sidecar]
        plain = normalised(pa.array(texts, pa.string())).to_pylist()
        unseen = table.unseen(pairs.keys, groups, plain)
        nll, apart = np.full(len(texts), np.nan), np.full(len(texts), np.nan)
        for number, half in enumerate(halves):
            mine = np.flatnonzero(unseen == number)
            nll[mine], apart[mine] = half.nll([texts[int(i)] for i in mine])
        tokens = np.array([len(as_bytes(text)) for text in texts], np.int32)
        silent = (tokens == 1) | (unseen == SEEN_BY_BOTH)  # 1: nothing but the end
        return {
            "score": pa.array(-nll, pa.float32(), mask=silent),
            "perplexity": pa.array(np.exp(nll), pa.float32(), mask=silent),
            "tokens": pa.array(tokens, pa.int32(), mask=silent),
            "slor": pa.array(apart - nll, pa.float32(), mask=silent),
        }


def is_ngram(folder: str | Path) -> bool:
    """Whether a model folder is one of `ngram_model`."""
    try:
        config = json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == MODEL_TYPE
