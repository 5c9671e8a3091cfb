"""Perplexity: damage reads worse, nothing is judged by what saw it, padding changes no value."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairwright.components.component import FitInputs
from pairwright.components.dataset.dataset import Dataset
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.dataset.shards.columns import ColumnStore, ColumnsView
from pairwright.components.dataset.shards.sidecar import caption
from pairwright.components.dataset.shards.writer import ShardWriter
from pairwright.components.errors import ModelError
from pairwright.components.filter.fits.ngram_model import FitNgramModel, NgramModelSettings, load
from pairwright.components.filter.scorers.perplexity import Perplexity, PerplexitySettings
from pairwright.components.models.causal_lm import CausalLm

NEIGHBOURS = {
    "a": "qsz", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj", "i": "uo", "j": "hk",
    "k": "jl", "l": "k", "m": "n", "n": "bm", "o": "ip", "p": "o", "q": "w", "r": "et", "s": "ad", "t": "ry",
    "u": "yi", "v": "cb",
    "w": "qe", "x": "zc", "y": "tu", "z": "x",
}  # fmt: skip


def sentences(n: int, seed: int = 0) -> list[str]:
    """Captions of a small grammar: some 19,000 different ones."""
    random = np.random.default_rng(seed)
    parts = (
        ["A", "The", "One of the", "An old", "My neighbour's", "This"],
        ["cat", "mug of clay", "bicycle", "blue shirt", "lamp", "fishing boat", "wooden chair", "dog", "clock"],
        ["is standing on", "was left behind", "looks like", "can be seen through", "lies next to", "hangs above"],
        ["the wooden table", "a window of the house", "an open book", "my bed", "some flowers", "the harbour"],
        ["at night.", "in the rain.", "near the old town.", "under a grey sky.", "in winter.", "on a Sunday."],
    )  # fmt: skip
    return [" ".join(str(random.choice(part)) for part in parts) for _ in range(n)]


def shuffled(text: str, random: np.random.Generator) -> str:
    words = text.split()
    return " ".join(words[i] for i in random.permutation(len(words)))


def noisy(text: str, random: np.random.Generator, share: float = 0.2) -> str:
    """Keyboard noise: letters replaced by a neighbour's key."""
    return "".join(
        str(random.choice(list(NEIGHBOURS[c]))) if c in NEIGHBOURS and random.random() < share else c for c in text
    )


def dataset_of(root: Path, texts: list[str | None], groups: list[str | None] | None = None) -> Dataset:
    with ShardWriter(str(root), "captions", pairs_per_shard=150) as writer:
        for number, text in enumerate(texts):
            writer.add(
                f"k{number}",
                captions=[] if text is None else [caption(text)],
                group=groups[number] if groups else None,
            )
    return writer.dataset


def fitted(root: Path, dataset: Dataset, **options: Any) -> tuple[Path, dict[str, float]]:
    view = ColumnsView(dataset, ColumnStore(str(root / "columns")), {})
    component = FitNgramModel(NgramModelSettings(**options))
    return root / "lm", dict(component.fit(FitInputs(view), root / "lm"))


def scorer(folder: Path, **options: Any) -> Perplexity:
    model = {"reference": "step:lm", "path": str(folder), "weights": "w"}
    component = Perplexity(PerplexitySettings.model_validate({"model": model} | options))
    component.setup("cpu")
    return component


def batch(texts: list[str | None], keys: list[str] | None = None, groups: list[str | None] | None = None) -> PairBatch:
    keys = keys or [f"new{number}" for number in range(len(texts))]
    groups = groups or [None] * len(texts)
    rows = [{"captions": [] if t is None else [caption(t)], "group": g} for t, g in zip(texts, groups, strict=True)]
    return PairBatch(np.arange(len(texts), dtype=np.int32), keys, rows)


def values(found: Any, name: str = "score") -> np.ndarray:
    column = found[name]
    return np.array(column.to_pylist() if hasattr(column, "to_pylist") else column, dtype=float)


def auc(good: np.ndarray, bad: np.ndarray) -> float:
    return float(((good[:, None] > bad[None]) + 0.5 * (good[:, None] == bad[None])).mean())


@pytest.mark.parametrize("seed", range(3))
def test_keyboard_noise_and_shuffled_words_read_worse_than_real_captions(tmp_path: Path, seed: int) -> None:
    texts = sentences(600, seed)
    dataset = dataset_of(tmp_path / "data", [*texts])
    folder, metrics = fitted(tmp_path, dataset)
    assert metrics["captions_0"] + metrics["captions_1"] == len(set(texts))
    random = np.random.default_rng(seed)
    keys = [f"k{number}" for number in range(200)]
    judge = scorer(folder)
    real = judge.score(batch(texts[:200], keys))
    noise = judge.score(batch([noisy(text, random) for text in texts[:200]], keys))
    mixed = judge.score(batch([shuffled(text, random) for text in texts[:200]], keys))
    assert auc(values(real), values(noise)) > 0.9
    assert auc(values(real, "slor"), values(mixed, "slor")) > 0.9
    assert auc(values(real), values(mixed)) > 0.9


