"""CapsFusion's student against putting both texts side by side: how like its teacher it merges what it never saw."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.systems.captions import DATA, Captioned
from benchmarks.systems.claim import Claim, Sides
from benchmarks.systems.place import Place, features
from pairwright.components.caption_metrics.rouge import rouge_l
from pairwright.components.caption_metrics.tokens import tokens_of
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.models.copying.model import Copying
from pairwright.components.models.copying.source import tokens_of as words_of
from pairwright.components.models.decoding.settings import Decoding
from pairwright.components.pretrain.captioners.fusion_student import FusionStudent, FusionStudentSettings
from pairwright.components.recaption.captioners.capsfusion import merge
from pairwright.components.training.here import fit_here

STUDENT: dict[str, Any] = {
    "fields": {"web": "web", "synthetic": "synthetic"},
    "target": "teacher",
    "steps": 600,
    "batch_size": 32,
    "lr": 2e-3,
    "read": 48,
    "longest": 64,
}


def texts_of(dataset: Dataset, source: str) -> list[str]:
    """The first text of a source of every pair, "" where it has none."""
    rows = (row for _, table in dataset.iter_sidecars() for row in table["captions"].to_pylist())
    return [next((one["text"] for one in row or () if one["source"] == source), "") for row in rows]


def merged(webs: list[str], synthetics: list[str]) -> list[str]:
    return [merge({"web": web, "synthetic": said}) for web, said in zip(webs, synthetics, strict=True)]


def student_of(webs: list[str], synthetics: list[str], seed: int, **changes: Any) -> Copying:
    """A student that has learnt the teacher's merges of these pairs, those that lack a text left out."""
    kept = [i for i, both in enumerate(zip(webs, synthetics, strict=True)) if all(both)]
    some = {"web": [webs[i] for i in kept], "synthetic": [synthetics[i] for i in kept]}
    population = ArrayPopulation({}, some | {"teacher": merged(some["web"], some["synthetic"])})
    task = FusionStudent(FusionStudentSettings.parse(STUDENT | {"seed": seed} | changes, "claim"))
    found: Copying = fit_here(task, population).task.model
    return found


def judged(model: Copying, webs: list[str], synthetics: list[str], groups: list[Any]) -> Sides:
    """ROUGE-L with the teacher of what the student writes, and of both texts side by side."""
    kept = [i for i, both in enumerate(zip(webs, synthetics, strict=True)) if all(both)]
    given = [{"web": webs[i], "synthetic": synthetics[i]} for i in kept]
    written = [text for text, _ in model.write(given, Decoding(search="beam", beams=3, twice_running=True))]
    told = [[tokens_of(text)] for text in merged([one["web"] for one in given], [one["synthetic"] for one in given])]
    beside = [f"{one['web']}. {one['synthetic']}" for one in given]
    rare = [set(words_of(one["web"])) - model.vocabulary.number.keys() for one in given]
    held = [word in set(words_of(text)) for words, text in zip(rare, written, strict=True) for word in words]
    return Sides(
        rouge_l([tokens_of(text) for text in written], told),
        rouge_l([tokens_of(text) for text in beside], told),
        [groups[i] for i in kept],
        {"words it cannot say that it copied": float(np.mean(held)) if held else 1.0, "how many": float(len(held))},
    )


def measure(place: Place, seed: int) -> Sides:
    captioner, corpus, test = Captioned(place, seed), place.corpus("emoji"), place.corpus("emoji-test")
    vectors = place.view(corpus, features("alt")).numpy("image_features.vector").astype(np.float32)
    seen = captioner.model.generate({"image": torch.from_numpy(vectors)}, Decoding(least=1))
    student = student_of(texts_of(corpus, "keywords"), [texts[0] for texts in seen], seed)
    shown = [texts[0] for texts in captioner.captions()]
    return judged(student, texts_of(test, "keywords"), shown, captioner.groups)


CLAIM = Claim(
    system="capsfusion",
    paper="a small model fine-tuned on a large one's merges of web text and synthetic caption merges the corpus in its "
    "place (+18.8 CIDEr on COCO for the model trained on it).",
    here="a copying transformer learns a rule teacher's merges of keywords and a captioner's captions; what it writes "
    "of unseen emoji is held against the teacher's merge, as both texts put one after the other are.",
    data=DATA,
    baseline="both texts one after the other",
    metric="ROUGE-L with the teacher's merge",
    measure=measure,
    seeds=(0, 1, 2),
)
