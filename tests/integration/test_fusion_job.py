"""The fusion job of benchmarks/fusion_job.py, small: every row once, and nothing finished is asked after kill -9."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fusion_job import measure

pytestmark = pytest.mark.slow
PAIRS, KILLED, CONCURRENCY = 160, 96, 8


def test_a_job_keeps_its_concurrency_busy_answers_each_row_once_and_asks_none_again_after_a_kill(
    tmp_path: Path,
) -> None:
    found = measure(tmp_path, PAIRS, CONCURRENCY, KILLED)
    whole = found["a shard at once"]
    assert whole["most at once"] == CONCURRENCY
    assert whole["busy"] > 0.6  # of a job of two seconds, whose last tries are a third; the benchmark asks for 0.9
    assert whole["requests"] >= PAIRS * 20 // 19  # every twentieth was turned away
    assert whole["rows answered once"] == whole["rows fused"] == PAIRS
    killed = found["killed"]
    assert KILLED // 2 - CONCURRENCY <= killed["rows finished before the kill"] < KILLED
    assert 0 <= killed["answered to nobody at the kill"] <= CONCURRENCY
    assert killed["finished rows asked again"] == 0
    assert killed["rows fused, each once"] == KILLED
