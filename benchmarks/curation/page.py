"""The referee's page: docs/curation.md and its pictures, from what benchmarks/curation measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.curation.areas import damage_columns
from benchmarks.curation.pictures import CHANCE, draw_curve, draw_damage, draw_labels, draw_models
from benchmarks.damaged import SEED_SHARE, SWAPPED
from pairwright.components.dataset.damage.damage import JUDGING, TEACHING

ORACLE = "undamaged first (oracle)"
UNTOLD = "is not told from chance on"
REWARD, FREQUENCY = "reward", "caption frequency"


def print_tables(result: dict[str, Any]) -> None:
    """The page's tables on the terminal."""
    from rich.console import Console
    from rich.markdown import Markdown

    parts = [damage_markdown(result), labels_words(result)]
    parts += [models_markdown(result), *curve_words(result)] if "models" in result else []
    Console().print(Markdown("\n\n".join(parts)))


def write_page(result: dict[str, Any], docs: Path) -> None:
    pictures = docs / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    draw_damage(result, pictures / "curation-damage.svg")
    draw_labels(result, pictures / "curation-labels.svg")
    draw_models(result, pictures / "curation-models.svg")
    draw_curve(result, pictures / "curation-curve.svg")
    (docs / "curation.md").write_text(page(result), encoding="utf-8")


def page(result: dict[str, Any]) -> str:
    sections = (_about, _reward, _labels, _models, _shares, _damage, _selectors)
    return "\n".join(section(result) for section in sections)


def _about(result: dict[str, Any]) -> str:
    machine, heads = result["machine"], result["heads"]
    swaps = ", ".join(f"{rate:.0%}" for rate in SWAPPED.values())
    return f"""# The referee's bench

Every selector of ours on the same crawl, the demo corpus with damage of known kind and rate planted in it
(`benchmarks/damaged.py`): {swaps} of the captions exchanged, or seven kinds of damage at once. Stamps and clip-art
are damaged separately, at equal rates, so that telling the two apart finds nothing. {SEED_SHARE:.0%} of the stamps
are a seed set whose captions are known to be right: language models learn from it alone, the reward's judgements are of
it alone, and nothing is judged on it. The reward's evidence is fitted on the damaged crawl as it is, no pair's by what
saw it. Clip-art has true faults of its own that nobody planted, so no selector can reach 1 there.

What teaches never judges. The reward's silver judgements are of {_listed(TEACHING)}: they say how much
its evidence counts, and move nothing else. It is judged by {_listed(JUDGING)}.
The two share no kind, no template, no two words of one in a row, no donor and no caption
(`tests/unit/dataset/damage/test_damage_apart.py`).

    python -m benchmarks.curation          # makes this page again

{machine["cpus"]} cores of {machine["cpu"]}, {result["seeds"]} seeds, {heads["steps"]} optimizer steps of
{heads["batch_size"]} pairs a model, heads of {heads["dim"]}; {result["queries"]} queries in {result["groups"]} groups
of `{result["split"]["name"]}` (`{result["split"]["digest"]}`), commit {machine["commit"]}; damage drawn by seed
{result["damage_seed"]}, which nobody looked at while anything was designed.
"""


def _reward(result: dict[str, Any]) -> str:
    return f"""## What can the reward see, and what not?

{seen_words(result)}

{exchanged_words(result)}

{seen_markdown(result)}

Area under the ROC curve of whole against damaged clip-art (stamps for a wrong language), with its 95% bootstrap
interval over groups of pairs; 0.5 is chance, below it the damaged pair is preferred. Each row is one variant
of the crawl or one kind of damage in it; intervals are of each cell alone, not of all together.
"""


def _labels(result: dict[str, Any]) -> str:
    return f"""## Do labels help it?

{labels_words(result)}

![Judgements explained over labels](pictures/curation-labels.svg)

{labels_markdown(result)}

Share of the labeller's judgements that are explained, of pictures that share neither a group nor a caption with those
a judge was fitted on. The labeller is a script (`benchmarks/curation/labels.py`), its taste declared before the run and
told to nobody:
{_taste(result)}.
It slips as people do, and agrees with its own taste in
{result["labels"]["labeller_agrees_with_its_taste"]:.0%}: more can hardly be explained.
"""


