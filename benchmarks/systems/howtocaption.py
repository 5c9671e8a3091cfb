"""HowToCaption's windows against captions left where they were said."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from benchmarks.machine import ROOT
from benchmarks.systems.claim import Claim, Sides
from benchmarks.systems.place import Place, features, heads
from pairwright.components.dataset.dataset import Dataset, open_dataset
from pairwright.components.dataset.ingest import ingest_all
from pairwright.components.dataset.shards.reading import read_pairs
from pairwright.components.models.resolve import resolve_model
from pairwright.components.recaption.clips.caption_threshold import threshold_of
from pairwright.components.recaption.clips.caption_windows import CaptionWindows, CaptionWindowsSettings
from pairwright.components.recaption.clips.subtitle_captions import SubtitleCaptions, SubtitleCaptionsSettings

CLIPS = 60
SECONDS = 8.0


def measure(place: Place, seed: int) -> Sides:
    encoder = place.train("dual_encoder", heads("alt"), place.view(place.corpus("emoji"), features("alt")), seed)
    spoken = SubtitleCaptions(SubtitleCaptionsSettings())
    spoken.setup("cpu")
    said = {"source": "spoken", "models": [resolve_model(str(encoder))]}
    windows = CaptionWindows(CaptionWindowsSettings.parse(said, "claim"))
    windows.setup("cpu")
    ours, baseline, groups, scores, of_action = [], [], [], [], []
    for shard in clips(place).shards:
        for pairs in read_pairs(shard, pixels=0, frames=True, batch_size=4):
            pairs.extra_captions["spoken"] = [one.text if one else None for one in spoken.caption(pairs)]
            made = windows.score(pairs)
            for i, row in enumerate(pairs.sidecar):
                actions = json.loads(row["meta"])["actions"]
                for at, text in enumerate(made["text"][i]):
                    action = next((one for one in actions if one["name"] in text), None)
                    scores.append(made["score"][i][at])
                    of_action.append(action is not None)
                    if action is not None:
                        ours.append(overlap(action, made["t0"][i][at]))
                        baseline.append(overlap(action, made["said"][i][at]))
                        groups.append(row["key"])
    kept = np.array(scores) >= threshold_of(np.array(scores), sum(of_action))
    also = {
        "captions of small talk": float(len(scores) - sum(of_action)),
        "of as many kept as there are actions, share that is of one": float(np.mean(np.array(of_action)[kept])),
    }
    return Sides(np.array(ours), np.array(baseline), groups, also)


def clips(place: Place) -> Dataset:
    """Composed of the emoji that are only reported on: other things than the encoder learnt."""
    at = place.folder / "clips"
    if not (at / "clips-test" / "dataset.json").exists():
        ingest_all("clips", str(ROOT / "data" / "emoji"), str(at), count=1, evaluation_count=CLIPS)
    return open_dataset(str(at / "clips-test"))


def overlap(action: dict[str, Any], t0: float) -> float:
    """Share of the action that lies in the window of 8 s from t0."""
    return max(0.0, min(action["t1"], t0 + SECONDS) - max(action["t0"], t0)) / (action["t1"] - action["t0"])


CLAIM = Claim(
    system="howtocaption",
    paper="captions moved to the best window within 10 s of where they were said, and the best of them alone, make "
    "better pairs to learn from than captions left where they were said.",
    here="captions of composed clips, by rules from what a narrator says up to 6 s late, are moved by heads that "
    "learnt from the emoji's names and saw none of the clips' things.",
    data=f"{CLIPS} clips of emoji-test, four actions each",
    baseline="the same captions left where they were said",
    metric="share of an action's seconds that lie in its caption's window of 8 s",
    measure=measure,
    seeds=(0, 1, 2),
)
