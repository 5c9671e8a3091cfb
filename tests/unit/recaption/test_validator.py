"""Validators: each refuses what it is for, lets through what it is not, and every refusal is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from language_models import tiny_language_model
from populations import view_of

from pairwright.components.component import Caption
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.digest import op_digest
from pairwright.components.errors import InvalidRecipe
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.text_backends import Completion
from pairwright.components.recaption.captioners.fuse import Fuse, FuseSettings
from pairwright.components.recaption.notes import count_fallbacks
from pairwright.components.recaption.validator import Draft, Validator, Validators

WEB = "A tram crosses the bridge of San Luis Rey, line 28"
SYNTHETIC = "a yellow tram on an old bridge"
GOOD = "A yellow tram of line 28 crosses the old bridge of San Luis Rey"


def judged(text: str | None, problem: str | None = None, **limits: Any) -> Caption | None:
    validator = Validator(Validators.parse(limits, "limits"), "Merge both sentences into one caption.")
    validator.setup("cpu")
    completion = Completion(text, problem)
    draft = Draft(completion, WEB, [WEB, SYNTHETIC], web=WEB, synthetic=SYNTHETIC)
    return validator.captions([draft])[0]


STRICT = {
    "grounded": ["numbers", "names"],
    "entity_recall": 1,
    "noun_recall": 1,
    "language": "en",
    "shortest_words": 3,
    "longest_words": 20,
}


def test_a_caption_that_keeps_everything_passes_every_validator() -> None:
    assert judged(GOOD, **STRICT) == Caption(GOOD, status="ok")


@pytest.mark.parametrize(
    ("text", "note", "status", "needs"),
    [
        ("I'm sorry, I cannot see the picture.", "refusal", "refused", ()),
        ("", "empty", "invalid", ()),
        ("A tram", "too_short", "invalid", ("shortest_words",)),
        (
            GOOD + " with a very long tail of words that nobody at all asked for",
            "too_long",
            "invalid",
            ("longest_words",),
        ),
        (GOOD.replace("28", "29"), "invented_number:29", "invalid", ("grounded",)),
        (f"Three times: {GOOD}", "invented_number:3", "invalid", ("grounded",)),
        (f"{GOOD} in Lisbon", "invented_name:Lisbon", "invalid", ("grounded",)),
        (GOOD.replace(" of San Luis Rey", ""), "lost_name:San Luis Rey", "invalid", ("entity_recall",)),
        (GOOD.replace("tram", "vehicle"), "lost_noun:tram", "invalid", ("noun_recall",)),
        (
            "Une tram jaune de la ligne 28 traverse le vieux pont bridge San Luis Rey",
            "language:fr",
            "invalid",
            ("language",),
        ),
    ],
)
def test_each_validator_refuses_its_own_and_nothing_where_it_is_not_asked_for(
    text: str, note: str, status: str, needs: tuple[str, ...]
) -> None:
    assert judged(text, **STRICT) == Caption(WEB, note=note, status=status)
    if needs:
        without = {name: value for name, value in STRICT.items() if name not in needs}
        found = judged(text, **without)
        assert found is not None
        assert found.note != note


def test_recall_is_a_share() -> None:
    assert judged("A yellow tram of San Luis Rey", noun_recall=0.5) == Caption(
        "A yellow tram of San Luis Rey", status="ok"
    )
    found = judged("A yellow tram of San Luis Rey", noun_recall=0.6)
    assert found is not None
    assert found.note == "lost_noun:bridge"


@pytest.mark.parametrize("problem", ["refused:400", "blocked:content_filter", "truncated", "budget", "timeout"])
def test_what_the_model_did_not_answer_is_the_original_with_the_reason(problem: str) -> None:
    status = {"timeout": "error"}.get(problem, problem.partition(":")[0])
    assert judged("half a", problem) == Caption(WEB, note=problem, status=status)


def test_without_an_original_nothing_stands_in() -> None:
    validator = Validator(Validators())
    drafts = [Draft(Completion(None, "budget"), None), Draft(None, "alt"), Draft(None, None)]
    assert validator.captions(drafts) == [
        Caption(None, note="budget", status="budget"),
        Caption("alt", note="no_evidence"),
        None,
    ]


def test_fluency_is_told_by_a_language_model_and_enters_the_digest(tmp_path: Path) -> None:
    folder = tiny_language_model(tmp_path / "lm")
    model = resolve_model(str(folder)).model_dump()
    kept = judged(GOOD, fluent={"model": model, "most_perplexity": 1e9})
    assert kept == Caption(GOOD, status="ok")
    refused = judged(GOOD, fluent={"model": model, "most_perplexity": 1.01})
    assert refused is not None
    assert refused.note is not None
    assert refused.note.startswith("perplexity:")
    assert refused.status == "invalid"

    def digest(**limits: Any) -> str:
        return op_digest(Fuse(FuseSettings.parse({"limits": limits}, "fused")))

    fluent = {"model": model, "most_perplexity": 500}
    assert len({digest(), digest(fluent=fluent), digest(noun_recall=0.5), digest(language="en")}) == 4


def test_a_misspelt_validator_is_named() -> None:
    with pytest.raises(InvalidRecipe, match=r"limits.grounded"):
        FuseSettings.parse({"limits": {"grounded": ["nouns"]}}, "fused")


def test_fusion_by_rules_invents_nothing_and_says_ok() -> None:
    """The rule writer is held against the same validators as a language model."""
    limits = {"grounded": ["numbers", "names"], "entity_recall": 1}
    fuse = Fuse(FuseSettings.parse({"limits": limits, "colours": "c.names"}, "fused"))
    fuse.setup("cpu")
    sidecar = [{"captions": [{"source": "alt", "text": WEB, "lang": "en", "ordinal": 0}]}]
    pairs = PairBatch(np.arange(1, dtype=np.int32), ["a"], sidecar, columns={"c.names": [["yellow"]]})
    (made,) = fuse.caption(pairs)
    assert made == Caption(f"{WEB}, in yellow", status="ok")


def test_every_refusal_is_counted_by_reason_and_by_status(tmp_path: Path) -> None:
    rows = [
        ("a", None, "ok"),
        ("b", "invented_name:Rome", "invalid"),
        ("c", "invented_name:Oslo", "invalid"),
        ("d", "budget", "budget"),
        ("e", "no_evidence", None),
        (None, None, None),
    ]
    names = ("text", "note", "status")
    columns = {f"fused.{name}": pa.array(values, pa.string()) for name, values in zip(names, zip(*rows), strict=True)}
    assert count_fallbacks(view_of(tmp_path, columns, shards=2), "fused").metrics() == {
        "written": 1.0,
        "without": 1.0,
        "fallback_share": 0.8,
        "fallback.invented_name": 2.0,
        "fallback.budget": 1.0,
        "fallback.no_evidence": 1.0,
        "status.ok": 1.0,
        "status.invalid": 2.0,
        "status.budget": 1.0,
    }
