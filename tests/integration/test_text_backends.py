"""Text models against a real HTTP server on loopback, and real transformers folders made on the spot."""

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from text_server import Reply, Server, answer, chatting

from pairwright.components.component import Caption
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.digest import op_digest
from pairwright.components.errors import InvalidRecipe, ModelError, TextModelError
from pairwright.components.hashing import canonical, sha256_text
from pairwright.components.models.text_backends import Completion, LocalTextModel, OpenAITextModel, open_text_model
from pairwright.components.models.text_backends.budget import Spent, most_of
from pairwright.components.models.text_backends.chat import digest_of
from pairwright.components.models.text_backends.protocol import evidence_of
from pairwright.components.recaption.captioners.fuse import Fuse, FuseSettings
from pairwright.components.recaption.prompts.prompt import Prompt
from pairwright.components.settings import ModelFolder

SECRET = "sk-never-written-anywhere"
PRICED = json.dumps(
    {
        "choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 30, "completion_tokens": 10, "total_tokens": 40},
    }
).encode()


@pytest.fixture
def server() -> Iterator[Server]:
    with chatting() as state:
        yield state


@pytest.fixture
def model(server: Server, tmp_path: Path) -> Iterator[Callable[..., object]]:
    opened = []

    def open_with(**values: object) -> object:
        settings = {"uses": "openai", "url": server.url, "model": "tiny", "cache": str(tmp_path / "answers.sqlite")}
        quick = {"first_wait_s": 0.01, "longest_wait_s": 1.0, "timeout_s": 5.0}
        opened.append(open_text_model(OpenAITextModel.parse({**settings, **quick, **values}, "text_model")))
        return opened[-1]

    yield open_with
    for each in opened:
        each.close()


def texts(completions: list[Completion]) -> list[str | None]:
    return [completion.text for completion in completions]


def test_answers_come_in_order_of_the_prompts(server, model) -> None:
    def slower_for_the_first(number: int, prompt: str) -> Reply:
        time.sleep(0.1 if prompt == "p0" else 0)
        return answer(prompt.upper())

    server.reply = slower_for_the_first
    assert texts(model().complete([f"p{i}" for i in range(12)])) == [f"P{i}" for i in range(12)]


def test_equal_prompts_are_asked_once(server, model) -> None:
    assert len(set(texts(model().complete(["same"] * 5)))) == 1
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        (429, {}, b""),
        (500, {}, b"oops"),
        (503, {}, b"<html>busy</html>"),
        (200, {}, b"{not json"),
        (200, {}, b"[]"),
        (200, {}, b'{"choices": []}'),
        (200, {}, b'{"choices": [{"message": {"content": 7}}]}'),
    ],
)
def test_trouble_that_passes_is_retried_until_an_answer(server, model, trouble: Reply) -> None:
    server.reply = lambda number, prompt: trouble if number < 3 else answer("fine")
    assert model().complete(["p"]) == [Completion("fine")]
    assert len(server.requests) == 3


def test_a_slow_answer_is_given_up_and_asked_again(server, model) -> None:
    def slow_once(number: int, prompt: str) -> Reply:
        time.sleep(2 if number == 1 else 0)
        return answer("fine")

    server.reply = slow_once
    started = time.monotonic()
    assert texts(model(timeout_s=0.3).complete(["p"])) == ["fine"]
    assert time.monotonic() - started < 2


def test_retry_after_is_honoured_and_capped(server, model) -> None:
    server.reply = lambda number, prompt: (429, {"retry-after": "0.4"}, b"") if number == 1 else answer("fine")
    model().complete(["p"])
    assert server.at[1] - server.at[0] >= 0.4
    server.reply = lambda number, prompt: (503, {"retry-after": "3600"}, b"") if number == 3 else answer("fine")
    started = time.monotonic()
    assert texts(model(longest_wait_s=0.2).complete(["q"])) == ["fine"]
    assert time.monotonic() - started < 5


def test_no_more_requests_in_flight_than_allowed(server, model) -> None:
    def a_while(number: int, prompt: str) -> Reply:
        time.sleep(0.05)
        return answer("fine")

    server.reply = a_while
    model(concurrency=3).complete([f"p{i}" for i in range(15)])
    assert server.most_at_once == 3


