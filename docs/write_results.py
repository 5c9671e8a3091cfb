"""Write the README's results from the latest run: what was kept, how the arms compare, what it cost.

make demo && .venv/bin/python docs/write_results.py
"""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

from pairwright.components.environment import Environment

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- results: written by docs/write_results.py -->", "<!-- end of results -->"


def main() -> None:
    from pairwright.flows.running.runs import chosen_run

    workspace = Environment.load().workspace
    record = chosen_run(workspace, fits=lambda record: "evaluation" in record["results"])
    folder = Path(workspace) / "ablations" / record["results"]["evaluation"]
    ablation = json.loads((folder / "ablation.json").read_text())
    text = README.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    section = results(record, ablation, seconds_of(record, workspace))
    README.write_text(f"{head}{BEGIN}\n{section}\n{END}{tail}", encoding="utf-8")


def seconds_of(record: dict[str, Any], workspace: str) -> float:
    """What the stages of a run cost; one that was reused, what it cost the run that made it."""
    cost: dict[tuple[str, str | None], float] = {}
    for path in Path(workspace).glob("runs/*/run.json"):
        for stage in json.loads(path.read_text(encoding="utf-8"))["stages"]:
            at = (stage["name"], stage["digest"])
            cost[at] = max(stage["seconds"], cost.get(at, 0.0))
    return sum(cost[stage["name"], stage["digest"]] for stage in record["stages"])


def results(record: dict[str, Any], ablation: dict[str, Any], seconds: float) -> str:
    """The section, as Markdown."""
    ledger = record["results"]["ledger"]
    lines = [
        f"{ledger['pairs_in']:,} pairs in, {ledger['kept']:,} kept, {sum(ledger['dropped'].values()):,} dropped by "
        f"{len(ledger['dropped'])} rules, {sum(ledger['failed'].values()):,} that could not be read.",
        "",
    ]
    arms = list(dict.fromkeys(row["arm"] for row in ablation["rows"]))
    rows = {(row["arm"], row["metric"]): row for row in ablation["rows"]}
    metrics = list(dict.fromkeys(row["metric"] for row in ablation["rows"]))
    lines += ["| metric | items | " + " | ".join(arms) + " |", "| --- | ---: |" + " --- |" * len(arms)]
    for metric in metrics:
        cells = [str(rows[arms[0], metric]["n"] or ""), *(_cell(rows[arm, metric]) for arm in arms)]
        lines.append(f"| {metric} | " + " | ".join(cells) + " |")
    seeds, split = rows[arms[0], metrics[0]]["seeds"], ablation["split"]
    lines += [
        "",
        f"Means over {seeds} seeds on `{split['name']}` (`{split['digest'][:12]}`), with 95% intervals over seeds and "
        "items; of a median, over seeds. Every metric that was declared is in the table.",
        "",
        ablation["headline"],
        "",
    ]
    machine = f"{os.cpu_count()} cores, {_memory():.0f} GiB, no GPU, Python {platform.python_version()}"
    lines += [
        "",
        "Verdicts are over seeds and groups of items; by itself: not once all comparisons are counted "
        "(components/evaluate/statistics/verdicts.py). Each is in the report, with what its test could have seen. "
        f"Machine: {machine}; {seconds:.0f} s of stages.",
    ]
    return "\n".join(lines)


def _cell(row: dict[str, Any]) -> str:
    if row["low"] is None:
        return f"{row['mean']:.3f}"
    return f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _memory() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


if __name__ == "__main__":
    main()
