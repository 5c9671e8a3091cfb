"""The benchmarks' arithmetic: runs side by side, what each system dropped, and the lines of docs/speed.md."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.spread import ratios, spread

DOCS = Path(__file__).parents[2] / "docs"


def test_of_several_runs_least_median_and_greatest_are_told_and_ratios_are_within_a_run() -> None:
    """A run on a busy minute is slow on both sides: the ratio of medians would mix minutes."""
    assert spread([3.0, 1.0, 2.0]) == {"min": 1.0, "median": 2.0, "max": 3.0}
    assert ratios([10.0, 40.0, 12.0], [5.0, 20.0, 4.0]) == {"min": 2.0, "median": 2.0, "max": 3.0}
    with pytest.raises(ValueError, match="longer than argument 1"):
        ratios([1.0], [1.0, 2.0])


@pytest.mark.platform
def test_both_sides_of_the_filter_are_compared_warm_with_warm_and_cold_with_cold() -> None:
    from benchmarks.filter_throughput import result

    dataset = SimpleNamespace(rows=100, shards=[SimpleNamespace(tar_bytes=2**20)])
    wall = {
        "bare_warm": [1.0, 1.0, 2.0],
        "engine_warm": [1.0, 2.0, 2.0],
        "bare_cold": [2.0] * 3,
        "engine_cold": [8.0] * 3,
    }
    cpu = {"bare_warm": [1.0] * 3, "engine_warm": [1.25] * 3}
    found = result("demo corpus", dataset, wall, cpu)  # type: ignore[arg-type]
    assert found["runs"] == 3
    assert found["ratio_warm"] == {"min": 0.5, "median": 1.0, "max": 1.0}
    assert found["ratio_whole_command"]["median"] == 0.25
    assert found["ratio_warm_cpu"]["median"] == 0.8
    assert found["pairs_per_second"]["engine_cold"]["median"] == 12.5
    lines = runpy.run_path(str(DOCS / "write_speed.py"))["throughput"]({"corpora": [found], "goal": 0.9})
    assert lines[0][0].endswith("demo corpus, both warm, 3 runs")
    assert lines[0][1] == "**1.00** [0.50, 1.00] of it, 50 pairs/s"
    assert lines[1][1] == "**0.25** [0.25, 0.25] of it, 12 pairs/s"


def crawl() -> Any:
    """Ten pairs: 0 copies 1, 2 is corrupt, seven are sound."""
    return SimpleNamespace(dataset=SimpleNamespace(rows=10), copies={"0": "1"}, corrupt={"2": "empty"})


@pytest.mark.platform
def test_the_table_says_what_batch_was_forced_and_how_many_sound_pairs_were_dropped() -> None:
    from benchmarks.against_data_juicer import AS_SHIPPED, COMPARED, FORCED, OURS, Outcome, rows, times_as_fast

    keys = {str(i) for i in range(10)}
    runs = [
        [
            Outcome("pairwright", s, s / 2, keys - {"0", "2", "9"}, 0, batch=OURS),
            Outcome("data-juicer as shipped", 3 * s, s, {"1"}, 0, batch=AS_SHIPPED),
            Outcome(COMPARED, 7 * s, 5 * s, keys, 0, batch=FORCED),
        ]
        for s in (10.0, 30.0, 20.0)
    ]
    ours, shipped, forced = rows(runs, crawl())
    assert (ours["sound_dropped"], shipped["sound_dropped"], forced["sound_dropped"]) == (
        "1 of 7",
        "7 of 7",
        "0 of 7",
    )
    assert (ours["copies_found"], ours["corrupt_kept"]) == ("1 of 1", "0 of 1")
    assert (forced["copies_found"], forced["corrupt_kept"]) == ("0 of 1", "1 of 1")
    assert "forced" in forced["pictures_a_batch"]
    assert ours["seconds"] == {"min": 10.0, "median": 20.0, "max": 30.0}
    assert ours["kept_the_same_in_all_runs"]
    times = times_as_fast(runs)
    assert list(times) == ["data-juicer as shipped", COMPARED]
    assert times[COMPARED]["end_to_end"]["median"] == 7.0
    assert times[COMPARED]["in_operators"] == {"min": 10.0, "median": 10.0, "max": 10.0}
    found = {"goal": 6.0, "rows": [ours, shipped, forced], "times": times, "compared": COMPARED, "runs": 3, "pairs": 10}
    lines = runpy.run_path(str(DOCS / "write_speed.py"))["other_system"](found)
    told = "\n".join(" | ".join(line) for line in lines)
    assert "1, forced by the corrupt pictures planted" in told
    assert "**7.0** [7.0, 7.0] times" in told
    assert "sound pairs dropped" in told
    assert "data-juicer as shipped 7 of 7" in told


@pytest.mark.platform
def test_the_bare_pool_is_timed_after_it_has_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault: a fork pool started cold, models and all, was timed against actors that had run already."""
    from benchmarks import filter_throughput

    seen: list[str] = []
    monkeypatch.setattr(filter_throughput, "bare_shard", _counted)
    dataset = SimpleNamespace(rows=6, shards=[SimpleNamespace(name=str(i)) for i in range(3)])
    scratch = iter(f"place{i}" for i in range(9))
    with filter_throughput.WarmPool(dataset, lambda: seen.append(next(scratch)) or seen[-1], False, 1) as pool:  # type: ignore[arg-type, func-returns-value]
        assert seen == ["place0"]
        wall, cpu = pool.seconds()
        assert seen == ["place0", "place1"]
    assert wall > 0
    assert np.isclose(cpu, 3 * 0.5)


def _counted(work: Any) -> tuple[int, float]:
    return 2, 0.5


def test_what_fused_captions_teach_is_said_by_the_interval_and_between_the_pages_marks(tmp_path: Path) -> None:
    from benchmarks.fused_training import BEGIN, END, lines, write

    one = {"fused": 0.3, "alt": 0.2, "could_have_seen": 0.04, "items": 300, "groups": 50, "changed": 1.0}
    gains = {"better": [0.1, 0.05, 0.15], "worse": [-0.1, -0.2, -0.01], "untold": [0.01, -0.02, 0.04]}
    found = {name: one | {"gain": gain, "words_added": 3.0} for name, gain in gains.items()}
    text = lines(found, {"cpus": 2, "cpu": "a processor", "commit": "abc"})
    assert "| better | 100% | 3.0 | 0.300 | 0.200 | +0.100 [+0.050, +0.150] | 300, 50 |" in text
    assert (
        "better: fused captions teach better. worse: fused captions teach worse. untold: the two are not told" in text
    )
    assert "(a difference of 0.040 would have been seen)" in text
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write(text, page)
    assert page.read_text() == f"before\n{BEGIN}\n{text}\n{END}\nafter\n"
    assert BEGIN in (DOCS / "recaption.md").read_text()
    assert END in (DOCS / "recaption.md").read_text()