def test_no_caption_is_scored_by_the_half_that_saw_it(tmp_path: Path) -> None:
    """A half that saw an odd caption finds it likely; the score must be the other half's, to the digit."""
    odd = [f"{word} quartz {word[::-1]}" for word in ("xylophone", "zebra", "oxygen", "kayak", "jigsaw", "waltz")]
    texts: list[str | None] = [*sentences(300), *odd]
    folder, _ = fitted(tmp_path, dataset_of(tmp_path / "data", texts))
    halves, _ = load(folder)
    found = -values(scorer(folder).score(batch(texts, [f"k{number}" for number in range(len(texts))])))[300:]
    both = np.stack([half.text.mean_nll(odd) for half in halves])
    assert (both.max(axis=0) > both.min(axis=0) + 0.3).all()
    assert found == pytest.approx(both.max(axis=0), abs=1e-5)


def test_equal_captions_groups_and_later_captions_of_a_seen_pair_keep_to_one_half(tmp_path: Path) -> None:
    texts: list[str | None] = [*sentences(120), *["A very common caption!"] * 5]
    groups = [f"g{number // 3}" for number in range(len(texts))]
    folder, _ = fitted(tmp_path, dataset_of(tmp_path / "data", texts, groups))
    _, table = load(folder)
    keys = [f"k{number}" for number in range(len(texts))]
    free = table.unseen(keys, groups, [None] * len(texts))
    assert (free >= 0).all()
    for start in range(0, len(texts), 3):
        assert len(set(free[start : start + 3])) == 1
    assert len(set(free[120:])) == 1
    judge = scorer(folder)
    assert judge.score(batch(["a very COMMON caption"], ["elsewhere"]))["score"][0].as_py() is not None
    later = judge.score(batch(["something newly written"], ["k0"]))["score"][0].as_py()
    assert -later == pytest.approx(
        load(folder)[0][int(free[0])].text.mean_nll(["something newly written"])[0], abs=1e-5
    )


def test_a_caption_of_one_half_under_a_pair_of_the_other_is_null_for_both_halves_saw_it(tmp_path: Path) -> None:
    texts: list[str | None] = [*sentences(100)]
    folder, _ = fitted(tmp_path, dataset_of(tmp_path / "data", texts))
    free = load(folder)[1].unseen([f"k{n}" for n in range(100)], [None] * 100, [None] * 100)
    one, other = int(np.flatnonzero(free == 0)[0]), int(np.flatnonzero(free == 1)[0])
    judge = scorer(folder)
    assert judge.score(batch([texts[other]], [f"k{one}"]))["score"].to_pylist() == [None]
    assert judge.score(batch([texts[one]], [f"k{one}"]))["score"].to_pylist() != [None]


def test_the_same_captions_fit_the_same_bytes_and_too_few_are_refused(tmp_path: Path) -> None:
    texts: list[str | None] = [*sentences(80), None, ""]
    dataset = dataset_of(tmp_path / "data", texts)
    digests = set()
    for name in ("a", "b"):
        folder, _ = fitted(tmp_path / name, dataset)
        digests.add(
            tuple(hashlib.sha256((folder / f).read_bytes()).hexdigest() for f in ("model.safetensors", "config.json"))
        )
        assert (folder / "card.md").read_text()
    assert len(digests) == 1
    with pytest.raises(ModelError, match="widen `among`"):
        fitted(tmp_path / "few", dataset_of(tmp_path / "small", [*sentences(10)]))


def test_only_the_rows_trusted_are_fitted_on(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path / "data", [*sentences(80), *["zq xv kj"] * 40])
    view = ColumnsView(dataset, ColumnStore(str(tmp_path / "columns")), {})
    settings = NgramModelSettings(among={"trusted": "pair.key NOT IN ('k0', 'k1')"})
    metrics = FitNgramModel(settings).fit(FitInputs(view), tmp_path / "lm")
    distinct = len(set(sentences(80)[2:])) + 1
    assert metrics["captions_0"] + metrics["captions_1"] == distinct


def test_empty_and_absent_captions_are_null(tmp_path: Path) -> None:
    folder, _ = fitted(tmp_path, dataset_of(tmp_path / "data", [*sentences(80)]))
    found = scorer(folder).score(batch(["", "  ", "a cat"]))
    assert found["score"].null_count == 2
    assert found["tokens"].to_pylist() == [None, None, 6]
    assert found["perplexity"][2].as_py() == pytest.approx(np.exp(-found["score"][2].as_py()), rel=1e-5)


