"""SITTA: words found through a fitted map, against words found through a turn drawn at random."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.systems.captions import DATA, SMALL
from benchmarks.systems.claim import Claim, Sides
from benchmarks.systems.place import Place
from benchmarks.systems.text_captions import Spaced
from pairwright.components.component import FitInputs
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.models.resolve import resolve_model
from pairwright.components.pretrain.text_only.token_map import FitTokenMap, TokenMapSettings
from pairwright.components.recaption.captioners.sitta import Sitta, SittaSettings

WORDS_TOLD = 8


def measure(place: Place, seed: int) -> Sides:
    tried = Spaced(place, seed)
    spoken = SMALL | {"prompt": "keywords", "prompt_tokens": WORDS_TOLD, "image_dropout": 0.999}
    language = place.train("captioner", spoken, tried.train, seed)
    step = opened(tried, language, place.folder / "models" / f"token-map-{language.name}")
    hits, also = {}, {}
    turned = torch.linalg.qr(torch.randn(*step.map.weight.shape, generator=torch.Generator().manual_seed(seed)).T)[0].T
    for name, weight in (("fitted", step.map.weight), ("drawn", turned)):
        step.map = replace(step.map, weight=weight)
        hits[name], also[f"cosine with the name, map {name}"] = tried.found(captions(step, tried))
    return Sides(hits["fitted"], hits["drawn"], tried.groups, also)


def opened(tried: Spaced, language: Path, folder: Path) -> Sitta:
    """The captioner `sitta` with a map fitted of the language model's words."""
    shared: dict[str, Any] = {
        "encoder": resolve_model(str(tried.space)),
        "language_model": resolve_model(str(language)),
    }
    FitTokenMap(TokenMapSettings.parse(shared, "claim")).fit(FitInputs(tried.train), folder)
    said = shared | {"map": resolve_model(str(folder)), "k": WORDS_TOLD, "decoding": {"least": 1}}
    step = Sitta(SittaSettings.parse(said, "claim"))
    step.setup("cpu")
    return step


def captions(step: Sitta, tried: Spaced) -> list[str]:
    vectors = tried.vectors("pictures.vector").numpy()
    keys = [str(row) for row in range(len(vectors))]
    pairs = PairBatch(np.arange(len(keys)), keys, [{}] * len(keys), columns={"pictures.vector": list(vectors)})
    return [one.text if one else "" for one in step.caption(pairs)]


CLAIM = Claim(
    system="sitta",
    paper="a linear map that costs no gradient lets language models of 250 million parameters caption pictures.",
    here="a language model of the emoji's texts (keywords -> name, no picture told) goes on from the 8 of its words "
    "that are nearest to an unseen emoji through a Procrustes map, in 40 orders, the best by the encoder; captions "
    "search among the names, by a sentence encoder.",
    data=DATA,
    baseline="the same through a turn drawn at random: the encoder's choice among the texts is the same",
    metric="self-retrieval R@5: share of captions whose picture's own name is among the five nearest of all names",
    measure=measure,
    seeds=(0, 1, 2),
)
