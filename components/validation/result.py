"""What a gate expects and what it found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pairwright.components.errors import GateFailed

Severity = Literal["critical", "warning"]
SHOWN_SHARDS = 3  # in the one line; the result and the Data Docs have more


@dataclass(frozen=True)
class Check:
    """One expectation on one frame of statistics.

    Attributes:
        name: what a recipe calls it when it changes its severity.
        frame: "totals", "shards", "sample" or "metrics".
        expectation: class name in great_expectations.expectations.
        arguments: its arguments.
        says: the expectation in words, for messages and Data Docs.
        rank: column of the shards frame that tells which shards are worst, highest first.
    """

    name: str
    frame: str
    expectation: str
    arguments: dict[str, Any]
    says: str
    severity: Severity = "critical"
    rank: str | None = None

    @property
    def column(self) -> str | None:
        if "column_A" in self.arguments:
            return f"{self.arguments['column_A']}, {self.arguments['column_B']}"
        return self.arguments.get("column")


@dataclass(frozen=True)
class GateResult:
    """A gate's verdict.

    Attributes:
        passed: no critical check failed.
        checks: {name, frame, expectation, column, observed, expected, severity, success, worst_shards} each.
        worst_shards: {shard, column, value} of the failed critical checks, worst first.
        docs: index.html of this gate's Data Docs.
    """

    name: str
    passed: bool
    checks: list[dict[str, Any]]
    worst_shards: list[dict[str, Any]] = field(default_factory=list)
    docs: str = ""

    @property
    def failures(self) -> list[dict[str, Any]]:
        """Failed critical checks."""
        return [check for check in self.checks if not check["success"] and check["severity"] == "critical"]

    @property
    def warnings(self) -> list[dict[str, Any]]:
        """Failed checks that annotate and do not block."""
        return [check for check in self.checks if not check["success"] and check["severity"] == "warning"]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> GateResult:
        return cls(**{name: record[name] for name in ("name", "passed", "checks", "worst_shards", "docs")})

    def summary(self) -> dict[str, Any]:
        """What goes into a model's pedigree: the verdict, the number of checks and those that failed."""
        return {
            "name": self.name,
            "passed": self.passed,
            "checks": len(self.checks),
            "failed": [
                {key: check[key] for key in ("name", "expectation", "observed", "expected", "severity")}
                for check in [*self.failures, *self.warnings]
            ],
        }

    def message(self) -> str:
        """The first failed critical check in one line: expectation, observed value, worst shards."""
        first, *others = self.failures
        worst = ", ".join(f"{w['shard']} ({w['value']:.4g})" for w in first["worst_shards"][:SHOWN_SHARDS])
        return (
            f"gate {self.name}: {first['name']} is {first['observed']}, expected {first['expected']}"
            + (f"; worst shards: {worst}" if worst else "")
            + (f"; and {len(others)} more" if others else "")
            + f"; see {self.docs}, mend the data or change gates.{self.name} in the recipe"
        )

    def raise_if_failed(self) -> None:
        """Raise GateFailed if a critical check failed."""
        if not self.passed:
            raise GateFailed(self.message())