def test_a_prompt_the_server_refuses_fails_alone(server, model) -> None:
    server.reply = lambda number, prompt: (400, {}, b"") if prompt == "bad" else answer("fine")
    found = model().complete(["good", "bad", "also good"])
    assert found == [Completion("fine"), Completion(None, "refused:400"), Completion("fine")]
    assert server.prompts.count("bad") == 1


def test_a_server_that_stays_down_gives_reasons_then_ends_the_job(server, model) -> None:
    server.reply = lambda number, prompt: (500, {}, b"")
    assert model(retries=1).complete(["p"]) == [Completion(None, "http:500")]
    with pytest.raises(TextModelError, match=r"no answer \(http:500\) after 1 retries; run the same command"):
        model(retries=1, give_up_after=3, concurrency=1).complete([f"p{i}" for i in range(20)])
    assert len(server.requests) <= 2 + 2 * 4


def test_a_server_that_is_not_there_is_one_line(model) -> None:
    with pytest.raises(TextModelError, match="unreachable:ConnectError"):
        model(url="http://127.0.0.1:9/v1", retries=0, on_failure="stop").complete(["p"])


@pytest.mark.parametrize(("status", "remedy"), [(401, "environment variable MY_KEY"), (404, "text_model.model")])
def test_a_wrong_key_or_model_ends_the_job_at_once(server, model, status: int, remedy: str) -> None:
    server.reply = lambda number, prompt: (status, {}, b"")
    with pytest.raises(TextModelError, match=remedy):
        model(api_key_env="MY_KEY", concurrency=1).complete(["p", "q"])
    assert len(server.requests) <= 2


def test_the_budget_is_never_exceeded_and_the_rest_have_a_reason(server, model) -> None:
    found = model(max_requests=4, concurrency=8).complete([f"p{i}" for i in range(10)])
    assert len(server.requests) == 4
    assert [completion.problem for completion in found].count("budget") == 6


def test_a_token_budget_is_never_passed_and_is_used_up(server, model) -> None:
    server.reply = lambda number, prompt: (time.sleep(0.01), answer("fine", tokens=40))[1]
    one = most_of("p0", 40)
    assert one.completion + one.prompt > 100  # that much is taken before asking
    found = model(max_tokens=500, max_new_tokens=40, concurrency=8).complete([f"p{i}" for i in range(30)])
    answered = [completion for completion in found if completion.text]
    assert 40 * len(answered) <= 500
    assert len(answered) == (500 - sum(one)) // 40 + 1  # of what is in flight it is waited for what that gives back
    assert [completion.problem for completion in found].count("budget") == 30 - len(answered)


def test_a_budget_in_money_is_never_passed_and_goes_on_once_it_is_raised(server, model) -> None:
    prices = {"prompt_price": 1.0, "completion_price": 4.0, "max_new_tokens": 20}
    server.reply = lambda number, prompt: (200, {}, PRICED)
    prompts = [f"p{i}" for i in range(20)]
    opened = model(max_money=0.0009, **prices)
    found = opened.complete(prompts)
    answered = [completion.text for completion in found].count("fine")
    spent = opened.answers.spent
    assert (spent.prompt, spent.completion) == (30 * answered, 10 * answered)
    assert 70e-6 * answered <= 0.0009 < 70e-6 * (answered + 4)  # 30 tokens at 1 and 10 at 4 for a million
    again = model(max_money=0.01, **prices).complete(prompts)
    assert {completion.text for completion in again} == {"fine"}
    assert [completion.cached for completion in again].count(True) == answered
    assert sorted(server.prompts) == sorted(prompts)


def test_money_without_a_price_is_refused() -> None:
    with pytest.raises(InvalidRecipe, match="max_money says nothing without prompt_price"):
        OpenAITextModel.parse({"uses": "openai", "url": "http://a/v1", "model": "m", "max_money": 1}, "text_model")


def test_an_answer_that_may_have_been_paid_for_counts_as_spent(server, model) -> None:
    server.reply = lambda number, prompt: (time.sleep(1), answer("late"))[1]
    opened = model(timeout_s=0.3, retries=1, max_requests=10)
    assert opened.complete(["p"]) == [Completion(None, "timeout")]
    assert opened.answers.spent.requests == 2
    server.reply = lambda number, prompt: (503, {}, b"")
    opened.complete(["q"])
    assert opened.answers.spent.requests == 2


