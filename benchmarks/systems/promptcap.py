"""Questions about unseen scenes, answered from a caption made for the question or from one made without it."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.systems.claim import Claim, Sides
from benchmarks.systems.place import IMAGE, Place
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.dataset.sources.scenes.questions import answer_from
from pairwright.components.models.captioner.prefix import vectors_of
from pairwright.components.models.captioner.tokens import prompts_of
from pairwright.components.pretrain.captioners.captioner import CaptionerSettings, CaptionerTask
from pairwright.components.recaption.captioners.question_caption import QuestionCaption, QuestionCaptionSettings
from pairwright.components.recaption.captioners.scene_question import SceneAnswer, SceneQuestion, SceneQuestionSettings
from pairwright.components.training.here import fit_here

HELD_OUT, GRID = 5, 4  # every fifth family is asked about and teaches nothing; parts along a side of a picture
SMALL: dict[str, Any] = {
    "features": "x.vector",
    "vectors": GRID**2,
    "prefix": 1,
    "layers": 2,
    "max_words": 20,
    "least": 1,
    "steps": 400,
    "batch_size": 64,
    "lr": 2e-3,
    "warmup_steps": 20,
}


def measure(place: Place, seed: int) -> Sides:
    scenes, _ = place.scenes()
    view = place.view(scenes, {"parts": ("patch_features", {"tower": IMAGE, "grid": GRID})})
    rows = view.sidecar(["key", "group", "captions", "labels"]).to_pylist()
    pairs = PairBatch(np.arange(len(rows)), [row["key"] for row in rows], rows)
    for name, uses in (("question", SceneQuestion), ("answer", SceneAnswer)):
        made = uses(SceneQuestionSettings(seed=seed)).caption(pairs)
        pairs.extra_captions[name] = [one.text if one else None for one in made]
    wish = {"question": "question", "answers": "answer", "captions": ["alt", "paraphrase"], "least": 0.99}
    step = QuestionCaption(QuestionCaptionSettings.parse(wish, "claim"))
    step.setup("cpu")
    prompted = [one.text if one else "" for one in step.caption(pairs)]
    questions, answers = ([text or "" for text in pairs.captions(source)] for source in ("question", "answer"))
    texts = {"question": questions, "prompted": prompted, "alt": [text or "" for text in pairs.captions("alt")]}
    judged = np.array([int(row["group"].rpartition("-")[2]) % HELD_OUT == 0 for row in rows])
    taught, unseen = np.flatnonzero(~judged & np.array([bool(one) for one in prompted])), np.flatnonzero(judged)
    features = view.numpy("parts.vector").astype(np.float32)
    population = ArrayPopulation(
        {"x.vector": features[taught]}, {n: [t[at] for at in taught] for n, t in texts.items()}
    )
    hits: dict[str, np.ndarray] = {}
    for source in ("prompted", "alt"):
        said = SMALL | {"source": source, "prompt": "question" if source == "prompted" else None, "seed": seed}
        model = fit_here(CaptionerTask(CaptionerSettings.parse(said, "claim")), population).task.model
        told = {"image": vectors_of(features[unseen], GRID**2)}
        if source == "prompted":
            told["prompt"] = prompts_of(model.tokens, [questions[at] for at in unseen], 16)
        captions = [found[0] for found in model.generate(told)]
        right = [answer_from(questions[at], text) == answers[at] for at, text in zip(unseen, captions, strict=True)]
        hits[source] = np.array(right, np.float64)
    also = {"questions asked": float(len(unseen)), "captions kept to learn from": float(len(taught))}
    return Sides(hits["prompted"], hits["alt"], [rows[at]["group"] for at in unseen], also)


CLAIM = Claim(
    system="promptcap",
    paper="a language model answers more from captions made for the question than from generic ones (OK-VQA 60.4%).",
    here="a captioner told a question about a composed scene, and one that learnt the scenes' whole captions, caption "
    "unseen families of scenes; rules answer the question from either caption alone.",
    data="1,200 composed scenes, four in five families to learn from, a question each",
    baseline="the captioner of plain captions, as many steps",
    metric="share of the questions answered rightly",
    measure=measure,
    seeds=(0, 1, 2),
)
