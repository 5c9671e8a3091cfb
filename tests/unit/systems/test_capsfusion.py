"""CapsFusion: a student that copies merges like its teacher, and keeps names it never saw; what it spoils is raw."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scans import png, scan, write
from text_server import answer, chatting

from pairwright.components.caption_metrics.rouge import rouge_l
from pairwright.components.caption_metrics.tokens import tokens_of as rouge_tokens
from pairwright.components.component import Caption
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import TextModelError
from pairwright.components.models.copying.folder import load_copying, save_copying
from pairwright.components.models.copying.model import Copying
from pairwright.components.models.copying.source import END, PAD, START, Vocabulary, text_of, tokens_of
from pairwright.components.models.decoding.settings import Decoding
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.text_backends.protocol import evidence_of
from pairwright.components.pretrain.captioners.fusion_student import FusionStudent, FusionStudentSettings
from pairwright.components.recaption.captioners.capsfusion import CapsFusion, CapsFusionSettings, is_drawn, merge
from pairwright.components.recaption.notes import count_fallbacks
from pairwright.components.training.here import fit_here

PAIRS, SEEDS = 400, (0, 1, 2)
SMALL: dict[str, Any] = {
    "fields": {"web": "alt", "synthetic": "seen"},
    "target": "teacher",
    "held_out": 0.2,
    "read": 16,
    "longest": 28,
    "width": 32,
    "layers": 1,
    "steps": 110,
    "batch_size": 32,
    "warmup_steps": 10,
    "lr": 6e-3,
    "final_lr": 0.1,
}
THINGS = {"dog": "animal", "cat": "animal", "tram": "vehicle", "car": "vehicle", "castle": "building", "mug": "cup"}
PLACES = ("street", "lawn", "table", "beach", "hill")
ADJECTIVES = ("small", "red", "old", "white", "large")
SYLLABLES = ("zor", "vek", "bel", "lin", "por", "gal", "mir", "tan", "qui", "dox", "hul", "sab")


@dataclass(frozen=True)
class Planted:
    """Web texts that name what a synthetic caption only sees; every name is of one pair alone."""

    web: list[str]
    seen: list[str]
    names: list[list[str]]
    nouns: list[list[str]]

    @property
    def teacher(self) -> list[str]:
        return [merge({"web": web, "synthetic": seen}) for web, seen in zip(self.web, self.seen, strict=True)]

    def population(self) -> ArrayPopulation:
        return ArrayPopulation({}, {"alt": self.web, "seen": self.seen, "teacher": self.teacher})


def name_of(random: np.random.Generator) -> str:
    return "".join(random.choice(SYLLABLES, 4)).capitalize()


@cache
def planted(seed: int, pairs: int = PAIRS) -> Planted:
    random = np.random.default_rng(seed)
    found = Planted([], [], [], [])
    for _ in range(pairs):
        thing, place, adjective = (str(random.choice(list(some))) for some in (THINGS, PLACES, ADJECTIVES))
        names, year = [name_of(random), name_of(random)], str(random.integers(1900, 2030))
        said = thing if random.random() < 0.6 else THINGS[thing]
        web = (
            f"{names[0]} {thing}, {names[1]} {year}",
            f"{thing} of {names[0]} {names[1]}",
            f"the {thing} {names[0]} in {names[1]}",
        )[random.integers(3)]
        found.web.append(web)
        found.seen.append(f"a {adjective} {said} on a {place}")
        found.names.append([*names, year] if year in web else names)
        found.nouns.append([said, place])
    return found


@cache
def trained(seed: int) -> Any:
    task = FusionStudent(FusionStudentSettings.parse(SMALL | {"seed": seed}, "test"))
    fit_here(task, planted(seed).population())
    return task


@cache
def written(seed: int) -> tuple[list[int], list[str]]:
    """Held-out pairs' numbers, and what the student writes of them."""
    held = np.flatnonzero(trained(seed).held_out).tolist()
    data = planted(seed)
    given = [{"web": data.web[i], "synthetic": data.seen[i]} for i in held]
    return held, [text for text, _ in trained(seed).model.write(given)]


def likeness(texts: list[str], told: list[str]) -> float:
    return float(rouge_l([rouge_tokens(one) for one in texts], [[rouge_tokens(one)] for one in told]).mean())


def recall(wanted: list[list[str]], texts: list[str]) -> float:
    """Share of the words that each text holds, over all."""
    held = [{word.casefold() for word in tokens_of(text)} for text in texts]
    return float(np.mean([word.casefold() in held[i] for i, words in enumerate(wanted) for word in words]))