def test_requests_are_no_more_often_than_the_rate_whoever_asks(server, model) -> None:
    openeds = [model(requests_per_minute=1200), model(requests_per_minute=1200)]
    started = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda one: one[1].complete([f"{one[0]}{i}" for i in range(6)]), enumerate(openeds)))
    assert len(server.requests) == 12
    assert time.monotonic() - started >= 11 * 0.05
    gaps = np.diff(sorted(server.at))
    assert np.median(gaps) > 0.03


def test_a_dear_answer_takes_more_of_the_token_rate(server, model) -> None:
    started = time.monotonic()
    model(tokens_per_minute=60_000, max_new_tokens=200).complete(["p", "q", "r"])
    assert time.monotonic() - started >= 0.4  # a thousand tokens a second, two hundred an answer


def test_what_an_older_release_paid_for_is_still_known(server, model, tmp_path: Path) -> None:
    asked = {"model": "tiny", "revision": "", "temperature": 0.0, "seed": 0, "max_tokens": 96}
    with closing(sqlite3.connect(tmp_path / "answers.sqlite")) as old, old:
        old.execute("create table answers (prompt text primary key, answer text not null, tokens integer not null)")
        old.execute("create table spent (job text primary key, requests integer not null, tokens integer not null)")
        old.execute("insert into answers values (?, 'kept', 7)", (digest_of(asked, "p"),))
        old.execute("insert into spent values (?, 1, 7)", (sha256_text(canonical(asked)),))
    opened = model()
    assert opened.complete(["p"]) == [Completion("kept", cached=True)]
    assert opened.answers.spent == Spent(1, 0, 7)
    assert server.requests == []


def test_a_file_of_a_newer_release_is_left_alone(model, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "answers.sqlite")) as newer, newer:
        newer.execute("pragma user_version = 99")
    with pytest.raises(TextModelError, match="newer release"):
        model()


@pytest.mark.parametrize(
    ("reply", "problem", "status"),
    [
        (answer("half a sen", ended="length"), "truncated", "truncated"),
        (answer(None, ended="content_filter"), "blocked:content_filter", "blocked"),
        (answer(None, refusal="I won't."), "refused:model", "refused"),
        ((400, {}, b'{"error": {"code": "content_policy_violation"}}'), "blocked:400", "blocked"),
        ((400, {}, b'{"error": {"innererror": {"code": "ResponsibleAIPolicyViolation"}}}'), "blocked:400", "blocked"),
        ((422, {}, b"<html>"), "refused:422", "refused"),
        ((500, {}, b""), "http:500", "error"),
    ],
)
def test_every_prompt_has_a_status_and_is_asked_once_whatever_it_is(server, model, reply, problem, status) -> None:
    server.reply = lambda number, prompt: reply if prompt == "bad" else answer("fine")
    found = model(retries=0, concurrency=1).complete(["good", "bad"])
    assert (found[0].status, found[1].status, found[1].problem) == ("ok", status, problem)
    again = model(retries=0).complete(["good", "bad"])
    assert [one.problem for one in again] == [None, problem]
    assert server.prompts.count("bad") == (2 if status == "error" else 1)


def test_a_server_that_turns_down_every_prompt_ends_the_job_and_is_asked_again(server, model) -> None:
    server.reply = lambda number, prompt: (400, {}, b'{"error": {"message": "no such parameter"}}')
    with pytest.raises(TextModelError, match="refused:400"):
        model(give_up_after=3, concurrency=1).complete([f"p{i}" for i in range(9)])
    server.reply = lambda number, prompt: answer("fine")
    assert set(texts(model().complete([f"p{i}" for i in range(9)]))) == {"fine"}


def test_recipes_that_ask_the_same_pay_once(server, tmp_path: Path) -> None:
    """Two captioners of other recipes, other prompts' files of the same text: the payload is what counts."""
    mine = tmp_path / "mine.txt"
    mine.write_text(f"version: 7\n\n{Prompt.model_validate('fuse').text}\n")
    text_model = {"uses": "openai", "url": server.url, "model": "m", "cache": str(tmp_path / "a.sqlite")}
    sidecar = [{"captions": [{"source": "alt", "text": "red truck", "lang": "en", "ordinal": 0}]}]
    pairs = PairBatch(np.arange(1, dtype=np.int32), ["a"], sidecar)
    for prompt, limits in (("fuse", {}), (str(mine), {"longest_words": 200})):
        fuse = Fuse(FuseSettings.parse({"text_model": text_model, "prompt": prompt, "limits": limits}, "fused"))
        fuse.setup("cpu")
        fuse.caption(pairs)
    assert len(server.requests) == 1


