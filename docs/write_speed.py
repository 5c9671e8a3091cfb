"""Write docs/speed.md from what the benchmarks last found; `make bench` calls it.

A benchmark that was not run here keeps the lines it has on the page, and the page what it says of old lines.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/speed.md"
RESULTS = ROOT / "workspace/benchmarks"
HEAD = """# How fast, and in how much memory

Each line is what a script in [benchmarks/](../benchmarks) printed, on the machine named beside it. A speed is a ratio
against a reference of the same run, or a time within a stated budget; of several runs the median is told, with the
least and the greatest in brackets. Machines are shared: the second digit is noise.

    make bench        # hours, and this page; each also runs alone: python -m benchmarks.NAME

"""
TABLE = """| what | found | wanted | script | on |
| --- | --- | --- | --- | --- |
"""
PICTURE = """
![Share of planted copies found over the bits in which they differ](pictures/near_duplicates.svg)

`auto` compares every pair of hashes that could be within 31 bits and misses none; `never` is the search that may miss
some, for those who would rather have it sooner. Lines are what its bands promise, dots what it found.
"""


def spread(value: dict[str, float], digits: int = 2) -> str:
    """Median of the runs, with the least and the greatest."""
    return f"**{value['median']:.{digits}f}** [{value['min']:.{digits}f}, {value['max']:.{digits}f}]"


def other_system(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    goal = f"{found['goal']:.0f} times"
    lines = []
    for row in found["rows"][1:]:
        name, times = row["system"], found["times"][row["system"]]
        wanted = goal if name == found["compared"] else ""
        what = f"ten scorers against {name} ({row['pictures_a_batch']}), {found['runs']} runs"
        lines.append((what, f"{spread(times['in_operators'], 1)} times its pairs/s in the operators", wanted))
        lines.append(("the same, the whole command", f"{spread(times['end_to_end'], 1)} times", wanted))
    for what, head, wanted in (
        ("planted near-duplicates found", "copies_found", "more"),
        ("planted corrupt pictures kept", "corrupt_kept", "none"),
        ("sound pairs dropped (the corpus repeats itself, so some are near-duplicates, too)", "sound_dropped", ""),
    ):
        told = "; ".join(f"{row['system'].replace('pairwright', 'ours')} {row[head]}" for row in found["rows"])
        lines.append((f"{what}, of {found['pairs']:,} pairs", told, wanted))
    return lines


def throughput(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    lines = []
    for one in found["corpora"]:
        rate = one["pairs_per_second"]
        what = f"filter stage against the same library calls in a bare loop of two processes, {one['corpus']}"
        warm = f"{spread(one['ratio_warm'])} of it, {rate['engine_warm']['median']:.0f} pairs/s"
        cold = f"{spread(one['ratio_whole_command'])} of it, {rate['engine_cold']['median']:.0f} pairs/s"
        lines.append((f"{what}, both warm, {one['runs']} runs", warm, f"{found['goal']}"))
        lines.append(("the same from nothing, Ray's start against a fork", cold, ""))
    return lines


def scaling(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    said = f"{spread(found['ratio'])} times (a bare fork pool: {spread(found['ratio_of_a_bare_pool'])})"
    return [(f"filter stage with two workers against one, {found['runs']} runs", said, f"{found['goal']} times")]


def memory(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    lines = []
    for stage, ratio in found["ratios"].items():
        small, large = found["peak_mib"][stage]
        rows = found["rows_of_verdicts" if stage == "verdicts" else "pairs"]
        wanted = "at most 320 MiB more" if stage == "verdicts" else f"{found['budget']} times"
        said = f"**{ratio:.2f} times** ({small:.0f} and {large:.0f} MiB)"
        lines.append((f"peak memory, {stage}: {rows[1]:,} against {rows[0]:,}", said, wanted))
    return lines


def funnel(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    said = f"**{found['seconds']:.0f} s, {found['peak_gib']:.1f} GiB**"
    return [(f"selection and funnel over {found['rows']:,} rows of columns", said, _budget(found))]


def _budget(found: dict[str, Any]) -> str:
    return f"{found['budget']['seconds']} s, {found['budget']['gib']:.0f} GiB"


def near(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    names = {"auto": "exact", "never": "the search that may miss some"}
    lines = []
    for way, run in found["runs"].items():
        said = f"**{run['seconds']:.0f} s, {run['peak_gib']:.1f} GiB, recall {run['mean_recall']:.4f}**"
        wanted = f"{_budget(found)}, {found['budget']['recall']}"
        lines.append((f"{found['rows']:,} hashes grouped at 31 bits, {names[way]}", said, wanted))
    said = f"{found['ratio_multi_hash']:.0f} times as fast"
    return [*lines, ("1,000,000 hashes against faiss's multi-index hash with the same bands", said, "")]


def semantic(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    def told(run: dict[str, Any]) -> str:
        return (
            f"{run['seconds']:.0f} s, {run['peak_mib'] / 1024:.1f} GiB, {run['planted_recall']:.1%} of planted copies"
        )

    what = f"semantic duplicates among {found['rows']:,} vectors of {found['width']}, beside faiss's k-means and search"
    return [(what, f"**{told(found['ours'])}**; faiss {told(found['faiss'])}", "a million")]


def explorer(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    names = {"page_ms": "a filtered, sorted page", "thumbnail_ms": "a thumbnail", "histogram_ms": "a histogram"}
    return [
        (
            f"explorer over {found['rows']:,} pairs: {said}",
            f"**{found[name]['p95']:.0f} ms** at the 95th percentile",
            f"{found['targets_p95_ms'][name]:.0f} ms" if name in found["targets_p95_ms"] else "",
        )
        for name, said in names.items()
    ]


def towers(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    rate, cosine = found["pictures_a_second"], found["int8_mean_cosine"]["here"]
    integers = f"{spread(found['int8_times_torch'])} times, mean cosine {cosine:.4f}"
    text = f"{spread(found['one_text_onnx_times_torch'])} times"
    return [
        (
            f"EfficientNet-Lite0 by ONNX Runtime against torch, one core, off by {found['largest_difference']:.0e}",
            f"{spread(found['onnx_times_torch'])} times, {rate['onnx']['median']:.0f} pictures/s",
            "1.9 times",
        ),
        ("the same in int8", integers, "4 times"),
        ("one text by MiniLM, ONNX Runtime against torch, one core", text, "2 times"),
    ]


def step(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (
            "a training step of a ViT against a plain torch loop, batches in memory",
            f"**{found['ratio']:.2f}** of its speed",
            "0.95",
        ),
        ("the same step fed by the loader, against batches in memory", f"**{found['fed']:.2f}** of its speed", "0.9"),
    ]


def heads(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    what = f"{found['steps']} steps of the demo's training on features, {found['threads']} thread"
    ratio = f"**{found['ratio']:.2f}** of its speed"
    return [
        (what, f"**{found['seconds']:.1f} s**", f"{found['goal']:g} s"),
        ("the same against a plain torch loop, batches in memory", ratio, ""),
    ]


def clip(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    def said(name: str) -> str:
        median, least, most = found["ratios"][name]
        return f"**{median:.2f}** [{least:.2f}, {most:.2f}] times"

    what = f"a CLIP of transformers by our trainer, {len(found['rounds'])} rounds, against"
    return [
        (f"{what} transformers' example loop (captions padded to 77)", said("example"), f"{found['goal']} times"),
        ("the same against a loop that pads to the longest of a batch", said("careful"), ""),
    ]


def captions(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    own, same = found["own_decoder"], found["same_model"]
    return [
        (
            "captions in a batch over the cache against one by one without",
            f"**{found['batched']:.1f} times**",
            "5 times",
        ),
        ("our decoding of a transformers model against its own generate", f"**{same:.2f}** of its speed", "0.9"),
        ("our decoder with the same weights against that", f"**{own:.2f}** of its speed", "0.9"),
    ]


def inverted(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    what = f"top 10 of {found['items']:,} sparse vectors by inverted index against a dense product"
    return [(what, f"**{found['ratio_median']:.1f} times**", f"{found['goal']:.0f} times")]


def ranked(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    ratio, whole = found["ratio"], found["ratio_of_processor_time"]
    sizes = f"{found['pictures']:,} pictures and {found['captions']:,} captions"
    what = f"retrieval of {sizes}, both ways, against one product"
    wanted = f"at most {found['goal']} times"
    return [
        (f"{what}: ranks", f"**{ratio['ranks']:.2f} times** ({whole['ranks']:.2f} by processor time)", wanted),
        ("the same with shares of right answers", f"**{ratio['shares']:.2f} times** ({whole['shares']:.2f})", wanted),
    ]


LINES: dict[str, Callable[[dict[str, Any]], list[tuple[str, str, str]]]] = {
    "filter_throughput": throughput,
    "worker_scaling": scaling,
    "against_data_juicer": other_system,
    "filter_memory": memory,
    "selection_funnel": funnel,
    "near_duplicates": near,
    "semantic_duplicates": semantic,
    "explorer": explorer,
    "towers": towers,
    "train_step": step,
    "train_features": heads,
    "clip_loop": clip,
    "generation": captions,
    "sparse_retrieval": inverted,
    "retrieval_blocks": ranked,
}


def main() -> None:
    written, kept, before = [], False, PAGE.read_text(encoding="utf-8")
    for name, lines in LINES.items():
        path = RESULTS / f"{name}.json"
        if not path.is_file():
            kept = True
            written += [line for line in before.splitlines() if f"| `{name}` |" in line]
            continue
        found = json.loads(path.read_text())
        machine = found["machine"]
        where = f"{machine['cpus']} cores of {machine['cpu']}, {machine['commit']}"
        written += [f"| {what} | {said} | {wanted} | `{name}` | {where} |" for what, said, wanted in lines(found)]
    head = before.partition(TABLE)[0] + TABLE if kept else HEAD + TABLE
    PAGE.write_text(head + "\n".join(written) + "\n" + PICTURE, encoding="utf-8")


if __name__ == "__main__":
    main()