def _models(result: dict[str, Any]) -> str:
    trained = len({row["selector"] for row in result["models"]} - {CHANCE, ORACLE})
    return f"""## Which choices train a better model than chance?

Each keeps half of the damaged crawl; the models are compared at equal steps and seeds with those of a random half,
and, for the verdict, with those of a random half that has as many stamps as the selector kept (every query is a
stamp and {_stamps(result):.1%} of the crawl are, so a preference for stamps alone would gain). Random halves are drawn
for each seed anew. Intervals are over seeds and groups of queries together, widened for the number of selectors of
a crawl (each bound at {result["sure"]:.2%}); that the test errs as often as it says at this number
of seeds, whichever source prevails, is simulated by `python -m benchmarks.verdict_error`. The oracle drops
what was planted first: what a perfect finder of this damage would earn. On whose choice models are
trained was declared in `benchmarks/curation/plan.yaml` before the run: {trained} of the
{len(result["selectors"])} selectors, small heads and few shares, so that it fits an hour of a shared machine;
the others have the damage table at the end alone.

![Models of what each selector kept](pictures/curation-models.svg)

{models_markdown(result)}

*Could be seen*: the true difference to chance that this test would have told from none in four trials of five.
"""


def _shares(result: dict[str, Any]) -> str:
    return f"""## How small may the crawl become?

![Mean recall over kept share](pictures/curation-curve.svg)

{chr(10).join(curve_words(result))}

Margin {result["margin"]} of mean recall, declared before the run. The random pairs named above are drawn for each order
apart, with as many stamps and as many clip-arts as it kept; those in the table and the picture are drawn from the
whole crawl.

{curve_markdown(result)}
"""


def _damage(result: dict[str, Any]) -> str:
    return f"""## Which damage does each selector find?

![AUC by kind of damage](pictures/curation-damage.svg)

{damage_markdown(result)}
"""


def _selectors(result: dict[str, Any]) -> str:
    return f"""## What each one is

{chr(10).join(f"- **{name}**: {what}" for name, what in result["selectors"].items())}
"""


def _listed(kinds: Sequence[str]) -> str:
    names = [kind.replace("_", " ") for kind in kinds]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _areas(result: dict[str, Any], name: str) -> dict[str, tuple[float, float, float]]:
    """Column of the damage table -> (area, low, high) of this selector, where it has an interval."""
    found = {(d["selector"], d["variant"], d["domain"], d["kind"]): d for d in result["damage"]}
    told = {label: found[name, *key] for label, key in damage_columns()}
    return {label: (one["auc"], *one["auc_interval"]) for label, one in told.items() if one["auc_interval"]}


def seen_words(result: dict[str, Any]) -> str:
    """What the reward's intervals show of each kind, and the same of the plainest selector beside it."""
    lines = []
    for name in (REWARD, FREQUENCY):
        areas = {k: v for k, v in _areas(result, name).items() if not k.startswith("any")}
        sees = [f"{kind} ({area:.2f})" for kind, (area, low, _) in areas.items() if low > 0.5]
        against = [f"{kind} ({area:.2f})" for kind, (area, _, high) in areas.items() if high < 0.5]
        blind = [f"{kind} ({area:.2f})" for kind, (area, low, high) in areas.items() if low <= 0.5 <= high]
        parts = [
            f"{what}: {', '.join(which)}"
            for what, which in (
                ("finds", sees),
                ("is not told from chance on", blind),
                ("prefers the damage in", against),
            )
            if which
        ]
        lines.append(f"- **{name}** {'; '.join(parts)}.")
    return "\n".join(lines)


def exchanged_words(result: dict[str, Any]) -> str:
    """On exchanged captions, of which no judgement was: the reward beside the best of the single scorers."""
    found = {(d["selector"], d["variant"], d["domain"], d["kind"]): d["auc"] for d in result["damage"]}
    single = [name for name in result["selectors"] if not name.startswith(REWARD)]
    told = []
    for source, rate in SWAPPED.items():
        sides = []
        for domain, plural in (("clipart", "clip-art"), ("stamp", "stamps")):
            area = {name: found[name, source, domain, "swapped"] for name in (REWARD, *single)}
            best = max(single, key=lambda name: area[name])
            sides.append(f"{plural} {area[REWARD]:.2f}, the best single scorer {area[best]:.2f} ({best})")
        told.append(f"- {rate:.0%} exchanged: {'; '.join(sides)}.")
    said = "Exchanged captions, of which no judgement was, by the reward and the best single scorer, known by its area:"
    return "\n".join([said, "", *told])


def seen_markdown(result: dict[str, Any]) -> str:
    names = [one for one in result["selectors"] if _areas(result, one)]
    labels = list(_areas(result, names[0]))
    body = []
    for label in labels:
        cells = [_areas(result, name)[label] for name in names]
        body.append([label, *(f"{area:.2f} [{low:.2f}, {high:.2f}]" for area, low, high in cells)])
    return _table(["damage", *names], body)