def test_a_wait_before_a_retry_holds_nobody_up(server, model) -> None:
    server.reply = lambda number, prompt: (503, {}, b"") if number <= 2 else answer("fine")
    found = model(concurrency=2, retries=1, first_wait_s=2.0, longest_wait_s=4.0).complete([f"p{i}" for i in range(20)])
    assert set(texts(found)) == {"fine"}
    refused = server.prompts[:2]  # whichever came first
    assert not set(refused) & set(server.prompts[2:8])  # others took their place while they waited
    assert sorted(server.prompts) == sorted([*refused, *(f"p{i}" for i in range(20))])


def test_whoever_asks_may_be_in_a_loop_of_its_own(server, model) -> None:
    async def notebook() -> list[Completion]:
        return model().complete(["p"])

    assert asyncio.run(notebook()) == [Completion("a caption of p")]


def test_a_spent_budget_can_stop_the_job_and_a_larger_one_goes_on(server, model) -> None:
    prompts = [f"p{i}" for i in range(5)]
    with pytest.raises(TextModelError, match=r"is used up \(3 requests.*answers are kept"):
        model(max_requests=3, on_budget="stop", concurrency=1).complete(prompts)
    found = model(max_requests=5, on_budget="stop").complete(prompts)
    assert sorted(server.prompts) == prompts
    assert [completion.cached for completion in found].count(True) == 3


def test_a_killed_job_asks_nothing_twice(server, tmp_path: Path) -> None:
    server.reply = lambda number, prompt: (time.sleep(0.05), answer(prompt))[1]
    program = (
        "import sys\n"
        "from pairwright.components.models.text_backends import OpenAITextModel, open_text_model\n"
        "settings = OpenAITextModel(uses='openai', url=sys.argv[1], model='m', cache=sys.argv[2], concurrency=1)\n"
        "print(len(open_text_model(settings).complete([f'p{i}' for i in range(30)])))\n"
    )
    command = [sys.executable, "-c", program, server.url, str(tmp_path / "a.sqlite")]
    job = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while len(server.requests) < 8:
        assert job.poll() is None
        time.sleep(0.01)
    job.kill()
    job.wait()
    with sqlite3.connect(tmp_path / "a.sqlite") as database:
        kept = database.execute("select count(*) from answers").fetchone()[0]
    before = len(server.requests)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "30"
    assert kept >= before - 1  # all but the one in flight
    assert len(server.requests) - before == 30 - kept


