"""The report's costs: a row for all seeds of a stage, phases in order, and not the report that is being written."""

from pairwright.flows.running.stage_costs import stage_costs
from pairwright.flows.running.stage_record import StageRecord


def record(name: str, status: str = "ran", seconds: float = 1.0, **facts: object) -> StageRecord:
    return StageRecord(name, "d", status, seconds, dict(facts))


def test_seeds_are_one_row_and_phases_follow_each_other() -> None:
    costs = stage_costs(
        [
            record("gate raw"),
            record("score", pairs=8614, shards=9),
            record("train curated 0"),
            record("train curated 1", status="reused", seconds=0.0),
            record("train raw 0"),
            record("evaluate curated 0 dev"),
            record("evaluate curated 1 dev"),
            record("evaluate curated 1 test"),
            record("evaluate challenger dev"),
            record("gate evaluation"),
            record("register", status="failed"),
            record("report", status="failed"),
        ]
    )
    assert [(cost.phase, cost.name, cost.status) for cost in costs] == [
        ("curate", "gate raw", "ran"),
        ("curate", "score", "ran"),
        ("train", "train curated", "ran"),
        ("train", "train raw 0", "ran"),
        ("evaluate", "evaluate curated dev", "ran"),
        ("evaluate", "evaluate curated 1 test", "ran"),
        ("evaluate", "evaluate challenger dev", "ran"),
        ("evaluate", "gate evaluation", "ran"),
        ("release", "register", "failed"),
    ]
    assert sum(cost.seconds for cost in costs) == 10.0
    assert costs[1].rows == 8614
    assert costs[2].detail == "2 seeds, 1 of them run now"
