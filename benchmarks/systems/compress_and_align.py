"""The reward of Compress & Align against the best single scorer, on captions exchanged, which nothing taught it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.damaged import _domain, _seed_rows
from benchmarks.systems.claim import Claim, Sides
from benchmarks.systems.place import TEXT, Place, features
from pairwright.components.dataset.damage.damage import TEACHING, damaged
from pairwright.components.dataset.damage.damage_texts import Texts
from pairwright.components.dataset.groups import joined
from pairwright.components.dataset.pairs import caption_of
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.reward import RewardModel, caption_statistics
from pairwright.components.models.seen import Seen
from pairwright.components.models.towers.towers import load_text_tower
from pairwright.components.pretrain.reward.evidence import Crawl, Evidence, HeadsOptions, caption_labels, preferred
from pairwright.components.pretrain.reward.judged import Judged
from pairwright.components.pretrain.reward.training import Options, fit_reward
from pairwright.components.training.heads import fit_heads

EXCHANGED, FOLDS, STEPS, BATCH = 0.4, 4, 150, 256


@dataclass(frozen=True)
class Population:
    """The crawl, four in ten captions exchanged, and judgements of seed stamps: a true caption and damaged ones."""

    image: torch.Tensor
    text: torch.Tensor
    captions: list[str]
    exchanged: np.ndarray  # (n,) bool
    domain: np.ndarray
    group: np.ndarray
    judgements: list[tuple[int, str, str, str]]  # (seed stamp, better, worse, kind)
    seed_image: torch.Tensor
    seed_group: np.ndarray
    seed_text: dict[str, torch.Tensor]


_PLACES: dict[str, Population] = {}


def population(place: Place) -> Population:
    """The same for every seed: what is planted is not what the seeds are of."""
    name = str(place.folder)
    if name not in _PLACES:
        _PLACES[name] = _planted(place)
    return _PLACES[name]


def _planted(place: Place) -> Population:
    raw = place.corpus("raw")
    view = place.view(raw, features("alt"))
    rows = [row for _, table in raw.iter_sidecars() for row in table.to_pylist()]
    captions = [caption_of(row["captions"], "alt") or "" for row in rows]
    columns = {name: view.column(f"{name}.vector") for name in ("image_features", "text_alt")}
    usable = np.array([bool(text) for text in captions])
    for column in columns.values():
        usable &= column.is_valid().to_numpy().astype(bool)
    groups = np.unique([row["group"] or row["key"] for row in rows], return_inverse=True)[1]
    domain = np.array([_domain(row) for row in rows])
    seeds, near = _seed_rows(rows, 0)
    mine = usable & ~np.isin(np.arange(len(rows)), list(near))
    said, source = _exchange(captions, groups, domain, mine)
    crawl, stamps = np.flatnonzero(mine), np.array(sorted(row for row in seeds if usable[row]))
    image, text = (view.numpy(f"{name}.vector").astype(np.float32) for name in columns)
    judgements = _judgements([captions[row] for row in stamps], groups[stamps])
    texts = sorted({text for _, better, worse, _ in judgements for text in (better, worse)})
    encoded = torch.as_tensor(np.asarray(load_text_tower(resolve_model(TEXT)).features(texts))).half().float()
    return Population(
        torch.from_numpy(image[crawl]),
        torch.from_numpy(text[source[crawl]]),
        [said[row] for row in crawl],
        source[crawl] != crawl,
        domain[crawl],
        groups[crawl],
        judgements,
        torch.from_numpy(image[stamps]),
        groups[stamps],
        dict(zip(texts, encoded, strict=True)),
    )


def _exchange(
    captions: list[str], groups: np.ndarray, domain: np.ndarray, mine: np.ndarray
) -> tuple[list[str], np.ndarray]:
    """Captions, EXCHANGED of each domain's among each other, and the row each came from."""
    said, source = list(captions), np.arange(len(captions))
    for one in np.unique(domain):
        random = np.random.default_rng([0, len(one)])
        rows = random.permutation(np.flatnonzero(mine & (domain == one)))
        chosen = rows[: round(EXCHANGED * len(rows))]
        texts = Texts([captions[row] for row in chosen], groups=groups[chosen])
        first: dict[str, int] = {captions[row]: int(row) for row in reversed(chosen)}
        for row, text in zip(chosen, damaged(texts, "swapped", range(len(chosen)), random), strict=True):
            if text is not None:
                said[row], source[row] = text, first[text]
    return said, source


def _judgements(captions: list[str], groups: np.ndarray) -> list[tuple[int, str, str, str]]:
    """Each seed stamp's caption against one of every kind of damage that teaches."""
    texts, random = Texts(captions, groups=groups), np.random.default_rng(0)
    made = {kind: damaged(texts, kind, range(len(captions)), random) for kind in TEACHING}
    return [
        (number, better, worse[number] or "", kind)
        for number, better in enumerate(captions)
        for kind, worse in made.items()
        if worse[number]
    ]


