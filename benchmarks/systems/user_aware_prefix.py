"""Titles of unseen clip-art, told their author's words or not, by one frozen language model."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch

from benchmarks.systems.claim import Claim, Sides
from benchmarks.systems.place import IMAGE, Place
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.pairs import caption_of
from pairwright.components.filter.selections.user_words import UserWords, UserWordsSettings
from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.models.captioner.tokens import prompts_of
from pairwright.components.models.resolve import resolve_model
from pairwright.components.pretrain.captioners.captioner import CaptionerSettings, CaptionerTask
from pairwright.components.pretrain.captioners.language_model import LanguageModel, LanguageModelSettings
from pairwright.components.training.contract import Trained
from pairwright.components.training.here import fit_here

HELD_OUT = 5  # of the groups one in five is judged on, and teaches neither model
SMALL: dict[str, Any] = {
    "features": "x.vector",
    "mapping": "queries",
    "prefix": 8,
    "fusion": 2,
    "rates": {"prefix.fusion": 0.1},
    "steps": 400,
    "batch_size": 64,
    "warmup_steps": 20,
}


def measure(place: Place, seed: int) -> Sides:
    view = place.view(place.corpus("raw"), {"image_features": ("image_features", {"tower": IMAGE})})
    rows = view.sidecar(["group", "author", "captions"]).to_pylist()
    titles = [caption_of(row["captions"], "alt") or "" for row in rows]
    keywords = [caption_of(row["captions"], "keywords") or "" for row in rows]
    words = UserWords(UserWordsSettings()).select(view)["words"].to_pylist()
    groups = [row["group"] or str(at) for at, row in enumerate(rows)]
    known = view.column("image_features.vector").is_valid().to_numpy()
    usable = known & np.array([bool(title and words[at]) for at, title in enumerate(titles)])
    judged = np.array([zlib.crc32(group.encode()) % HELD_OUT == 0 for group in groups])
    features = view.numpy("image_features.vector").astype(np.float32)
    taught, unseen = np.flatnonzero(usable & ~judged), np.flatnonzero(usable & judged)

    texts = {"alt": [titles[at] for at in taught], "keywords": [keywords[at] for at in taught]}
    said = {"sources": ["alt", "keywords"], "steps": 600, "batch_size": 64, "seed": seed}
    language_model = LanguageModel(LanguageModelSettings.parse(said, "claim"))
    fit_here(language_model, ArrayPopulation({}, texts))
    folder = place.folder / "language_models" / str(seed)
    language_model.save(folder, Trained(len(taught), 0, 0, 1, [], 1.0))

    population = ArrayPopulation({"x.vector": features[taught], "user.words": [words[at] for at in taught]}, texts)
    told = {"image": torch.from_numpy(features[unseen])}
    costs = {}
    for who in ("user.words", None):
        wish = SMALL | {"decoder": resolve_model(str(folder)), "user": who, "seed": seed}
        model = fit_here(CaptionerTask(CaptionerSettings.parse(wish, "claim")), population).task.model
        own = [" ".join(words[at]) for at in unseen]
        with_words = told | ({"user": prompts_of(model.tokens, own, 16)} if who else {})
        costs[who] = _nats(model, with_words, [titles[at] for at in unseen])
    also = {"titles judged": float(len(unseen)), "titles learnt from": float(len(taught))}
    return Sides(costs["user.words"], costs[None], [groups[at] for at in unseen], also)


def _nats(model: Captioner, told: dict[str, torch.Tensor], texts: list[str]) -> np.ndarray:
    """Nats a token of each text, its end among them."""
    tokens, found = model.tokens.encode(texts, model.longest), []
    with torch.no_grad():
        for rows in torch.arange(len(tokens)).split(128):
            here, said = {name: value[rows] for name, value in told.items()}, tokens[rows]
            nats = model.nats(model.logits(here, said[:, :-1]), said).sum(1) / model.counted(said).sum(1)
            found.append(nats.double())
    return torch.cat(found).numpy()


CLAIM = Claim(
    system="user_aware_prefix",
    paper="told a user's words, captions score about twice the BLEU-4 and CIDEr of earlier personalised captioners.",
    here="a frozen language model that learnt the titles says titles of unseen clip-art behind a prefix of the picture "
    "and of the author's words by TF-IDF over other groups' titles.",
    data="Open Clip Art's titles whose author has written others, four in five groups to learn from, one to judge",
    baseline="the same language model behind a prefix of the picture alone, as many steps",
    metric="nats a token of each title, its end among them",
    measure=measure,
    seeds=(0, 1, 2),
    higher_is_better=False,
)