# The teacher.


@pytest.mark.parametrize(
    ("web", "synthetic", "merged"),
    [
        ("Golden Retriever dog Max", "a small dog on a lawn", "a small Golden Retriever dog Max on a lawn"),
        ("Mohu, red panda", "a small animal on a branch", "a small animal, Mohu, red panda, on a branch"),
        ("umbrella of Anna", "a umbrella in the rain", "an umbrella of Anna in the rain"),
        ("dog", "a small dog on a lawn", "a small dog on a lawn"),  # says nothing new
        ("a small dog on a lawn, Rome", "a dog", "a small dog on a lawn, Rome"),
        ("", "a dog", "a dog"),
        ("Rome", "", "Rome"),
        ("Rome 1999", "standing in the rain", "Rome 1999, standing in the rain"),
    ],
)
def test_the_rule_merges_and_does_not_only_concatenate(web: str, synthetic: str, merged: str) -> None:
    assert merge({"web": web, "synthetic": synthetic}) == merged


@pytest.mark.parametrize("seed", SEEDS)
def test_the_rule_keeps_every_name_and_noun_and_adds_no_word(seed: int) -> None:
    data = planted(seed)
    assert recall(data.names, data.teacher) == 1
    assert recall(data.nouns, data.teacher) == 1
    for web, seen, text in zip(data.web, data.seen, data.teacher, strict=True):
        assert set(tokens_of(text.lower())) <= set(tokens_of(f"{web} {seen} an ,".lower()))


# The student.


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_the_student_writes_of_unseen_names_what_its_teacher_would(seed: int) -> None:
    held, texts = written(seed)
    data = planted(seed)
    told = [data.teacher[i] for i in held]
    ours = likeness(texts, told)
    assert ours >= 0.8
    side_by_side = [f"{data.web[i]} {data.seen[i]}" for i in held]
    assert ours > max(likeness([data.web[i] for i in held], told), likeness(side_by_side, told)) + 0.05
    assert recall([data.names[i] for i in held], texts) >= 0.9  # before any validator
    assert recall([data.nouns[i] for i in held], texts) >= 0.9


def test_names_it_is_judged_on_were_never_learnt() -> None:
    held, _ = written(0)
    task, data = trained(0), planted(0)
    assert 0.15 * PAIRS < len(held) < 0.25 * PAIRS
    learnt = " ".join(data.web[i] for i in range(PAIRS) if not task.held_out[i]).split()
    names = {name for i in held for name in data.names[i] if not name.isdigit()}
    assert len(names & set(learnt)) < 0.05 * len(names)  # syllables meet by chance
    assert not names & set(task.model.vocabulary.words)


def test_without_copying_it_can_say_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    held, texts = written(0)
    data = planted(0)
    model = trained(0).model
    whole = model.scores

    def says_only(encoded: Any, words: Any, said: Any) -> Any:
        scores = whole(encoded, words, said)
        scores[..., len(model.vocabulary) :] = -torch.inf
        return scores.log_softmax(-1)

    monkeypatch.setattr(model, "scores", says_only)
    mute = [text for text, _ in model.write([{"web": data.web[i], "synthetic": data.seen[i]} for i in held[:20]])]
    assert recall([data.names[i] for i in held[:20]], mute) == 0
    assert recall([data.names[i] for i in held[:20]], texts[:20]) > 0.8


def test_held_out_pairs_teach_nothing() -> None:
    """The same gradient whatever the teacher wrote of them."""
    found = []
    for told in ("teacher", "other"):
        data = planted(0, 40)
        task = FusionStudent(FusionStudentSettings.parse(SMALL, "test"))
        task.device = torch.device("cpu")
        texts = data.teacher
        task.population = ArrayPopulation({}, {"alt": data.web, "seen": data.seen, "teacher": texts})
        torch.manual_seed(0)
        task.model = task.build()
        if told == "other":
            texts = [seen if out else text for seen, text, out in zip(data.seen, texts, task.held_out, strict=True)]
            task.population = ArrayPopulation({}, {"alt": data.web, "seen": data.seen, "teacher": texts})
        examples = task.population.read(np.arange(40), 0, 0)
        batch = {name: torch.as_tensor(value) for name, value in task.collate(examples).items()}
        task.losses(task.encode(batch), batch)["loss"].backward()
        found.append(task.model.word.weight.grad.clone())
    assert task.held_out.any()
    assert torch.allclose(found[0], found[1], atol=1e-6)


