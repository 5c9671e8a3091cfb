"""What each arm trains on."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pairwright.flows.stages.training import pairs_of_arm

ROWS, KEPT = 200, 60


def selection(root: Path) -> Path:
    rows = {"shard": ["a"] * ROWS, "row": list(range(ROWS)), "key": [str(i) for i in range(ROWS)]}
    status = ["failed" if i % 10 == 9 else "kept" if i < KEPT else "dropped" for i in range(ROWS)]
    rule = [
        "held_out" if i % 10 == 8 and i >= KEPT else "large" if s == "dropped" else None for i, s in enumerate(status)
    ]
    verdicts = pa.table(rows | {"status": status, "rule": pa.array(rule, pa.string())})
    pq.write_table(verdicts, root / "verdicts.parquet")
    pq.write_table(pa.table(rows).slice(0, KEPT), root / "kept.parquet")
    return root


def drawn(root: Path, recipe_seed: int, draw: int) -> list[int]:
    found: list[int] = pairs_of_arm(root, "random", recipe_seed, draw)["row"].to_pylist()
    return found


def test_random_is_drawn_for_each_seed_anew_and_the_same_again(tmp_path: Path) -> None:
    """One draw for all seeds would leave the luck of the draw out of the interval over seeds."""
    root = selection(tmp_path)
    draws = [drawn(root, 0, seed) for seed in range(3)]
    assert len({tuple(one) for one in draws}) == 3
    assert draws[1] == drawn(root, 0, 1)
    assert draws[1] != drawn(root, 1, 1)
    assert all(len(one) == KEPT and not any(row % 10 == 9 for row in one) for one in draws)


def test_what_is_held_out_for_evaluation_is_in_no_arm(tmp_path: Path) -> None:
    root = selection(tmp_path)
    apart = {row for row in range(KEPT, ROWS) if row % 10 == 8}
    for arm in ("curated", "raw", "random"):
        assert not apart & set(pairs_of_arm(root, arm, 0, 0)["row"].to_pylist())
    raw = pairs_of_arm(root, "raw", 0, 0)["row"].to_pylist()
    assert set(raw) == {row for row in range(ROWS) if row % 10 != 9} - apart


def test_other_arms_are_the_same_for_every_seed(tmp_path: Path) -> None:
    root = selection(tmp_path)
    for arm in ("curated", "raw"):
        assert pairs_of_arm(root, arm, 0, 0).equals(pairs_of_arm(root, arm, 0, 1))
