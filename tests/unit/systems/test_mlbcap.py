"""MLBCAP: the poor are dropped, the planted best is picked, no number comes from nowhere, and every ballot is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairwright.components.dataset.dataset import Dataset, open_dataset
from pairwright.components.dataset.ingest import ingest
from pairwright.components.dataset.media.decode import decode
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView, StepColumns
from pairwright.components.dataset.shards.scan import ColumnJob, ScanTask
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.dataset.sources.figures.chart import Chart
from pairwright.components.dataset.sources.figures.drawing import drawn
from pairwright.components.dataset.sources.figures.texts import GOOD
from pairwright.components.filter.scorers.ocr_text import OcrText, OcrTextSettings
from pairwright.components.models.text_backends import Completion
from pairwright.components.recaption.captioners.chosen import Chosen, ChosenSettings
from pairwright.components.recaption.captioners.figure_caption import FigureCaption, FigureCaptionSettings, cited
from pairwright.components.recaption.captioners.repair import REPAIRED, Repair, RepairSettings, without_absent_numbers
from pairwright.components.recaption.captioners.threshold_caption import ThresholdCaption, ThresholdCaptionSettings
from pairwright.components.recaption.judging.caption_judge import CaptionJudge, CaptionJudgeSettings
from pairwright.components.recaption.judging.caption_votes import CRITERIA, CaptionVotes, CaptionVotesSettings
from pairwright.components.recaption.judging.support import absent_numbers, content_of, numbers_of

READ = "bird pictures count 64 52 40 noto openmoji fluent style"
PARAGRAPH = (
    "We counted. Figure 7 shows the number of bird pictures for each style. Of these, noto has the most, 64, and "
    "fluent the fewest, 40. It says nothing of how good they are."
)
EVIDENCE = {"ocr": "ocr.text", "paragraph": "paragraph"}
BEST = "Number of bird pictures by style; noto has the most, 64, and fluent the fewest, 40."
INVENTED = "Number of bird pictures by style; noto has the most, 913, and fluent the fewest, 40."
VAGUE = "A figure of some results."


def batch(n: int = 1, read: str | None = READ, paragraph: str | None = PARAGRAPH, **captions: Sequence[str | None]):
    told = [] if paragraph is None else [{"source": "paragraph", "text": paragraph, "lang": "en", "ordinal": 0}]
    rows = [{"captions": list(told)} for _ in range(n)]
    keys = [str(i) for i in range(n)]
    extra = {name: list(some) for name, some in captions.items()}
    return PairBatch(np.arange(n, dtype=np.int32), keys, rows, extra_captions=extra, columns={"ocr.text": [read] * n})


def judged(*captions: str | None, **of: Any) -> list[float | None]:
    step = CaptionJudge(CaptionJudgeSettings.parse(EVIDENCE | {"source": "alt"}, "test"))
    step.setup("cpu")
    return step.score(batch(len(captions), alt=captions, **of))["score"]


def voted(**candidates: str | None) -> dict[str, Any]:
    step = CaptionVotes(CaptionVotesSettings.parse(EVIDENCE | {"sources": list(candidates)}, "test"))
    step.setup("cpu")
    columns = step.score(batch(**{name: [text] for name, text in candidates.items()}))
    return {name: values[0] for name, values in columns.items()}


def repaired(text: str, **of: Any) -> tuple[str | None, str | None]:
    step = Repair(RepairSettings.parse(EVIDENCE | {"source": "picked"}, "test"))
    step.setup("cpu")
    (one,) = step.caption(batch(picked=[text], **of))
    return (one.text, one.note) if one else (None, None)


# The judge of captions, and the threshold


def test_a_caption_of_the_figure_is_better_than_another_figures_than_an_invented_number_and_than_nothing() -> None:
    best, invented, vague, stub, none = judged(BEST, INVENTED, VAGUE, "Figure 7.", None)
    assert best == 6
    assert invented == 2
    assert vague is not None
    assert stub is not None
    assert max(vague, stub) < 4
    assert none is None


@pytest.mark.parametrize("template", GOOD)
def test_every_wording_of_a_good_caption_is_good(template: str) -> None:
    said = template.format(of="bird", by="style", top="noto", most=64, least="fluent", fewest=40)
    assert judged(said)[0] >= 4


def test_a_caption_is_judged_by_the_evidence_there_is() -> None:
    assert judged(BEST, read=None)[0] >= 5
    assert judged(BEST, paragraph=None)[0] >= 4
    assert judged(BEST, read=None, paragraph=None)[0] <= 2  # nothing tells of its numbers


@settings(max_examples=100, deadline=None)
@given(st.lists(st.none() | st.floats(1, 6), min_size=1, max_size=8), st.floats(1, 6))
def test_the_threshold_drops_exactly_the_low_scores(scores: list[float | None], least: float) -> None:
    pairs = batch(len(scores), alt=[f"caption {i}" for i in range(len(scores))])
    pairs.columns["judged.score"] = scores
    step = ThresholdCaption(ThresholdCaptionSettings(score="judged.score", least=least))
    kept = {i for i, one in enumerate(step.caption(pairs)) if one is not None}
    assert kept == {i for i, score in enumerate(scores) if score is not None and score >= least}


# Candidates


def test_each_candidate_is_made_of_its_own_evidence_alone() -> None:
    mixes = {
        "cited": {"paragraph": "paragraph"},
        "read": {"ocr": "ocr.text"},
        "looked and read": {"ocr": "ocr.text", "said": "looked"},
    }
    step = {name: FigureCaption(FigureCaptionSettings.parse(mix, "test")) for name, mix in mixes.items()}
    pairs, found = batch(looked=["a bar chart"]), {}
    for name, one in step.items():
        one.setup("cpu")
        (made,) = one.caption(pairs)
        assert made is not None
        found[name] = made.text
    assert found["cited"].startswith("The number of bird pictures for each style. Of these, noto has the most, 64")
    assert content_of(found["cited"]) <= content_of(PARAGRAPH)
    assert content_of(found["read"]) <= content_of(READ)
    assert content_of(found["looked and read"]) <= content_of(f"{READ} a bar chart")
    assert "bar chart" in found["looked and read"]


@pytest.mark.parametrize(
    ("paragraph", "said"),
    [
        ("Birds are many. Figure 3 shows birds by style. They fly.", "Birds by style."),
        ("As Fig. 3 shows, the count depends on style.", "The count depends on style."),
        ("In Figure 12a, we plot accuracy over epochs. It is 90 at best.", "Accuracy over epochs. It is 90 at best."),
        ("Accuracy rises with size (Figure 4). See Section 2.", "Accuracy rises with size (Figure 4)."),
        ("Figure 3 shows birds. Figure 4 shows 12 cats.", "Birds."),
        ("Nothing is cited here.", ""),
        ("", ""),
    ],
)
def test_the_sentence_that_cites_a_figure_becomes_its_caption(paragraph: str, said: str) -> None:
    assert cited(paragraph) == said


def test_a_figure_of_which_nothing_is_known_has_no_candidate() -> None:
    step = FigureCaption(FigureCaptionSettings.parse(EVIDENCE, "test"))
    step.setup("cpu")
    assert step.caption(batch(read="", paragraph=None)) == [None]


# Votes


@pytest.mark.parametrize(
    "order", [("best", "invented", "vague"), ("vague", "best", "invented"), ("invented", "vague", "best")]
)
def test_the_planted_best_of_three_is_picked_wherever_it_stands(order: tuple[str, ...]) -> None:
    texts = {"best": BEST, "invented": INVENTED, "vague": VAGUE}
    found = voted(**{name: texts[name] for name in order})
    assert found["source"] == "best"
    assert found["votes"][order.index("best")] == max(found["votes"])


def test_every_ballot_is_kept_and_the_votes_are_their_count() -> None:
    found = voted(a=VAGUE, b=BEST, c=None)
    assert len(found["ballots"]) == len(CRITERIA)
    assert found["votes"] == [found["ballots"].count(name) for name in ("a", "b", "c")]
    assert sum(found["votes"]) == len(CRITERIA)
    assert found["votes"][2] == 0  # who says nothing is voted for by nobody


def test_without_any_candidate_there_is_no_winner_and_no_vote() -> None:
    assert voted(a=None, b="") == {"source": None, "votes": None, "ballots": None}


def test_of_equals_the_one_of_the_earliest_criterion_wins() -> None:
    short, long = "bird pictures count noto openmoji fluent style", f"{BEST} {PARAGRAPH} " * 2
    step = CaptionVotes(
        CaptionVotesSettings.parse(EVIDENCE | {"sources": ["a", "b"], "criteria": ["informative", "clear"]}, "test")
    )
    step.setup("cpu")
    columns = step.score(batch(a=[short + " it is"], b=[long]))
    assert columns["votes"] == [[1, 1]]
    assert columns["source"] == ["b"]


# Repair


@pytest.mark.parametrize(
    ("text", "left", "note"),
    [
        (BEST, BEST, None),
        (INVENTED, "Number of bird pictures by style; noto has the most, and fluent the fewest, 40.", REPAIRED),
        ("Birds by style. There are 913 of noto.", "Birds by style.", REPAIRED),
        ("A chart of 913 birds", "A chart of birds", REPAIRED),
        ("Noto has 64.0 and fluent 40", "Noto has 64.0 and fluent 40", None),
        ("With seven bars", "With seven bars", None),  # Figure 7 is a number of the paragraph, too
        ("913", None, None),
    ],
)
def test_a_repaired_caption_keeps_what_is_known_and_loses_what_is_not(
    text: str, left: str | None, note: str | None
) -> None:
    assert repaired(text) == (left, note)


pieces = st.sampled_from(
    ["birds", "noto has the most", "64", "40", "913", "1,250", "12.5%", "three", "of", ",", ";", ".", "by"]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(pieces, max_size=12).map(" ".join), st.lists(st.sampled_from(["64", "3", "1250", "birds"]), max_size=3))
def test_no_number_absent_from_the_inputs_survives_a_repair(text: str, known: list[str]) -> None:
    left = without_absent_numbers(text, known)
    assert not absent_numbers(left, known)
    if not absent_numbers(text, known):
        assert left == text
    assert content_of(left) <= content_of(text)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1,234 of 7", ["1234", "7"]),
        ("3.50 and 07", ["3.5", "7"]),
        ("two or three", ["2", "3"]),
        ("one dog", []),
        ("12%", ["12"]),
    ],
)
def test_a_number_has_one_form_however_it_is_written(text: str, numbers: list[str]) -> None:
    assert numbers_of(text) == numbers


# Figures, drawn and read


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("figures")
    draw = np.random.default_rng(0)
    kinds, styles = ("bird", "fish", "tool", "fruit", "vehicle"), ("noto", "openmoji", "fluent", "twemoji")
    with ShardWriter(f"{root}/things", "things") as writer:
        for number in range(300):
            labels = [("kind", kinds[int(draw.choice(5, p=[0.3, 0.25, 0.2, 0.15, 0.1]))])]
            labels += [("style", styles[int(draw.choice(4, p=[0.4, 0.3, 0.2, 0.1]))])]
            writer.add(str(number), [], [caption("abcdefgh"[int(draw.integers(8))] + " thing")], labels)
    return ingest("figures", f"{root}/things", f"{root}/made", count=24)


def rows_of(dataset: Dataset) -> tuple[list[dict[str, Any]], list[Any]]:
    rows, images = [], []
    for shard, table in dataset.iter_sidecars():
        for row in table.to_pylist():
            rows.append(row)
            images.append(decode(shard.read_member(row["media"][0]), min_side=128).image)
    return rows, images


def labels_of(row: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in row["labels"]}


def test_a_chart_tells_true_counts_and_is_the_same_each_time(figures: Dataset, tmp_path: Path) -> None:
    root = Path(figures.root).parent
    again = ingest("figures", f"{root}/things", str(tmp_path / "again"), count=24)
    assert [shard.digest for shard in again.shards] == [shard.digest for shard in figures.shards]
    things = [labels_of(row) for row in rows_of_texts(open_dataset(f"{root}/things"))]
    for row in rows_of_texts(figures):
        chart = json.loads(row["meta"])
        if chart["by"] == "style" and chart["of"] in {one["kind"] for one in things}:
            counts = dict(chart["values"])
            assert counts == {
                style: sum(one["kind"] == chart["of"] and one["style"] == style for one in things) for style in counts
            }


def rows_of_texts(dataset: Dataset) -> list[dict[str, Any]]:
    return [row for _, table in dataset.iter_sidecars() for row in table.to_pylist()]


def test_what_is_drawn_in_a_chart_is_read_in_it() -> None:
    chart = Chart("bar", "bird", "style", (("noto", 64), ("openmoji", 52), ("fluent", 40)))
    reader = OcrText(OcrTextSettings(side=416))
    reader.setup("cpu")
    pairs = PairBatch(np.zeros(1, np.int32), ["0"], [{}], images=[drawn(chart)])
    read = reader.score(pairs)["text"][0].lower()
    assert "bird pictures" in read
    assert {"64", "52", "40"} <= set(numbers_of(read))
    assert "noto" in read


def test_figures_from_end_to_end_the_poor_teach_nobody_and_no_caption_ends_with_a_number_from_nowhere(
    figures: Dataset, tmp_path: Path
) -> None:
    """Text in the figures is told by the truth here, as reading takes long; the test above reads one."""
    rows, _ = rows_of(figures)
    read = [" ".join([c["of"], "pictures", c["by"], *(f"{v} {n}" for v, n in c["values"])]) for c in charts(rows)]
    labels = [labels_of(row) for row in rows]
    pairs = PairBatch(
        np.arange(len(rows), dtype=np.int32), [row["key"] for row in rows], rows, columns={"ocr.text": read}
    )
    judge = CaptionJudge(CaptionJudgeSettings.parse(EVIDENCE, "test"))
    judge.setup("cpu")
    scores = judge.score(pairs)["score"]
    good = [one["caption_quality"] == "good" for one in labels]
    assert [score >= 4 for score in scores] == good
    assert 4 <= sum(good) < len(good)  # both kinds are there
    for name, mix in {"cited": {"paragraph": "paragraph"}, "read": {"ocr": "ocr.text"}}.items():
        step = FigureCaption(FigureCaptionSettings.parse(mix, "test"))
        step.setup("cpu")
        pairs.extra_captions[name] = [one and one.text for one in step.caption(pairs)]
    votes = CaptionVotes(CaptionVotesSettings.parse(EVIDENCE | {"sources": ["alt", "read", "cited"]}, "test"))
    votes.setup("cpu")
    found = votes.score(pairs)
    # An author's caption that is poor is never what is picked.
    assert all(source != "alt" or ok for source, ok in zip(found["source"], good, strict=True))
    pairs.columns["votes.source"] = found["source"]
    picked = Chosen(ChosenSettings(choice="votes.source", sources=("alt", "read", "cited"), fallback=None))
    pairs.extra_captions["picked"] = [one and one.text for one in picked.caption(pairs)]
    repair = Repair(RepairSettings.parse(EVIDENCE | {"source": "picked"}, "test"))
    repair.setup("cpu")
    for one, text, row, label in zip(repair.caption(pairs), read, rows, labels, strict=True):
        assert one is not None
        paragraph = next(c["text"] for c in row["captions"] if c["source"] == "paragraph")
        assert not absent_numbers(one.text, [text, paragraph])
        assert label["most"] in numbers_of(one.text)


def charts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [json.loads(row["meta"]) for row in rows]


def test_candidates_and_ballots_are_columns_of_the_run(figures: Dataset, tmp_path: Path) -> None:
    said = {
        "cited": ("captioner", "figure_caption", {"paragraph": "paragraph"}),
        "votes": ("scorer", "caption_votes", {"sources": ["alt", "cited"], "paragraph": "paragraph"}),
        "picked": ("captioner", "chosen", {"choice": "votes.source", "sources": ["alt", "cited"], "fallback": None}),
    }
    places = {name: StepColumns(uses, f"digest-{name}") for name, (_, uses, _) in said.items()}
    jobs = [ColumnJob(name, kind, uses, wish, places[name]) for name, (kind, uses, wish) in said.items()]
    task = ScanTask(jobs, str(tmp_path))
    task.setup()
    for shard in figures.shards:
        task.run(shard)
    view = ColumnsView(figures, ColumnStore(str(tmp_path)), places)
    count = sum(shard.rows for shard in figures.shards)
    texts = view.column("cited.text").to_pylist()
    assert len([text for text in texts if text]) == count
    assert all(len(one) == len(CRITERIA) for one in view.column("votes.ballots").to_pylist())
    assert all(sum(one) == len(CRITERIA) for one in view.column("votes.votes").to_pylist())
    sources = view.column("votes.source").to_pylist()
    assert all(
        picked == text
        for picked, text, source in zip(view.column("picked.text").to_pylist(), texts, sources)
        if source == "cited"
    )


def test_a_judge_that_gives_no_number_gives_no_score() -> None:
    step = CaptionJudge(CaptionJudgeSettings.parse(EVIDENCE, "test"))
    step.setup("cpu")
    step.text_model = type(step.text_model)(lambda evidence: "I cannot say.")
    assert step.score(batch(alt=[BEST])) == {"score": [None], "problem": ["no_number"]}


def test_a_judge_that_names_no_candidate_gives_no_vote_and_the_others_decide() -> None:
    step = CaptionVotes(CaptionVotesSettings.parse(EVIDENCE | {"sources": ["a", "b"]}, "test"))
    step.setup("cpu")
    answers = {"faithful": "B", "informative": "None of them.", "legible": "A, or B", "clear": "It is B, clearly."}
    step.text_model = type(step.text_model)(lambda evidence: answers[evidence["criterion"]])
    found = step.score(batch(a=[BEST], b=[VAGUE]))
    assert found == {"source": ["b"], "votes": [[0, 2]], "ballots": [["b", None, None, "b"]]}


class CutShort:
    """A text model whose every answer ends in the middle."""

    def complete(self, prompts: Sequence[str]) -> list[Completion]:
        return [Completion("Bird pictures by", "truncated") for _ in prompts]


def test_a_repair_that_was_cut_short_leaves_the_caption_to_the_rules() -> None:
    step = Repair(RepairSettings.parse(EVIDENCE | {"source": "picked"}, "test"))
    step.setup("cpu")
    step.text_model = CutShort()
    (one,) = step.caption(batch(picked=[BEST]))
    assert one is not None
    assert one.text == BEST


def test_a_model_that_repairs_by_inventing_is_repaired_itself() -> None:
    step = Repair(RepairSettings.parse(EVIDENCE | {"source": "picked"}, "test"))
    step.setup("cpu")
    step.text_model = type(step.text_model)(lambda _: 'Here is the caption: "Bird pictures by style, 4711 in all."')
    (one,) = step.caption(batch(picked=[BEST]))
    assert one is not None
    assert (one.text, one.note) == ("Bird pictures by style.", REPAIRED)
