"""Pictures with all their captions side by side: what wrote each, what it scores, what it added and took away.

    pairs = captioned_pairs(dataset, view, {"fused": "alt"}, {"fused": ["judged.score"]})
    caption_ends(view, ["fused"])           # {"fused": {"written": 5204, "refusal": 12}, "fused: prompts": {"ok": …}}

Pictures are drawn evenly over how their captions came to be: written, or each reason for which another stood in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pairwright.components.dataset.captions.word_changes import marks_worth_seeing
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.shards.columns import ColumnsView
from pairwright.components.report.data import CaptionedPair, CaptionLine
from pairwright.components.report.rows import Rows, drawn, first_texts

MOST_SCORES = 4  # of a caption
WRITTEN, NONE = "written", "none"
Ends = dict[tuple[str, str], list[dict[str, Any]]]  # (step, how its caption came to be) -> rows


def captioned_pairs(
    dataset: Dataset,
    view: ColumnsView,
    steps: Mapping[str, str | None],
    scores: Mapping[str, Sequence[str]] | None = None,
    *,
    count: int = 24,
    seed: int = 0,
) -> list[CaptionedPair]:
    """Pictures with all their captions, those of the sidecar first.

    Args:
        steps: that wrote captions, each with the source its captions are made of, None where of none.
        scores: by source, the `step.column`s that score its captions.
    """
    scores = {source: list(columns)[:MOST_SCORES] for source, columns in (scores or {}).items()}
    chosen = _evenly(_ends(view, list(steps), count, seed), count)
    texts = [f"{step}.{column}" for step in steps for column in ("text", "note")]
    rows = Rows(dataset, view, [*texts, *dict.fromkeys(name for columns in scores.values() for name in columns)])
    return [_pair(rows, entry, steps, scores) for entry in chosen]


def caption_ends(view: ColumnsView, steps: Sequence[str]) -> dict[str, dict[str, int]]:
    """How many captions each step wrote, how many times another stood in and why, and how many pairs have none.

    Beside it, where a step asked a text model, what became of its prompts.
    """
    import pyarrow.compute as pc

    found: dict[str, dict[str, int]] = {}
    for step in steps:
        text, note = view.column(f"{step}.text"), view.column(f"{step}.note")
        there = pc.is_valid(text)
        counts = Counter({NONE: text.null_count})
        for entry in pc.value_counts(note.filter(there)).to_pylist():
            counts[entry["values"] or WRITTEN] += entry["counts"]
        found[step] = {name: n for name, n in counts.most_common() if n}
        prompts = Counter(view.column(f"{step}.status").drop_null().to_pylist())
        found |= {f"{step}: prompts": dict(prompts.most_common())} if prompts else {}
    return found


def _ends(view: ColumnsView, steps: Sequence[str], count: int, seed: int) -> Ends:
    """Rows by how a step's caption came to be, `count` of each at most."""
    ends: Ends = {}
    for shard, table in view.iter_shards([f"{step}.{column}" for step in steps for column in ("text", "note")]):
        for at, step in enumerate(steps):
            texts, notes = table[2 * at].to_pylist(), table[2 * at + 1].to_pylist()
            for row, (text, note) in enumerate(zip(texts, notes, strict=True)):
                if text is not None:
                    how = WRITTEN if note is None else note.partition(":")[0]
                    ends.setdefault((step, how), []).append({"shard": shard.digest, "row": row})
        ends = {end: drawn(entries, count, seed) for end, entries in ends.items()}
    return ends


def _evenly(ends: Ends, count: int) -> list[dict[str, Any]]:
    """One row of each in turn until there are `count`; a row is shown once."""
    chosen: dict[tuple[str, int], dict[str, Any]] = {}
    waiting = [list(entries) for _, entries in sorted(ends.items())]
    while len(chosen) < count and any(waiting):
        for entries in waiting:
            while entries and (entries[0]["shard"], entries[0]["row"]) in chosen:
                entries.pop(0)
            if entries and len(chosen) < count:
                entry = entries.pop(0)
                chosen[entry["shard"], entry["row"]] = entry
    return list(chosen.values())


def _pair(
    rows: Rows, entry: Mapping[str, Any], steps: Mapping[str, str | None], scores: Mapping[str, Sequence[str]]
) -> CaptionedPair:
    made = rows.made(entry["shard"], entry["row"])
    texts = first_texts(rows.row(entry["shard"], entry["row"])["captions"])
    texts |= {step: text for step in steps if (text := made[f"{step}.text"])}
    lines = [
        CaptionLine(
            source=source,
            text=text,
            scores={name: value for name in scores.get(source, ()) if (value := made[name]) is not None},
            note=(made[f"{source}.note"] or "") if source in steps else "",
            changes=marks_worth_seeing(texts.get(steps.get(source) or ""), text),
        )
        for source, text in texts.items()
    ]
    return CaptionedPair(rows.key(entry), rows.picture(entry["shard"], entry["row"]), lines)
