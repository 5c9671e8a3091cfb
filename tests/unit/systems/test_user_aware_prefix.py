"""User-aware prefix: two users, one picture, one noun in two styles, said by a language model that stays as it was."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from language_models import taught_language_model
from populations import view_of

from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import InvalidRecipe
from pairwright.components.filter.selections.user_words import UserWords, UserWordsSettings, words_of_users
from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.models.captioner.folder import load_captioner, save_captioner
from pairwright.components.models.captioner.prefix import Part
from pairwright.components.models.captioner.pretrained import PretrainedDecoder, load_pretrained
from pairwright.components.models.captioner.tokens import WordTokens, prompts_of
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.words import SPECIAL
from pairwright.components.pretrain.captioners.captioner import CaptionerSettings, CaptionerTask
from pairwright.components.recaption.captioners.prefix_captioner import PrefixCaptionerSettings, PrefixCaptions
from pairwright.components.training.here import fit_here

PAIRS, WIDTH, SEEDS = 384, 16, (0, 1, 2)
NOUNS = ("dog", "cat", "bus", "tree", "house", "boat")
STYLES = ("fluffy", "grumpy", "shiny", "dusty", "tiny", "gentle")
TOGETHER = list(itertools.combinations(STYLES, 2))
NEW = (("fluffy", "grumpy"), ("shiny", "dusty"), ("tiny", "gentle"))  # users that are met after training
PETS = {f"user{at}": pair for at, pair in enumerate(pair for pair in TOGETHER if pair not in NEW)}
SMALL: dict[str, Any] = {
    "features": "x.vector",
    "user": "user.words",
    "user_tokens": 8,
    "mapping": "queries",
    "prefix": 2,
    "fusion": 1,
    "hidden": 64,
    "rates": {"prefix.fusion": 0.03},
    "max_words": 8,
    "steps": 150,
    "batch_size": 32,
    "warmup_steps": 10,
    "lr": 1e-2,
}


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ours, of texts in which any style goes with any noun, and of words among which those of the text are."""
    random, texts, words = np.random.default_rng(9), [], []
    for _ in range(600):
        said = [random.choice(STYLES), random.choice(NOUNS)]
        texts.append(f"a {said[0]} {said[1]}")
        words.append(" ".join(random.permutation([*said, random.choice(STYLES)])))
    folder: Path = tmp_path_factory.mktemp("models") / "language_model"
    measured = taught_language_model(folder, texts, words)
    assert measured["nats_per_token"] < 1.1  # 1.2 at best for one that does not heed what stands before a text
    return folder


@cache
def planted(seed: int) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
    """Features, nouns, users and captions: what a picture shows in a word its user likes."""
    random = np.random.default_rng(seed)
    noun = random.integers(0, len(NOUNS), PAIRS)
    features = random.normal(size=(len(NOUNS), WIDTH))[noun] + 0.2 * random.normal(size=(PAIRS, WIDTH))
    users = [f"user{at}" for at in random.integers(0, len(PETS), PAIRS)]
    captions = [f"a {random.choice(PETS[user])} {NOUNS[n]}" for user, n in zip(users, noun, strict=True)]
    return features.astype(np.float32), noun, users, captions


def population(seed: int) -> ArrayPopulation:
    features, _, users, captions = planted(seed)
    words = words_of_users(users, [str(at) for at in range(PAIRS)], captions, 2)
    return ArrayPopulation({"x.vector": features, "user.words": words}, {"alt": captions})


@cache
def trained(seed: int, folder: Path, **changes: Any) -> Captioner:
    wish = CaptionerSettings.parse(SMALL | {"seed": seed, "decoder": resolve_model(str(folder))} | changes, "test")
    return fit_here(CaptionerTask(wish), population(seed)).task.model  # type: ignore[no-any-return]


