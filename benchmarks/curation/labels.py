"""Do labels help the reward? More and more judgements of a scripted labeller, on a crawl with exchanged captions.

    found = label_curves(view, ("swapped20", "swapped40", "swapped60"))

Judged are the seed stamps (benchmarks/damaged.py): each one's caption and file's name, and both of one other stamp,
every two of the four. The labeller is a rule and no person, and judges as one might: it keeps by TASTE, which the
reward is told nothing of, and slips as people do (Bradley and Terry: the log-odds that it keeps the one of two are
the difference of their worth). Evidence is of the crawl; what counts are judgements of pictures that share nothing
with those a judge was fitted on. TASTE was declared before the first run; the candidates were changed after it, on
damage of another seed, since folders' names, which many pictures share, left too few that share nothing. Its
judgements stand as a person's, since a reward learns no taste from silver ones: here, in a column that nothing else
reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from pairwright.components.component import FitInputs
from pairwright.components.dataset.judgements import HUMAN, JUDGEMENTS
from pairwright.components.dataset.shards.columns import ColumnsView, StepColumns
from pairwright.components.hashing import canonical, sha256_text
from pairwright.components.pretrain.reward.evidence import captions_of
from pairwright.components.pretrain.reward.settings import RewardSettings
from pairwright.components.pretrain.reward.task import FitReward

TASTE = {"of this picture": 2.0, "a phrase, no name of a file": 1.5, "a word beyond the twelfth": -0.1}
WORDS = 12
SHARES = [0.05, 0.1, 0.2, 0.5, 1.0]
SEED = 0
NAME = "file_name"


def label_curves(view: ColumnsView, sources: Sequence[str]) -> dict[str, Any]:
    """By variant of the crawl: accuracy of the reward and of its evidence at each number of labels, and the gain."""
    rows, sure = judgements(view)
    labels = StepColumns("labels", sha256_text(canonical([rows, TASTE]))[:16])
    array, start = pa.array(rows, type=JUDGEMENTS), 0
    for shard in view.dataset.shards:
        if not view.store.has(labels, shard.digest):
            view.store.write(labels, shard.digest, {"judgements": array.slice(start, shard.rows)}, shard.rows)
        start += shard.rows
    labelled = replace(view, steps={**view.steps, "labelled": labels})
    said = [one for row in rows if row for one in row]
    return {
        "judgements": len(said),
        "pictures": sum(bool(row) for row in rows),
        "labeller_agrees_with_its_taste": sure,
        "taste": TASTE,
        "crawls": {source: _curve(labelled, source) for source in sources},
    }


def _curve(view: ColumnsView, source: str) -> dict[str, Any]:
    wish = {
        "preferences": ["labelled.judgements"],
        "accept": [HUMAN],
        "source": source,
        "text": f"features_{source}.vector",
        "near": f"near_{source}.group",
        "curve": SHARES,
    }
    with TemporaryDirectory() as folder:
        metrics = FitReward(RewardSettings.parse(wish, "labels")).fit(FitInputs(view), Path(folder))
    points = [
        {"labels": int(name.partition(".")[2]), "reward": value, "evidence": metrics[f"evidence_{name}"]}
        for name, value in metrics.items()
        if name.startswith("accuracy_at.")
    ]
    return {"points": points, "gain": [metrics[f"labels_gain{bound}"] for bound in ("", "_low", "_high")]}


def judgements(view: ColumnsView) -> tuple[list[list[dict[str, Any]] | None], float]:
    """Each row's judgements, None where it is no seed stamp; and the share in which the labeller did not slip."""
    random = np.random.default_rng(SEED)
    own, names = captions_of(view, "seed"), captions_of(view, NAME)
    found: list[list[dict[str, Any]] | None] = [None] * view.rows
    right = []
    for row, other in _partners([row for row, text in enumerate(own) if text], own, random).items():
        candidates = [Candidate(texts[of], of == row, texts is own) for of in (row, other) for texts in (own, names)]
        said = []
        for one, two in combinations([candidate for candidate in candidates if candidate.text], 2):
            odds = one.worth - two.worth
            keeps_one = random.random() < 1 / (1 + np.exp(-odds))
            right.append(keeps_one == (odds > 0))
            better, worse = (one, two) if keeps_one else (two, one)
            said.append(
                {"better": better.text, "worse": worse.text, "tie": False, "kind": "preference", "by": "script"}
                | {"better_source": better.source, "worse_source": worse.source, "origin": HUMAN}
            )
        found[row] = said
    return found, float(np.mean(right))


@dataclass(frozen=True)
class Candidate:
    """A caption or the name of a file, of the judged picture (`about`) or of another."""

    text: str | None
    about: bool
    phrase: bool

    @property
    def worth(self) -> float:
        """What the labeller thinks of it."""
        about, phrase, long = TASTE.values()
        return about * self.about + phrase * self.phrase + long * max(0, len((self.text or "").split()) - WORDS)

    @property
    def source(self) -> str:
        return f"{'own' if self.about else 'other'} {'caption' if self.phrase else 'name'}"


def _partners(rows: list[int], own: list[str | None], random: np.random.Generator) -> dict[int, int]:
    """Rows in pairs that lend each other their captions: in a longer chain all judged pictures would share texts."""
    drawn = random.permutation(rows).tolist()
    pairs = [(one, two) for one, two in zip(drawn[::2], drawn[1::2], strict=False) if own[one] != own[two]]
    return {row: partner for one, two in pairs for row, partner in ((one, two), (two, one))}