# The model.


def model_of(words: list[str], given: tuple[str, ...] = ("a", "b")) -> Copying:
    torch.manual_seed(1)
    known = Vocabulary(["<pad>", "<start>", "<end>", "<unknown>", *words], given, 12)
    return Copying(known, 10, 16, 2, 1).eval()


def test_saying_and_copying_share_one_probability_and_what_stands_beside_a_pair_changes_nothing() -> None:
    model = model_of(["the", "dog"])
    examples = [{"a": "the Rex dog Rex", "b": "the"}, {"a": "", "b": ""}, {"a": "Zed " * 11, "b": "dog, the"}]
    source, unknown = model.vocabulary.read(examples)
    targets = model.vocabulary.targets(["the Rex dog", "dog", "Zed Rex"], unknown, 10)
    fields = source.named()
    scores = model.scores(model.encode(fields), fields["words"], targets[:, :-1])
    assert torch.isfinite(scores.logsumexp(-1)).all()
    assert torch.allclose(scores.exp().sum(-1), torch.ones(3, targets.shape[1] - 1), atol=1e-5)
    words = model.words(scores[:, 1], fields["words"], 2)
    assert torch.allclose(words.exp().sum(-1), torch.ones(3), atol=1e-5)
    nats = model.nats(scores, fields["words"], targets)
    rex = len(model.vocabulary)  # behind the known words: of the first; the third was not given it
    assert targets[0].tolist() == [START, 4, rex, 5, END]
    assert targets[2].tolist()[:3] == [START, rex, 3]
    assert torch.allclose(nats[0, 1], -words[0, rex], atol=1e-5)
    assert nats[1, 2:].eq(0).all()
    assert torch.isfinite(nats).all()
    for i, example in enumerate(examples):
        alone, behind = model.vocabulary.read([example])
        target = model.vocabulary.targets([["the Rex dog", "dog", "Zed Rex"][i]], behind, 10)
        one = model.scores(model.encode(alone.named()), alone.words, target[:, :-1])
        cost = model.nats(one, alone.words, target)[0]
        assert torch.allclose(cost, nats[i, : len(cost)], atol=1e-4)
    assert PAD in targets


def test_beams_find_at_least_as_likely_a_text_as_greed() -> None:
    data, model = planted(0), trained(0).model
    given = [{"web": data.web[i], "synthetic": data.seen[i]} for i in range(12)]
    source, unknown = model.vocabulary.read(given)
    fields = source.named()

    def nats(decoding: Decoding) -> torch.Tensor:
        targets = model.vocabulary.targets([text for text, _ in model.write(given, decoding)], unknown, 28)
        scores = model.scores(model.encode(fields), fields["words"], targets[:, :-1])
        return model.nats(scores, fields["words"], targets).sum(1)

    greedy, beam = nats(Decoding()), nats(Decoding(search="beam", beams=3))
    assert (beam <= greedy + 1e-3).float().mean() > 0.9


def test_a_student_that_does_not_end_is_cut_off_behind_its_source_and_says_so() -> None:
    model = model_of(["the"])
    model.longest, model.time = 60, torch.nn.Embedding(61, model.width)
    ((text, ended),) = model.write([{"a": "the Rex", "b": "the"}], Decoding(twice_running=True, least=50))
    assert not ended
    assert len(tokens_of(text)) == 4 + 8  # a source of four tokens, its head among them, and some more


def test_a_folder_gives_back_what_was_saved(tmp_path: Path) -> None:
    model = trained(0).model
    save_copying(model, tmp_path / "student", "card")
    given = [{"web": "Rexford dog, Ulm 1987", "synthetic": "a small dog on a lawn"}]
    assert load_copying(tmp_path / "student").write(given) == model.write(given)


def test_text_is_put_together_as_it_was_written() -> None:
    text = "A \"red\" dog (Max), 3.5 years; O'Neill's: 50% of it!"
    assert text_of(tokens_of(text)) == text


# The captioner.


def of_texts(data: Planted, numbers: list[int]) -> PairBatch:
    sidecar = [
        {
            "captions": [
                {"source": source, "text": texts[i], "lang": "en", "ordinal": 0}
                for source, texts in (("alt", data.web), ("seen", data.seen))
            ]
        }
        for i in numbers
    ]
    return PairBatch(np.arange(len(numbers), dtype=np.int32), [str(i) for i in numbers], sidecar)


