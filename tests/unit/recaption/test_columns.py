"""Colours and fusion as the scan runs them: column files, in one pass, with nothing lost."""

from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
from pairwright.components.dataset.shards.scan import ColumnJob, ScanTask
from pairwright.components.recaption.notes import count_fallbacks

STEPS = {"colours": StepColumns("colours", "c1"), "fused": StepColumns("fuse", "f1")}


def scanned(dataset, root: str) -> ColumnsView:
    jobs = [
        ColumnJob("colours", "scorer", "colours", {}, STEPS["colours"]),
        ColumnJob("fused", "captioner", "fuse", {"source": "alt", "colours": "colours.names"}, STEPS["fused"]),
    ]
    task = ScanTask(jobs, root)
    task.setup()
    for shard in dataset.shards:
        task.run(shard)
    return ColumnsView(dataset, ColumnStore(root), STEPS)


def test_fusion_reads_the_experts_of_the_same_pass(shapes, tmp_path) -> None:
    view = scanned(shapes(48, 2), str(tmp_path / "columns"))
    texts, names = view.column("fused.text").to_pylist(), view.column("colours.names").to_pylist()
    assert len(texts) == 48
    for number, (text, colours) in enumerate(zip(texts, names, strict=True)):
        from shapes import caption_text, facts_of

        assert facts_of(number)[0] in colours
        assert text.startswith(caption_text(number))
        assert all(colour in text for colour in colours)
    assert count_fallbacks(view, "fused").metrics() == {
        "written": 48.0,
        "without": 0.0,
        "fallback_share": 0.0,
        "status.ok": 48.0,
    }
