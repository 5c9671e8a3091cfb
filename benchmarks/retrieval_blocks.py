"""Exact retrieval, both ways, against one matrix product of that size plus its top-k, side by side in one run.

    python -m benchmarks.retrieval_blocks                         # 5,000 pictures, 25,000 captions, 512 wide
    python -m benchmarks.retrieval_blocks --pictures 1000 --repeats 1

The baseline is `torch.mm` into memory that is there already and `topk(10)` of each picture, one direction alone: it
answers R@K of pictures and neither ranks nor the other way. Ours gives each query's rank, both ways (`ranks`), and
as the benchmark `retrieval` does of pictures with several captions, the share of right answers among the first 1, 5
and 10, too (`shares`). The goal is at most 1.2 times the baseline's time. All are done in turn, `--repeats` times;
a ratio is the median over rounds, of the clock and, since a busy machine takes its time from whom it likes, of the
processor's time. Peak memory is that of each in a process of its own, beyond what vectors take.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import add_output_option, publish
from pairwright.components.evaluate.metrics.positives import Positives
from pairwright.components.evaluate.metrics.ranks import BLOCK_BYTES, retrieval_ranks, retrieval_shares

CAPTIONS_EACH = 5
K = 10
KS = (1, 5, 10)
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
    retrieval_shares(*few, Positives(right.picture[: len(few[1])], np.arange(len(few[1])), np.arange(20)), KS)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew at what is held now
    before = _kib("VmRSS:")
    if what == "blocks":
        retrieval_shares(image, text, right, KS)
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
    parser.add_argument("--repeats", type=int, default=5)
    add_output_option(parser)
    wish = parser.parse_args()
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        peaks = {what: pool.apply(peak_mib, (what, wish.pictures, wish.width)) for what in ("blocks", "product")}
    image, text, right = vectors(wish.pictures, wish.width)
    scores = torch.zeros(len(image), len(text))
    work: dict[str, Callable[[], Any]] = {
        "product_and_topk": lambda: one_product(image, text, scores),
        "ranks": lambda: retrieval_ranks(image, text, right),
        "shares": lambda: retrieval_shares(image, text, right, KS),
    }
    rounds = [{what: timed(one) for what, one in work.items()} for _ in range(wish.repeats)]
    ranks = retrieval_ranks(image, text, right)
    result = {
        "pictures": len(image),
        "captions": len(text),
        "width": wish.width,
        "block_mib": BLOCK_BYTES / 2**20,
        "rounds": wish.repeats,
        "seconds": {what: round(statistics.median(one[what][0] for one in rounds), 3) for what in work},
        "ratio": {what: ratio(rounds, what, 0) for what in ("ranks", "shares")},
        "ratio_of_processor_time": {what: ratio(rounds, what, 1) for what in ("ranks", "shares")},
        "goal": GOAL,
        "peak_mib": {what: round(peak, 1) for what, peak in peaks.items()},
        "r10": {side: round(float((found <= K).mean()), 4) for side, found in zip(("i2t", "t2i"), ranks, strict=True)},
    }
    publish(result, wish.json, ("torch", "numpy"))


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of the clock and of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def ratio(rounds: list[dict[str, tuple[float, float]]], what: str, which: int) -> float:
    """The median over rounds of its time over the baseline's of the same round."""
    return round(statistics.median(one[what][which] / one["product_and_topk"][which] for one in rounds), 3)


if __name__ == "__main__":
    main()