def damage_markdown(result: dict[str, Any]) -> str:
    """AUC (average precision) of the mixed crawl's kinds and the swapped crawls, clip-art; stamps for any damage."""
    columns = damage_columns()
    head = ["selector", *(label for label, _ in columns)]
    found = {(d["selector"], d["variant"], d["domain"], d["kind"]): d for d in result["damage"]}
    body = []
    for name in result["selectors"]:
        cells = [found[name, *key] for _, key in columns]
        body.append([name, *(f"{c['auc']:.2f}" for c in cells)])
    return _table(head, body) + "\n\n" + _precision_note(result, found)


def _precision_note(result: dict[str, Any], found: dict[Any, Any]) -> str:
    base = found[next(iter(result["selectors"])), "mixed", "clipart", "any"]
    lines = [
        f"{name} {found[name, 'mixed', 'clipart', 'any']['average_precision']:.2f}" for name in result["selectors"]
    ]
    share = base["damaged"] / base["of"]
    return f"Average precision of finding any damage in clip-art, mixed (chance {share:.2f}): {', '.join(lines)}."


def labels_words(result: dict[str, Any]) -> str:
    """What all labels gain over the fewest, by crawl."""
    told = []
    for source, found in result["labels"]["crawls"].items():
        gain, low, high = found["gain"]
        first, last = found["points"][0], found["points"][-1]
        verdict = "explain more" if low > 0 else "explain less" if high < 0 else "are not told from fewer"
        told.append(
            f"- {_rate(source)} exchanged: {last['labels']:,} judgements {verdict}: {last['reward']:.3f}, where "
            f"{first['labels']:,} explain {first['reward']:.3f} and the evidence alone {last['evidence']:.3f} "
            f"({gain:+.3f} [{low:+.3f}, {high:+.3f}])."
        )
    return "\n".join(told)


def labels_markdown(result: dict[str, Any]) -> str:
    crawls = result["labels"]["crawls"]
    each = zip(*([point["labels"] for point in found["points"]] for found in crawls.values()), strict=True)
    labels = [" / ".join(f"{count:,}" for count in dict.fromkeys(counts)) for counts in each]
    head = ["judgements", *(f"{_rate(source)} exchanged" for source in crawls)]
    body = [["0, the evidence alone", *(f"{found['points'][-1]['evidence']:.3f}" for found in crawls.values())]]
    for number, count in enumerate(labels):
        body.append([count, *(f"{found['points'][number]['reward']:.3f}" for found in crawls.values())])
    return _table(head, body)


def _taste(result: dict[str, Any]) -> str:
    return ", ".join(f"{what} {worth:+.1f}" for what, worth in result["labels"]["taste"].items())


def _rate(source: str) -> str:
    return f"{SWAPPED[source]:.0%}"


def models_markdown(result: dict[str, Any]) -> str:
    head = ["selector", "crawl", "stamps", "mean recall", "less chance", "less chance of its mix", "bounds", "verdict"]
    head += ["could be seen", "less all", "90% interval"]
    body = []
    for row in sorted(result["models"], key=lambda row: (row["variant"], -row["mean"])):
        told = [
            f"{row['chance_difference']:+.3f}",
            f"{row['like_difference']:+.3f}",
            f"{row['like_low']:+.3f} to {row['like_high']:+.3f}",
            row["verdict"],
            f"{row['detectable']:.3f}",
        ]
        body.append(
            [row["selector"], row["variant"], f"{row['stamps']:.1%}", f"{row['mean']:.3f}"]
            + ([""] * len(told) if row["selector"] == CHANCE else told)
            + [f"{row['all_difference']:+.3f}", f"{row['all_low']:+.3f} to {row['all_high']:+.3f}"]
        )
    return _table(head, body)


def curve_words(result: dict[str, Any]) -> list[str]:
    return [f"- {words}" for found in result["curves"].values() for words in found["words"]]


def _stamps(result: dict[str, Any]) -> float:
    return float(next(iter(result["curves"].values()))["stamps"])


def curve_markdown(result: dict[str, Any]) -> str:
    tables = []
    for found in result["curves"].values():
        shares = list(next(iter(found["points"].values())))
        head = ["kept", "pairs", *found["points"]]
        body = []
        for share in shares:
            cells = [points[share] for points in found["points"].values()]
            told = [
                f"{c['difference']:+.3f} [{c['low']:+.3f}]{'' if c['not_worse'] else ' ✗'} {c['power']:.0%}"
                for c in cells
            ]
            body.append([f"{float(share):.0%}", f"{round(float(share) * found['pairs']):,}", *told])
        tables.append(_table(head, body))
    note = (
        "Difference to the model of all pairs, with its lower bound; ✗: not shown to be within the margin; then the "
        "power, the chance that an equally good model would have passed."
    )
    return "\n\n".join([*tables, note])


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [list(head), ["---"] + ["---:"] * (len(head) - 1), *map(list, body)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