def test_workers_share_one_budget(server, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from pairwright.components.models.text_backends import OpenAITextModel, open_text_model\n"
        "settings = OpenAITextModel(uses='openai', url=sys.argv[1], model='m', cache=sys.argv[2], max_requests=10)\n"
        "found = open_text_model(settings).complete([f'{sys.argv[3]}-{i}' for i in range(20)])\n"
        "print(sum(one.text is not None for one in found))\n"
    )
    command = [sys.executable, "-c", program, server.url, str(tmp_path / "a.sqlite")]
    workers = [subprocess.Popen([*command, str(n)], stdout=subprocess.PIPE, text=True) for n in range(3)]
    answered = [int(worker.communicate()[0]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert sum(answered) == len(server.requests) == 10


def test_the_key_is_sent_and_written_nowhere(server, model, tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    caplog.set_level("DEBUG")
    server.reply = lambda number, prompt: answer("fine") if prompt == "p" else (401, {}, b"")
    opened = model(api_key_env="MY_KEY")
    opened.complete(["p"])
    with pytest.raises(TextModelError) as refused:
        opened.complete(["q"])
    assert server.keys == [f"Bearer {SECRET}"] * 2
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert SECRET.encode() not in written
    assert SECRET not in caplog.text + str(refused.value) + repr(opened.settings)


def test_where_and_how_fast_do_not_change_the_digest_and_what_is_asked_does() -> None:
    def digest(**values: object) -> str:
        text_model = {"uses": "openai", "url": "http://a/v1", "model": "m"} | values
        return op_digest(Fuse(FuseSettings.parse({"text_model": text_model}, "fused")))

    same = [digest(), digest(url="http://b/v1", concurrency=2), digest(api_key_env="OTHER", cache="/x", retries=1)]
    assert len(set(same)) == 1
    assert len({digest(), digest(model="n"), digest(temperature=0.5), digest(max_requests=3)}) == 4


def test_fusion_over_http_keeps_good_answers_and_falls_back_from_bad_ones(server, tmp_path) -> None:
    alts = ["red truck", "blue boat", "old house", "small dog", "green tree"]
    replies = {
        "red truck": 'Caption: "A red truck that says STOP."',
        "blue boat": "I'm sorry, I can't help with that.",
        "old house": "",
        "small dog": "a small dog runs " * 30,
    }

    def reply(number: int, prompt: str) -> Reply:
        evidence = evidence_of(prompt)
        assert evidence is not None
        return answer(replies[evidence["caption"]]) if evidence["caption"] in replies else (422, {}, b"")

    server.reply = reply
    text_model = {"uses": "openai", "url": server.url, "model": "m", "cache": str(tmp_path / "a.sqlite")}
    fuse = Fuse(FuseSettings.parse({"text_model": text_model}, "fused"))
    fuse.setup("cpu")
    sidecar = [{"captions": [{"source": "alt", "text": alt, "lang": "en", "ordinal": 0}]} for alt in alts]
    pairs = PairBatch(np.arange(5, dtype=np.int32), alts, sidecar)
    assert list(fuse.caption(pairs)) == [
        Caption("A red truck that says STOP.", status="ok"),
        Caption("blue boat", note="refusal", status="refused"),
        Caption("old house", note="empty", status="invalid"),
        Caption("small dog", note="repeats", status="invalid"),
        Caption("green tree", note="refused:422", status="refused"),
    ]


def word_tokenizer(folder: Path) -> object:
    """A WordPiece tokenizer over a vocabulary written here."""
    from transformers import BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the", "red", "truck", "dog", "house", "##s", ".", "of"]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = BertTokenizer(vocab=vocabulary)
    tokenizer.save_pretrained(folder)
    return tokenizer


@pytest.fixture(scope="module")
def causal_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("llama")
    tokenizer = word_tokenizer(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    config.max_position_embeddings, config.bos_token_id, config.eos_token_id, config.pad_token_id = 64, 2, 3, 0
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def seq2seq_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    folder = tmp_path_factory.mktemp("t5")
    tokenizer = word_tokenizer(folder)
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, initializer_factor=9.0
    )
    config.decoder_start_token_id, config.eos_token_id, config.pad_token_id = 0, 3, 0
    T5ForConditionalGeneration(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["causal_folder", "seq2seq_folder"])
def test_a_local_folder_answers_each_prompt_whatever_stands_beside_it(kind: str, request) -> None:
    folder = request.getfixturevalue(kind)
    reference = ModelFolder(reference=str(folder), path=str(folder), weights="w")
    settings = LocalTextModel(uses="local", model=reference, max_new_tokens=6, batch_size=2)
    opened = open_text_model(settings)
    prompts = ["a red truck", "the dog of the house the dog", "house " * 300]
    together = texts(opened.complete(prompts))
    alone = [texts(opened.complete([prompt]))[0] for prompt in prompts]
    assert together == alone
    assert all(len(text.split()) <= 6 for text in together)
    assert any(together)


def test_a_local_answer_that_did_not_end_is_truncated(causal_folder: Path) -> None:
    reference = ModelFolder(reference=str(causal_folder), path=str(causal_folder), weights="w")
    opened = open_text_model(LocalTextModel(uses="local", model=reference, max_new_tokens=6))
    (cut,) = opened.complete(["a red truck"])
    assert (cut.status, bool(cut.text)) == ("truncated", True)
    last = opened.tokenizer(cut.text, add_special_tokens=False)["input_ids"][-1]  # type: ignore[attr-defined]
    opened.model.generation_config.eos_token_id = last  # type: ignore[attr-defined]
    (ended,) = opened.complete(["a red truck"])
    assert (ended.status, ended.problem) == ("ok", None)


def test_a_folder_without_a_model_is_one_line(tmp_path: Path) -> None:
    empty = ModelFolder(reference="x", path=str(tmp_path), weights="w")
    with pytest.raises(ModelError, match="holds no text model"):
        open_text_model(LocalTextModel(uses="local", model=empty))
    with pytest.raises(ModelError, match="is not resolved"):
        open_text_model(LocalTextModel(uses="local", model=ModelFolder(reference="hub/name")))