# ---- a causal language model of transformers, tiny and random


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def causal_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import BertTokenizer, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp(request.param)
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "a",
        "the",
        "red",
        "bus",
        "dog",
        "on",
        "house",
        "##s",
        ".",
        "of",
    ]
    BertTokenizer(vocab={word: number for number, word in enumerate(words)}).save_pretrained(folder)
    torch.manual_seed(0)
    if request.param == "gpt2":
        config = GPT2Config(
            vocab_size=15, n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=2, eos_token_id=3
        )
        config.initializer_range = 1.0
        GPT2LMHeadModel(config).save_pretrained(folder)
    else:
        config = LlamaConfig(
            vocab_size=15, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=32, bos_token_id=2, eos_token_id=3, initializer_range=1.0,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


TEXTS = ["a red bus", "the dog on the house .", "a", "bus of dogs on a red red red house of the dog on the bus ."]


def test_padding_does_not_change_a_value(causal_folder: Path) -> None:
    alone = [
        values(scorer(causal_folder).score(batch([text])), name) for text in TEXTS for name in ("score", "perplexity")
    ]
    for size in (1, 2, 32):
        together = scorer(causal_folder, batch_size=size).score(batch([*TEXTS]))
        pairs = [values(together, name)[i : i + 1] for i in range(len(TEXTS)) for name in ("score", "perplexity")]
        assert np.concatenate(pairs) == pytest.approx(np.concatenate(alone), rel=1e-4)


def test_the_value_is_the_models_own_loss(causal_folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(causal_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(causal_folder)
    found = scorer(causal_folder).score(batch([*TEXTS]))
    for i, text in enumerate(TEXTS):
        ids = torch.tensor([[2, *tokenizer(text, add_special_tokens=False)["input_ids"]]])
        with torch.inference_mode():
            loss = float(model(input_ids=ids, labels=ids).loss)
        assert found["perplexity"][i] == pytest.approx(np.exp(loss), rel=1e-4)
        assert found["tokens"][i] == ids.shape[1] - 1
        assert found["score"][i] == pytest.approx(-loss * found["tokens"][i] / len(text), rel=1e-4)


def test_a_caption_longer_than_the_model_is_cut_and_one_without_a_token_is_null(causal_folder: Path) -> None:
    found = scorer(causal_folder).score(batch(["a red bus " * 50, "", "a", "\x00", "\ufffd"]))  # BERT drops the last
    assert found["tokens"] == [31, None, 1, None, None]
    assert [value is None for value in found["score"]] == [False, True, False, True, True]
    assert [value is None for value in found["perplexity"]] == [False, True, False, True, True]


def test_a_caption_of_thrice_the_window_reads_like_the_part_that_was_read(causal_folder: Path) -> None:
    """Or stuffing words until the model stops reading would be the way to look fluent."""
    read = " ".join((["a", "red", "bus"] * 11)[:31])
    texts: list[str | None] = [read, "a red bus " * 31, f"{read} {'of ' * 500}", f"\n {read} {' ' * 900}"]
    found = scorer(causal_folder).score(batch(texts))
    assert found["score"] == [pytest.approx(found["score"][0], rel=1e-5)] * 4
    assert found["tokens"] == [31] * 4


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_bytes_are_those_of_the_tokens_kept_with_and_without_offsets(side: str) -> None:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import ByT5Tokenizer, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=384, n_embd=16, n_layer=1, n_head=2, n_positions=9, bos_token_id=1, eos_token_id=1)
    model = GPT2LMHeadModel(config).eval()
    alphabet = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    letters = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    letters.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    with_offsets = PreTrainedTokenizerFast(tokenizer_object=letters, truncation_side=side)
    for tokenizer in (with_offsets, ByT5Tokenizer(truncation_side=side)):  # a byte is a token
        found = CausalLm(tokenizer, model, "cpu").nll(["a bus", "abcd été efgh", "", "ééééé"])
        assert [(one.tokens, one.size) for one in found] == [(5, 5), (8, 8), (0, 0), (8, 8)]


def test_what_n_grams_score_is_the_caption_without_its_padding_and_the_end(tmp_path: Path) -> None:
    folder, _ = fitted(tmp_path, dataset_of(tmp_path / "data", [*sentences(80)]))
    found = scorer(folder).score(batch(["a cat", "  a \n\t cat   ", "\x01"], ["one"] * 3))
    assert found["tokens"].to_pylist() == [6, 6, None]
    score = found["score"].to_pylist()
    assert score[0] == score[1]
    assert score[2] is None


def test_a_folder_that_holds_no_language_model_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="holds no causal language model"):
        scorer(tmp_path / "x")
