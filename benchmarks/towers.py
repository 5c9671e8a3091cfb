"""Claim: a locked EfficientNet-Lite0 gives the same vectors by ONNX Runtime at least 1.9 times as fast as by torch.

    python -m benchmarks.towers

And in int8 at least 4 times; one text by MiniLM at least twice. One process, one core, one thread each; the sides
take turns, and the median over the rounds of their ratio counts: of CPU seconds, so that a busy machine changes little.
Torch is the folded, channels-last tower. Pictures are the demo corpus's; int8's ranges come from others.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import add_output_option, publish
from benchmarks.spread import ratios, spread
from pairwright.components.models.towers.efficientnet import EfficientNetLite0
from pairwright.components.models.towers.int8_tower import int8_tower, sample
from pairwright.components.models.towers.sentence import SentenceTower
from pairwright.components.models.towers.shared_towers import load_tower

RAW = Path(__file__).parents[1] / "data/raw"
PICTURES, CHUNK = 48, 8
TEXT = ["a red square on the left"]


def cpu_seconds(work: Callable[[], Any], times: int) -> float:
    started = time.process_time()
    for _ in range(times):
        work()
    return time.process_time() - started


def turns(sides: dict[str, Callable[[], Any]], rounds: int, times: int) -> dict[str, list[float]]:
    """Seconds of each side, round by round, after one round that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, work in sides.items():
            seconds = cpu_seconds(work, times)
            if number:
                taken[name].append(seconds)
    return taken


def images(rounds: int, data: str) -> dict[str, Any]:
    locked = load_tower("builtin:efficientnet-lite0")
    assert isinstance(locked, EfficientNetLite0)
    small = int8_tower(locked, data)
    pictures = sample(data, 5 * PICTURES, locked.side)[1::5]  # hardly one of those that int8 was calibrated on
    chunks = [torch.from_numpy(pictures[at : at + CHUNK].copy()) for at in range(0, len(pictures), CHUNK)]

    def by_torch() -> torch.Tensor:
        with torch.inference_mode():
            return torch.cat([locked.infer(chunk) for chunk in chunks])

    sides = {"torch": by_torch, "onnx": lambda: locked.features(pictures), "int8": lambda: small.features(pictures)}
    taken = turns(sides, rounds, 1)
    expected, found, integers = (work() for work in sides.values())
    return {
        "pictures_a_second": {n: spread([len(pictures) / one for one in of], 1) for n, of in taken.items()},
        "onnx_times_torch": ratios(taken["torch"], taken["onnx"], 2),
        "int8_times_torch": ratios(taken["torch"], taken["int8"], 2),
        "largest_difference": float((found - expected).abs().max()),
        "int8_mean_cosine": {
            "here": round(float(torch.cosine_similarity(integers, expected).mean()), 4),
            "recorded": round(small.facts["mean_cosine"], 4),
        },
    }


def texts(rounds: int) -> dict[str, Any]:
    locked = load_tower("builtin:minilm")
    assert isinstance(locked, SentenceTower)

    def by_torch() -> torch.Tensor:
        with torch.inference_mode():
            return locked(**locked.tokens(TEXT))

    taken = turns({"torch": by_torch, "onnx": lambda: locked.features(TEXT)}, rounds, 10)
    return {
        "one_text_onnx_times_torch": ratios(taken["torch"], taken["onnx"], 2),
        "one_text_ms": {name: spread([100 * one for one in of], 2) for name, of in taken.items()},
        "largest_text_difference": float((locked.features(TEXT) - by_torch()).abs().max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--data", default=str(RAW), help="an ingested data set")
    add_output_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = images(options.rounds, options.data) | texts(options.rounds)
    publish(result, options.json, ("torch", "onnxruntime", "transformers"))


if __name__ == "__main__":
    main()
