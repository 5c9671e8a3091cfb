"""What merge_parts says became of each row, and what stands in where a text model's answer does not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from populations import view_of

from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.dataset.shards.columns import ColumnsView, StepColumns
from pairwright.components.dataset.shards.scan import ColumnJob, ScanTask
from pairwright.components.models.text_backends import Completion
from pairwright.components.recaption.humans.merge_parts import BY_RULES, WORDS, MergeParts, MergePartsSettings, merged

PARTS = {"face": "a round face with brown eyes", "body": "a woman in a red coat", "background": "a street with trees"}
MODEL = {"uses": "openai", "url": "http://localhost:9/v1", "model": "planted"}  # nobody listens there
ANSWERS = [  # what the text model says, whether it is the caption, and the row's status
    (Completion(" ".join(PARTS.values())), True, "ok"),
    (Completion("A woman in a red coat."), False, "invalid"),
    (Completion("word " * 80), False, "invalid"),
    (Completion("I'm sorry, I cannot help with that."), False, "refused"),
    (Completion(" ".join(PARTS.values()), "truncated"), False, "truncated"),
    (Completion(None, "refused:400"), False, "refused"),
    (Completion(None, "blocked:content_filter"), False, "blocked"),
    (Completion(None, "budget"), False, "budget"),
    (Completion(None, "http:503"), False, "error"),
]


class Says:
    """A text model of planted answers, one a prompt."""

    def __init__(self, answers: Sequence[Completion]) -> None:
        self.answers = list(answers)

    def complete(self, prompts: Sequence[str]) -> list[Completion]:
        assert len(prompts) == len(self.answers)
        return self.answers


def test_each_row_says_what_became_of_its_prompt_and_has_the_parts_all_the_same() -> None:
    step = MergeParts(MergePartsSettings.parse({"parts": list(PARTS), "text_model": MODEL}, "test"))
    step.words, step.text_model = WORDS["detailed"], Says([answer for answer, _, _ in ANSWERS])
    rows = len(ANSWERS) + 1  # the last has no part, and is not asked
    texts = {name: [*[text] * len(ANSWERS), None] for name, text in PARTS.items()}
    found = step.caption(PairBatch(np.arange(rows), [str(n) for n in range(rows)], [{}] * rows, extra_captions=texts))
    assert [one and one.status for one in found] == [*(status for _, _, status in ANSWERS), None]
    by_rules = merged(list(PARTS.values()), WORDS["detailed"])
    for one, (answer, stands, _) in zip(found, ANSWERS, strict=False):
        assert one is not None
        assert (one.text, one.note) == ((answer.text, None) if stands else (by_rules, BY_RULES))


@pytest.mark.parametrize(("wish", "status"), [({}, "error"), ({"max_requests": 0}, "budget")])
def test_the_status_is_a_column_of_the_step(wish: dict[str, Any], status: str, tmp_path: Path) -> None:
    """As the scan writes it, of a server that is not there and of a budget that is."""
    captions = {"0": PARTS["face"], "2": PARTS["body"]}
    view = view_of(tmp_path, {"x.y": pa.array([0, 1, 2])}, captions=captions)
    model = MODEL | {"retries": 0, "first_wait_s": 0, "concurrency": 1, "cache": f"{tmp_path}/answers.sqlite"}
    place = StepColumns("merge_parts", "long")
    job = ColumnJob("long", "captioner", "merge_parts", {"parts": ["alt"], "text_model": model | wish}, place)
    task = ScanTask([job], view.store.root, inputs=view.steps)
    task.setup()
    task.run(view.dataset.shards[0])
    told = ColumnsView(view.dataset, view.store, {"long": place})
    assert told.column("long.status").to_pylist() == [status, None, status]
    assert told.column("long.note").to_pylist() == [BY_RULES, None, BY_RULES]
    said = [merged([captions[key]], WORDS["detailed"]) if key in captions else None for key in ("0", "1", "2")]
    assert told.column("long.text").to_pylist() == said