def said(model: Captioner, features: np.ndarray, words: Sequence[str] | None) -> list[list[str]]:
    told = {"image": torch.from_numpy(features)}
    if words is not None:
        told["user"] = prompts_of(model.tokens, [" ".join(words)] * len(features), 8)
    return [texts[0].split() for texts in model.generate(told)]


def share(found: Sequence[list[str]], words: Sequence[Sequence[str]]) -> float:
    """Captions that hold one of their words."""
    return float(np.mean([bool(set(text) & set(wanted)) for text, wanted in zip(found, words, strict=True)]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_two_users_get_one_noun_in_two_styles_and_a_new_user_gets_their_own(seed: int, language_model: Path) -> None:
    features, noun, _, _ = planted(seed)
    model, nouns = trained(seed, language_model), [[NOUNS[n]] for n in noun]
    one, other = (("fluffy", "shiny"), ("grumpy", "gentle"))
    by_user = {user: said(model, features, user) for user in (one, other, *NEW)}
    for user, found in by_user.items():
        assert share(found, nouns) > 0.9, user
        assert share(found, [user] * PAIRS) > (0.8 if user in NEW else 0.9), user
    both = zip(by_user[one], by_user[other], strict=True)
    assert np.mean([a != b and a[-1] == b[-1] for a, b in both]) > 0.9


@pytest.mark.slow
def test_told_of_no_user_it_has_one_style_for_all(language_model: Path) -> None:
    features, noun, users, _ = planted(0)
    found = said(trained(0, language_model, user=None), features, None)
    assert share(found, [[NOUNS[n]] for n in noun]) > 0.9
    assert share(found, [PETS[user] for user in users]) < 0.6  # a third by chance


def test_the_language_model_stays_to_the_bit_and_what_is_not_told_tells_nothing(
    language_model: Path, tmp_path: Path
) -> None:
    model = trained(0, language_model)
    save_captioner(model, tmp_path / "captioner", "# card")
    before, after = (
        load_pretrained(at)[0].state_dict() for at in (language_model, tmp_path / "captioner/language_model")
    )
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    told = {"image": torch.from_numpy(planted(0)[0][:8])}
    nobody = told | {"user": prompts_of(model.tokens, [""] * 7 + ["tiny"], 8)}
    tokens = model.tokens.encode(["a tiny dog"] * 8, 8)[:, :-1]
    assert torch.allclose(model.logits(nobody, tokens)[:7], model.logits(told, tokens)[:7], atol=1e-5)
    assert not torch.allclose(model.logits(nobody, tokens)[7], model.logits(told, tokens)[7], atol=1e-3)
    again = load_captioner(tmp_path / "captioner")
    assert torch.equal(again.logits(nobody, tokens), model.logits(nobody, tokens))


def test_a_gradient_reaches_the_prefix_alone(language_model: Path) -> None:
    task = CaptionerTask(CaptionerSettings.parse(SMALL | {"decoder": resolve_model(str(language_model))}, "test"))
    task.population = population(0)
    task.model = task.build()
    torch.nn.init.normal_(task.model.prefix.fusion.up.weight)
    batch = task.collate(task.population.read(np.arange(64), 0, 0))
    logits = task.model.logits({name: batch[name] for name in task.model.parts}, batch["tokens"][:, :-1])
    task.model.nats(logits, batch["tokens"]).sum().backward()
    reached = {name for name, one in task.model.named_parameters() if one.grad is not None and bool(one.grad.any())}
    trained_ = {name for name, one in task.model.named_parameters() if one.requires_grad}
    assert {name.partition(".")[0] for name in reached} == {"prefix"}
    keys = {f"prefix.maps.image.{what}" for what in ("norm.weight", "norm.bias", "keys.weight", "keys.bias")}
    assert trained_ - reached <= keys  # of one vector, a softmax has nothing to choose
    assert {name.split(".")[1] for name in reached} == {"maps", "fusion"}


def test_of_a_language_model_of_real_size_less_than_a_tenth_is_trained() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    smollm2 = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "vocab_size": 49152}
    heads = {"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True}
    with torch.device("meta"):
        for large in (GPT2LMHeadModel(GPT2Config()), LlamaForCausalLM(LlamaConfig(**smollm2, **heads))):
            parts = [Part("image", "vector", 1280, 8, mapping="queries"), Part("user", "words", 16)]
            model = Captioner(parts, PretrainedDecoder(large), WordTokens(SPECIAL), 16, fusion=2)
            counts = [sum(p.numel() for p in model.parameters() if p.requires_grad is way) for way in (True, False)]
            assert counts[1] > 1e8
            assert 0 < counts[0] < 0.1 * sum(counts)


def test_tf_idf_finds_the_planted_words_and_tells_no_word_of_the_pairs_own_caption(tmp_path: Path) -> None:
    _, _, users, captions = planted(0)
    captions = list(captions)
    captions[3] = "a unique thing"
    users, groups = [*users, "silent", "new"], [*(str(at // 2) for at in range(PAIRS)), "x", "y"]
    captions += ["", "hello hello"]
    found = words_of_users(users, groups, captions, 2)
    for at, user in enumerate(users[:PAIRS]):
        assert set(found[at]) == set(PETS[user]), at
    assert found[PAIRS:] == [[], []]  # said nothing, and nothing but this
    everything = words_of_users(users, groups, captions, 99)
    mine = next(at for at in range(PAIRS) if users[at] == users[3] and groups[at] != groups[3])
    assert "unique" in everything[mine]
    assert "unique" not in everything[3]
    among = words_of_users(users[:PAIRS], groups[:PAIRS], captions[:PAIRS], 99)
    assert not {word for words in among for word in words} & {"a", *NOUNS}  # what everyone says
    assert "unique" not in words_of_users(users, groups, captions, 99, least=2)[mine]


def test_the_selection_reads_users_groups_and_captions_and_leaves_out_what_is_evaluated_on(tmp_path: Path) -> None:
    told = {
        "0": "a fluffy dog",
        "1": "fluffy cat",
        "2": "fluffy bus",
        "3": "a shiny bus",
        "4": "a shiny boat",
        "5": "?",
    }
    labels = {key: [("user", "ann" if key in "012" else "bob")] for key in "01234"}
    view = view_of(
        tmp_path,
        {"evaluation_overlap.drop": pa.array([False, False, True, False, False, False])},
        shards=2,
        labels=labels,
        captions=told,
        groups={"0": "g", "1": "h", "2": "i", "3": "j", "4": "k", "5": "l"},
    )
    chosen = UserWords(UserWordsSettings.parse({"user": "pair.label.user", "least": 1}, "test"))
    words = chosen.select(view)["words"].to_pylist()
    ann = [["cat", "fluffy"], ["dog", "fluffy"], ["fluffy", "cat", "dog"]]
    assert words == [*ann, ["boat", "shiny"], ["bus", "shiny"], []]
    with pytest.raises(InvalidRecipe, match="no fact"):
        UserWordsSettings.parse({"user": "pair.who"}, "test")


def test_the_step_writes_as_its_pairs_users(language_model: Path, tmp_path: Path) -> None:
    features = planted(0)[0][:6]
    save_captioner(trained(0, language_model), tmp_path, "# card")
    wish = {"model": resolve_model(str(tmp_path)), "features": "x.vector", "level": "none", "user": "user.words"}
    step = PrefixCaptions(PrefixCaptionerSettings.parse(wish, "test"))
    step.setup("cpu")
    words = [["fluffy", "shiny"], ["grumpy", "gentle"]] * 3
    columns = {"x.vector": list(features), "user.words": words}
    pairs = PairBatch(np.arange(6), list("abcdef"), [{}] * 6, columns=columns)
    texts = [one.text for one in step.caption(pairs) if one]
    assert share([text.split() for text in texts], words) == 1
