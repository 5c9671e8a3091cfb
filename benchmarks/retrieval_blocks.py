"""Exact retrieval ranks both ways against one matrix product of that size plus its top-k, in one run.

    python -m benchmarks.retrieval_blocks                         # 5,000 pictures, 25,000 captions, 512 wide
    python -m benchmarks.retrieval_blocks --pictures 1000 --repeats 1

The baseline is `torch.mm` into memory that is there already and `topk(10)` of each picture, one direction alone: it
answers R@K of pictures and neither ranks nor the other way. The goal is at most 1.2 times its time. Both are done in
turn, `--repeats` times, and the ratio is that of the fastest rounds and, beside it, the median over rounds. Peak memory
is that of each in a process of its own, beyond what vectors take.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import add_output_option, publish
from pairwright.components.evaluate.metrics.positives import Positives
from pairwright.components.evaluate.metrics.ranks import BLOCK_BYTES, retrieval_ranks

CAPTIONS_EACH = 5
K = 10
GOAL = 1.2
NOISE = 6.0  # of a caption's vector against its picture's, so that a recall is neither 0 nor 1


def vectors(pictures: int, width: int) -> tuple[np.ndarray, np.ndarray, Positives]:
    """Unit vectors of pictures and of their captions; a twentieth of the captions recurs."""
    random = np.random.default_rng(0)
    picture = np.repeat(np.arange(pictures), CAPTIONS_EACH)
    image = random.standard_normal((pictures, width), np.float32)
    text = image[picture] + NOISE * random.standard_normal((len(picture), width), np.float32)
    recurs = np.arange(len(picture)) % max(1, int(len(picture) * 0.95))
    sides = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (image, text)]
    return sides[0], sides[1], Positives(picture, recurs, np.arange(pictures))


def one_product(image: np.ndarray, text: np.ndarray, scores: torch.Tensor | None = None) -> torch.Tensor:
    """Numbers of each picture's ten best captions."""
    if scores is None:
        scores = torch.empty(len(image), len(text))
    torch.mm(torch.from_numpy(image), torch.from_numpy(text).T, out=scores)
    return scores.topk(K, dim=1).indices


def peak_mib(what: str, pictures: int, width: int) -> float:
    """How far the process's peak grows over what it held with the vectors."""
    image, text, right = vectors(pictures, width)
    few = image[:20], text[: 20 * CAPTIONS_EACH]
    one_product(*few)
    retrieval_ranks(*few, Positives(right.picture[: len(few[1])], np.arange(len(few[1])), np.arange(20)))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew at what is held now
    before = _kib("VmRSS:")
    if what == "blocks":
        retrieval_ranks(image, text, right)
    else:
        one_product(image, text)
    return (_kib("VmHWM:") - before) / 1024


def _kib(line: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(one for one in lines if one.startswith(line)).split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=2)
    add_output_option(parser)
    wish = parser.parse_args()
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        peaks = {what: pool.apply(peak_mib, (what, wish.pictures, wish.width)) for what in ("blocks", "product")}
    image, text, right = vectors(wish.pictures, wish.width)
    scores = torch.zeros(len(image), len(text))
    rounds = []
    for _ in range(wish.repeats):
        start = time.perf_counter()
        one_product(image, text, scores)
        between = time.perf_counter()
        ranks = retrieval_ranks(image, text, right)
        rounds.append((time.perf_counter() - between, between - start))
    fastest = [min(one[side] for one in rounds) for side in (0, 1)]
    result = {
        "pictures": len(image),
        "captions": len(text),
        "width": wish.width,
        "block_mib": BLOCK_BYTES / 2**20,
        "blocks_seconds": round(fastest[0], 3),
        "product_and_topk_seconds": round(fastest[1], 3),
        "ratio": round(fastest[0] / fastest[1], 3),
        "ratio_median": round(statistics.median(blocks / product for blocks, product in rounds), 3),
        "goal": GOAL,
        "peak_mib": {what: round(peak, 1) for what, peak in peaks.items()},
        "r10": {side: round(float((found <= K).mean()), 4) for side, found in zip(("i2t", "t2i"), ranks, strict=True)},
    }
    publish(result, wish.json, ("torch", "numpy"))


if __name__ == "__main__":
    main()
