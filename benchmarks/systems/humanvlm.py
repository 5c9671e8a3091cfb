"""People's captions by a captioner that was aligned and tuned, against one that was aligned alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.systems.claim import Claim, Sides
from benchmarks.systems.place import Place, features
from pairwright.components.dataset.captions.english import NOUN, tagged
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.media.decode import decode
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.models.captioner.folder import load_captioner
from pairwright.components.models.resolve import resolve_model
from pairwright.components.pretrain.captioners.captioner import CaptionerSettings, CaptionerTask
from pairwright.components.recaption.experts.foreground import Foreground, ForegroundSettings
from pairwright.components.recaption.experts.region_colours import RegionColours, RegionColoursSettings
from pairwright.components.recaption.humans.human_router import HumanRouter, HumanRouterSettings
from pairwright.components.recaption.humans.part_caption import PartCaption, PartCaptionSettings
from pairwright.components.training.trainer import Trainer

NAMES = {"face": "face", "person": "person", "family": "person"}
ROUTE = {"boxes": "seen.boxes", "labels": "seen.labels", "scores": "seen.scores", "min_side": 32, "min_score": 0.9}
SMALL: dict[str, Any] = {
    "features": "x.vector",
    "layers": 2,
    "max_words": 24,
    "batch_size": 64,
    "lr": 2e-3,
    "warmup_steps": 20,
    "steps": 300,
}


def people(dataset: Dataset) -> tuple[PairBatch, list[str], np.ndarray]:
    """Of a dataset the pairs with a face or a person: their captions by parts, and which pairs they are."""
    rows, images, facts = [], [], []
    for shard, table in dataset.iter_sidecars():
        for row in table.to_pylist():
            image = decode(shard.read_member(row["media"][0]), min_side=96).image if row["media"] else None
            rows.append(row)
            images.append(np.full((96, 96, 3), 255, np.uint8) if image is None else image)
            facts.append({"width": images[-1].shape[1], "height": images[-1].shape[0]})
    keys = [row["key"] for row in rows]
    pairs = PairBatch(np.arange(len(rows), dtype=np.int32), keys, rows, images=images, facts=facts)
    seen = Foreground(ForegroundSettings(label="subgroup", names=NAMES)).score(pairs)
    pairs.columns |= {f"seen.{name}": values for name, values in seen.items()}
    routed = HumanRouter(HumanRouterSettings.parse(ROUTE, "claim")).score(pairs)
    which = np.array([reason is None for reason in routed["reason"]])
    pairs.columns |= {f"route.{name}": values for name, values in routed.items()}
    pairs = pairs.take(np.flatnonzero(which).tolist())
    told: dict[str, list[str]] = {}
    for part, noun in (("face", "face"), ("body", "person")):
        colours = RegionColours(RegionColoursSettings(boxes=f"route.{part}")).score(pairs)["names"]
        pairs.columns[f"{part}.names"] = colours
        wish = {"of": f"route.{part}", "noun": noun, "said": "alt", "attributes": f"{part}.names"}
        step = PartCaption(PartCaptionSettings.parse(wish, "claim"))
        step.setup("cpu")
        told[part] = [one.text if one else "" for one in step.caption(pairs)]
    return pairs, [f"{face} {body}".strip() for face, body in zip(told["face"], told["body"], strict=True)], which


def trained(population: ArrayPopulation, folder: Path, seed: int, **wish: Any) -> Path:
    if not (folder / "config.json").exists():
        trainer = Trainer(CaptionerTask(CaptionerSettings.parse(SMALL | wish | {"seed": seed}, "claim")), population)
        trainer.train(lambda _: None)
        trainer.save(folder)
    return folder


def recalled(model: Captioner, vectors: np.ndarray, captions: list[str]) -> np.ndarray:
    """Of each unseen picture the share of its caption's nouns that the model says."""
    said = model.generate({"image": torch.from_numpy(vectors)})
    nouns = [{word for word, tag in tagged(caption) if tag == NOUN} for caption in captions]
    return np.array(
        [len(some & set(one[0].split())) / max(len(some), 1) for some, one in zip(nouns, said, strict=True)]
    )


def measure(place: Place, seed: int) -> Sides:
    steps, sets = {"image_features": features()["image_features"]}, {}
    for name in ("emoji", "emoji-test"):
        pairs, captions, which = people(place.corpus(name))
        vectors = place.view(place.corpus(name), steps).numpy("image_features.vector")[which].astype(np.float32)
        sets[name] = (pairs, captions, vectors)
    pairs, captions, vectors = sets["emoji"]
    texts = {"alt": [text or "" for text in pairs.captions("alt")], "detailed": captions}
    population, at = ArrayPopulation({"x.vector": vectors}, texts), place.folder / "humanvlm" / str(seed)
    speak = trained(population, at / "speak", seed, source="detailed")
    frozen = {"source": "alt", "freeze": [r"^decoder\."]}
    align = trained(population, at / "align", seed, init=resolve_model(str(speak)), **frozen)
    start = {"init": resolve_model(str(align)), "source": "detailed"}
    tune = trained(population, at / "tune", seed, lora_rank=8, **start)
    more = trained(population, at / "more", seed, freeze=frozen["freeze"], **start)
    test, wanted, unseen = sets["emoji-test"]
    ours, baseline = (recalled(load_captioner(folder), unseen, wanted) for folder in (tune, more))
    also = {"people to learn from": float(len(captions)), "people judged": float(len(wanted))}
    also["nouns recalled after aligning alone"] = float(recalled(load_captioner(align), unseen, wanted).mean())
    return Sides(ours, baseline, [row["group"] for row in test.sidecar], also)


CLAIM = Claim(
    system="humanvlm",
    paper="a model aligned and then tuned on captions of faces, bodies and backgrounds tells of people better than "
    "general ones do.",
    here="on the emoji of faces and people, a projection is aligned before a frozen decoder on names and then tuned on "
    "captions by parts, with low-rank adapters beside the decoder; held against the same steps without adapters.",
    data="emoji of faces and people, judged on those of emoji-test",
    baseline="the second step with the projection alone",
    metric="noun recall: share of the nouns of an unseen picture's caption that the model says",
    measure=measure,
    seeds=(0, 1, 2),
)