def fused(pairs: PairBatch, **values: Any) -> list[Caption | None]:
    component = CapsFusion(CapsFusionSettings.parse({"synthetic": "seen"} | values, "fused"))
    component.setup("cpu")
    return list(component.caption(pairs))


def test_the_student_refines_as_a_captioner_and_what_it_loses_falls_back_to_the_web_text(tmp_path: Path) -> None:
    held, texts = written(0)
    data = planted(0)
    save_copying(trained(0).model, tmp_path / "student", "card")
    model = resolve_model(str(tmp_path / "student")).model_dump()
    limits = {"grounded": ["numbers", "names"], "entity_recall": 1, "noun_recall": 1, "longest_words": 28}
    student = {"uses": "student", "model": model, "decoding": {"search": "greedy", "twice_running": True}}
    made = fused(of_texts(data, held), text_model=student, limits=limits)
    assert len(made) == len(held)
    kept = [one.text for one in made if one is not None]
    assert recall([data.names[i] for i in held], kept) >= 0.95
    stands = [i for i, one in enumerate(made) if one is not None and one.status == "ok"]
    assert len(stands) > 0.8 * len(held)
    assert all(made[i].text == texts[i] for i in stands)
    for i, one in zip(held, made, strict=True):
        assert one is not None
        assert one.note is None or (one.text == data.web[i] and one.status in ("invalid", "truncated"))


@pytest.mark.slow
def test_a_refusal_and_an_overlong_answer_are_raw_text_and_counted(tmp_path: Path) -> None:
    data = planted(1, 8)
    rows = {str(i): (png(np.zeros((8, 8, 3), np.uint8)), data.web[i], {"seen": data.seen[i]}) for i in range(8)}
    dataset = write(tmp_path, rows)

    def reply(number: int, prompt: str) -> Any:
        evidence = evidence_of(prompt)
        assert evidence is not None
        which = data.web.index(evidence["web"])
        if which == 0:
            return answer("I'm sorry, I can't help with that.")
        if which == 1:
            return answer("a long tale of it " * 40)
        return answer(merge(evidence), ended="length" if which == 2 else "stop")

    with chatting() as server:
        server.reply = reply
        text_model = {"uses": "openai", "url": server.url, "model": "m", "cache": str(tmp_path / "a.sqlite")}
        view = scan(tmp_path, dataset, ("capsfusion", {"synthetic": "seen", "text_model": text_model}))
    texts = view.column("capsfusion.text").to_pylist()
    assert texts == [*data.web[:3], *data.teacher[3:]]
    assert count_fallbacks(view, "capsfusion").metrics() == {
        "written": 5.0,
        "without": 0.0,
        "fallback_share": 3 / 8,
        "fallback.refusal": 1.0,
        "fallback.repeats": 1.0,
        "fallback.truncated": 1.0,
        "status.ok": 5.0,
        "status.invalid": 1.0,
        "status.refused": 1.0,
        "status.truncated": 1.0,
    }


def test_a_stopped_job_goes_on_and_asks_nothing_twice(tmp_path: Path) -> None:
    data = planted(2, 12)
    pairs = of_texts(data, list(range(12)))
    with chatting() as server:
        server.reply = lambda number, prompt: answer(merge(evidence_of(prompt) or {}))
        said = {"uses": "openai", "url": server.url, "model": "m", "cache": str(tmp_path / "a.sqlite")}
        with pytest.raises(TextModelError, match="is used up"):
            fused(pairs, text_model=said | {"max_requests": 5, "on_budget": "stop"})
        made = fused(pairs, text_model=said | {"max_requests": 50, "on_budget": "stop"})
        assert [one.text for one in made if one] == data.teacher
        assert len(server.prompts) == len(set(server.prompts)) == 12


def test_a_seed_set_is_drawn_by_key_and_nothing_stands_in_where_nothing_should() -> None:
    data = planted(0, 200)
    made = fused(of_texts(data, list(range(200))), seed_share=0.25, fallback=None)
    drawn = [i for i in range(200) if is_drawn(str(i), 0.25)]
    assert 30 < len(drawn) < 70
    assert [i for i, one in enumerate(made) if one is not None] == drawn
    more = [i for i in range(200) if is_drawn(str(i), 0.5)]
    assert set(drawn) < set(more)
    refused = fused(of_texts(data, [0]), fallback=None, limits={"longest_words": 1})
    assert refused == [Caption(None, note="too_long", status="invalid")]
    one_text = of_texts(data, [0])
    one_text.sidecar[0]["captions"].pop()
    assert fused(one_text) == [Caption(data.web[0], note="no_evidence")]