def reward_scores(people: Population, seed: int) -> np.ndarray:
    """(n,) of the crawl by a reward whose evidence is of it, each pair by what did not see it."""
    texts = list(people.seed_text)
    number = {text: row for row, text in enumerate(texts)}
    picture, better, worse, kind = (list(one) for one in zip(*people.judgements, strict=True))
    seed_fold = _folds(joined([people.seed_group, caption_labels(texts_of(people))[0]]), seed)
    judged = Judged(
        texts,
        np.arange(len(people.seed_image)),
        np.array(picture),
        np.array([number[one] for one in better]),
        np.array([number[one] for one in worse]),
        np.zeros(len(picture), bool),
        np.array(kind, object),
        np.array(["silver"] * len(picture), object),
        np.zeros(len(picture), bool),
        people.seed_group,
        seed_fold,
    )
    fold = _folds(people.group, seed)
    mine, theirs = caption_labels(people.captions, texts)
    crawl = Crawl(people.image, people.text, caption_statistics(people.captions), mine, fold, preferred(judged, theirs))
    tower = load_text_tower(resolve_model(TEXT))
    model = RewardModel(tower, people.image.shape[1], people.text.shape[1], folds=FOLDS, seed=seed)
    evidence = Evidence(people.seed_image, torch.stack([people.seed_text[t] for t in texts]), caption_statistics(texts))
    fit_reward(model, evidence, judged, Options(HeadsOptions(STEPS, BATCH, seed), seed=seed), crawl)
    model.seen = Seen.of(people.image.numpy(), fold, people.captions, fold)
    return model.score(people.image, people.captions, text_features=people.text).detach().numpy()


def texts_of(people: Population) -> list[str]:
    """The seed stamps' own captions."""
    own = {picture: better for picture, better, _, _ in people.judgements}
    return [own.get(row, f"/{row}") for row in range(len(people.seed_image))]


def _folds(groups: np.ndarray, seed: int, folds: int = FOLDS) -> np.ndarray:
    """(n,) 0..folds-1, groups whole."""
    labels, place = np.unique(groups, return_inverse=True)
    return np.asarray((np.random.default_rng([seed, 3]).permutation(len(labels)) % folds)[place])


def single_scores(people: Population, seed: int) -> Mapping[str, np.ndarray]:
    """(n,) of each scorer alone: the cross-fitted cosine, and what a caption's text says."""
    (labels,) = caption_labels(people.captions)
    fold, cosine = _folds(joined([people.group, labels]), seed, 2), np.zeros(len(labels))
    for scored in (0, 1):
        train, test = fold != scored, fold == scored
        made: Any = fit_heads(
            people.image[train],
            people.text[train],
            dim=128,
            steps=STEPS,
            batch_size=BATCH,
            seed=seed,
            groups=labels[train],
        )
        cosine[test] = (made.image(people.image[test]) * made.text(people.text[test])).sum(1).numpy()
    words, _, letters, distinct = caption_statistics(people.captions).numpy().T
    count = np.bincount(labels)[labels]
    return {"alignment": cosine, "length": words, "letters": letters, "distinct words": distinct, "rarity": -count}


def places(score: np.ndarray, people: Population, domain: str) -> np.ndarray:
    """Of each exchanged pair of a domain, the share of whole ones that score above it, ties half: mean = AUC."""
    mine = people.domain == domain
    whole = np.sort(score[mine & ~people.exchanged])
    asked = score[mine & people.exchanged]
    below, upto = np.searchsorted(whole, asked, "left"), np.searchsorted(whole, asked, "right")
    return np.asarray(1 - (below + upto) / (2 * len(whole)))


def measure(place: Place, seed: int) -> Sides:
    people = population(place)
    ours, others = reward_scores(people, seed), single_scores(people, seed)
    areas = {name: places(score, people, "clipart") for name, score in others.items()}
    best = max(areas, key=lambda name: float(areas[name].mean()))
    also = {f"{name} alone": float(area.mean()) for name, area in areas.items()}
    also |= {"the reward, stamps": float(places(ours, people, "stamp").mean())}
    also |= {"alignment, stamps": float(places(others["alignment"], people, "stamp").mean())}
    groups = people.group[(people.domain == "clipart") & people.exchanged]
    return Sides(places(ours, people, "clipart"), areas[best], groups, also)


CLAIM = Claim(
    system="compress_and_align",
    paper="a reward of human judgements tells which pairs to keep better than CLIP score does (preference accuracy "
    "30.3% above it).",
    here="silver judgements of seven kinds of damage to seed stamps, on evidence fitted on a crawl 40% of whose "
    "captions are exchanged, which no judgement was about; does the reward find the exchanged ones?",
    data="clip-art and stamps of the demo corpus, 40% of each one's captions exchanged; judged on clip-art",
    baseline="the best single scorer, known by its AUC there: cross-fitted cosine, caption length, share of letters, "
    "of distinct words, rarity",
    metric="AUC: chance that a whole pair scores above an exchanged one",
    measure=measure,
    seeds=(0, 1, 2),
)
