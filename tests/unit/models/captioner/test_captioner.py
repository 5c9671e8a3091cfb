"""The captioner: neither holes in the prefix nor a cache change what is said; with GPT-2's weights it is GPT-2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import tiny_language_model

from pairwright.components.errors import ModelError
from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.models.captioner.decoder import SmallDecoder
from pairwright.components.models.captioner.folder import load_captioner, save_captioner
from pairwright.components.models.captioner.prefix import Part, not_told
from pairwright.components.models.captioner.pretrained import PretrainedDecoder, load_pretrained
from pairwright.components.models.captioner.tokens import PretrainedTokens, WordTokens, prompts_of
from pairwright.components.models.decoding.processors import NotTwiceRunning
from pairwright.components.models.decoding.sampling import greedy
from pairwright.components.models.decoding.session import guide
from pairwright.components.models.decoding.settings import Decoding
from pairwright.components.models.words import SPECIAL

WORDS = [*SPECIAL, "red", "blue", "old", "small", "dog", "cat", "bus", "tree", "on", "under", "a", "the"]
PARTS = [
    Part("image", "vector", 6, tokens=2),
    Part("clip", "vector", 3, tokens=1, most=4),
    Part("control", "number", 5),
    Part("prompt", "words", 4),
    Part("box", "box"),
]
PROMPTS = ["", "the red dog", "cat", "old tree under the bus", "bus a", ""]
SEARCHES: list[dict[str, Any]] = [
    {},
    {"guidance": 2.5},
    {"search": "beam", "beams": 4, "groups": 2},
    {"search": "beam", "beams": 2, "guidance": 1.5},
    {"search": "nucleus"},
]
KINDS = pytest.mark.parametrize("kind", ["small", "llama", "gpt2"])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("language_models")
    return {kind: tiny_language_model(root / kind, kind) for kind in ("llama", "gpt2")}


def made(kind: str, folders: dict[str, Path]) -> Captioner:
    """Untrained, with weights so large that what is said depends on what is told."""
    torch.manual_seed(1)
    if kind == "small":
        model = Captioner(PARTS, SmallDecoder(len(WORDS), 64, 32, 2, 4), WordTokens(WORDS), 8, 16)
    else:
        decoder, tokenizer = load_pretrained(folders[kind])
        model = Captioner(PARTS, decoder, PretrainedTokens(tokenizer, decoder.vocabulary), 8, 16)
    for name, weight in model.named_parameters():
        if weight.ndim == 2 and (kind == "small" or name.startswith("prefix")):
            torch.nn.init.normal_(weight, std=0.5)
    return model.eval()


def told(model: Captioner) -> dict[str, torch.Tensor]:
    """Six pairs, who lack different things."""
    noise = torch.Generator().manual_seed(3)
    image, clip = torch.randn(6, 6, generator=noise), torch.randn(6, 4, 3, generator=noise)
    image[2], clip[1, 2:], clip[4] = torch.nan, torch.nan, torch.nan
    box = torch.rand(6, 4, generator=noise)
    box[0] = torch.nan
    control, prompt = torch.tensor([1, 5, 0, 2, 0, 5]), prompts_of(model.tokens, PROMPTS, 4)
    return {"image": image, "clip": clip, "control": control, "prompt": prompt, "box": box}


def row(values: dict[str, torch.Tensor], at: int) -> dict[str, torch.Tensor]:
    return {name: value[at : at + 1] for name, value in values.items()}


@KINDS
@pytest.mark.parametrize("search", SEARCHES, ids=str)
def test_a_batch_says_what_each_pair_says_alone(kind: str, search: dict[str, Any], folders: dict[str, Path]) -> None:
    model, wish = made(kind, folders), Decoding.parse(search, "test")
    values, seeds = told(model), list(range(6))
    together = model.generate(values, wish, seeds=seeds)
    assert together == [model.generate(row(values, at), wish, seeds=[at])[0] for at in range(6)]
    assert len({texts[0] for texts in together}) > 2


@KINDS
def test_a_prefix_with_holes_is_the_prefix_without_them(kind: str, folders: dict[str, Path]) -> None:
    model = made(kind, folders)
    values, tokens = told(model), model.tokens.encode(["red dog on a bus"], 8)[:, :-1]
    for at in range(6):
        one = row(values, at)
        bare = {name: value for name, value in one.items() if not _lacks(value)}
        bare |= {"prompt": one["prompt"][:, (one["prompt"][0] >= 0)]} if "prompt" in bare else {}
        assert torch.allclose(model.logits(one, tokens), model.logits(bare, tokens), atol=1e-5)
    wide = values | {"prompt": torch.nn.functional.pad(values["prompt"], (5, 0), value=-1)}
    many = tokens.repeat(6, 1)
    assert torch.allclose(model.logits(wide, many), model.logits(values, many), atol=1e-5)
    assert bool(torch.isfinite(model.logits(wide, many)).all())


def _lacks(value: torch.Tensor) -> bool:
    return (
        bool(value.isnan().all())
        if value.is_floating_point()
        else bool((value <= 0 if value.ndim == 1 else value < 0).all())
    )


@KINDS
def test_each_part_that_is_told_changes_what_follows_and_one_not_told_does_not(
    kind: str, folders: dict[str, Path]
) -> None:
    model = made(kind, folders)
    values, tokens = told(model), model.tokens.encode(["dog"] * 6, 8)[:, :-1]
    before = model.logits(values, tokens)
    for name, value in values.items():
        without = model.logits(values | {name: not_told(value, torch.tensor([True] * 3 + [False] * 3))}, tokens)
        changed = (without - before).abs().amax((1, 2)) > 1e-4
        lacking = torch.tensor([_lacks(value[at]) if value.ndim > 1 else int(value[at]) == 0 for at in range(6)])
        assert changed.tolist() == [at < 3 and not bool(lacking[at]) for at in range(6)], name
    with pytest.raises(ModelError, match="told of"):
        model.logits({"colour": torch.zeros(6)}, tokens)


@KINDS
def test_the_cache_changes_no_logit_by_more_than_rounding(kind: str, folders: dict[str, Path]) -> None:
    model = made(kind, folders)
    values = told(model)
    random, rows = torch.Generator().manual_seed(5), torch.tensor([5, 0, 0, 3, 2, 1, 4])
    session = model.session(values)
    said = torch.full((6, 1), model.tokens.start)
    for time in range(7):
        whole = model.logits(values, said)[:, -1]
        assert torch.allclose(session.logits(), whole, atol=1e-5), time
        if time == 3:  # beams are re-forked: rows twice, rows exchanged
            other = session.select(rows)
            assert torch.allclose(other.logits(), whole[rows], atol=1e-5)
            session, said = other, said[rows]
            values = {name: value[rows] for name, value in values.items()}
        last = torch.randint(4, 12, (len(said),), generator=random)
        session.append(last)
        said = torch.cat([said, last[:, None]], dim=1)


def test_greedy_is_what_a_loop_without_cache_finds(folders: dict[str, Path]) -> None:
    model = made("small", folders)
    values, said = told(model), torch.full((6, 1), model.tokens.start)
    ended = torch.zeros(6, dtype=torch.bool)
    for _ in range(model.longest):
        logits = model.logits(values, said)[:, -1].log_softmax(-1)
        logits[:, list(model.tokens.never)] = -torch.inf
        last = NotTwiceRunning()(logits, said[:, 1:], torch.arange(6)).argmax(1)
        last = torch.where(ended, model.tokens.end, last)
        said, ended = torch.cat([said, last[:, None]], dim=1), ended | (last == model.tokens.end)
    assert model.generate(values) == [[model.tokens.decode(text)] for text in said[:, 1:].tolist()]


def test_guidance_is_the_formula_on_both_sides(folders: dict[str, Path]) -> None:
    model = made("small", folders)
    values = told(model)
    bare = values | {"image": torch.full_like(values["image"], torch.nan)}
    session, with_it, without = model.session(values, guidance=2.5), model.session(values), model.session(bare)
    for token in (4, 8, 6):
        assert torch.allclose(session.logits(), guide(with_it.logits(), without.logits(), 2.5), atol=1e-4)
        for one in (session, with_it, without):
            one.append(torch.full((6,), token))
    with pytest.raises(ModelError, match="weighs the picture"):
        model.session({"control": values["control"]}, guidance=2.0)


def test_gpt2s_weights_say_what_gpt2_says() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=40, n_positions=24, n_embd=32, n_layer=3, n_head=4, activation_function="gelu")
    theirs = GPT2LMHeadModel(config).eval()
    ours = SmallDecoder(40, 24, 32, 3, 4)
    with_gpt2s_weights(ours, theirs)
    tokens = torch.randint(0, 40, (5, 17))
    assert torch.allclose(ours(ours.embed(tokens), None), theirs(tokens).logits, atol=1e-5)
    there = torch.ones(5, 17, dtype=torch.bool)
    there[1, :6], there[3, :2] = False, False  # padding on the left
    places = (there.cumsum(1) - 1).clamp(min=0)
    said = theirs(tokens, attention_mask=there.long(), position_ids=places).logits
    assert torch.allclose(ours(ours.embed(tokens), there)[there], said[there], atol=1e-5)


def with_gpt2s_weights(ours: SmallDecoder, theirs: Any) -> None:
    state = {"words.weight": theirs.transformer.wte.weight, "place": theirs.transformer.wpe.weight}
    state |= {f"norm.{kind}": getattr(theirs.transformer.ln_f, kind) for kind in ("weight", "bias")}
    names = {"norm": "ln_1", "mix": "attn.c_attn", "out": "attn.c_proj", "then.0": "ln_2"}
    names |= {"then.1": "mlp.c_fc", "then.3": "mlp.c_proj"}
    for number, block in enumerate(theirs.transformer.h):
        for mine, yours in names.items():
            of = block.get_submodule(yours)
            state[f"layers.{number}.{mine}.weight"] = of.weight.T if of.weight.ndim == 2 else of.weight
            state[f"layers.{number}.{mine}.bias"] = of.bias
    ours.load_state_dict(state)


def test_a_llama_says_what_transformers_generates_from_it(folders: dict[str, Path]) -> None:
    model = made("llama", folders)
    decoder = model.decoder
    assert isinstance(decoder, PretrainedDecoder)
    values = told(model)
    x, there = model.begun(values, torch.full((6, 1), model.tokens.start))
    assert there is not None
    wish = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": model.tokens.end, "pad_token_id": model.tokens.end}
    theirs = decoder.model.generate(inputs_embeds=x, attention_mask=there.long(), **wish)
    ours = greedy(model.session(values), model.tokens.end, 8)
    assert torch.equal(ours, theirs[:, : ours.shape[1]])


@KINDS
def test_a_folder_gives_the_captions_back(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    model = made(kind, folders)
    save_captioner(model, tmp_path / "model", "# card")
    again = load_captioner(tmp_path / "model")
    assert again.generate(told(again)) == model.generate(told(model))
    assert not any(one.requires_grad for one in again.parameters())
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["format"] == "pairwright-captioner"
    if kind != "small":
        (tmp_path / "model" / "language_model" / "model.safetensors").unlink()
        with pytest.raises(ModelError):
            load_captioner(tmp_path / "model")


def test_a_folder_of_an_earlier_format_is_read_and_one_of_a_later_one_is_refused(tmp_path: Path) -> None:
    model = made("small", {})
    save_captioner(model, tmp_path, "# card")
    config = json.loads((tmp_path / "config.json").read_text())
    later = config | {"format_version": config["format_version"] + 1}
    del config["fusion"], config["tower"], config["decoder"]["kind"]
    for part in config["parts"]:
        del part["mapping"]
    (tmp_path / "config.json").write_text(json.dumps(config | {"format_version": 1}))
    assert load_captioner(tmp_path).generate(told(model)) == model.generate(told(model))
    (tmp_path / "config.json").write_text(json.dumps(later))
    with pytest.raises(ModelError, match="newer release"):
        load_captioner(tmp_path)


def test_a_required_string_and_a_forbidden_one_hold_for_words_and_for_pieces_of_words(folders: dict[str, Path]) -> None:
    for kind in ("small", "llama"):
        model = made(kind, folders)
        values, string = told(model), model.tokens.string("red bus")
        assert string is not None
        for search in SEARCHES:
            found = model.generate(values, Decoding.parse(search, "test"), [string, [], string, [], [], string])
            assert all("red bus" in text for at in (0, 2, 5) for text in found[at]), (kind, search)
        free = model.generate(values)
        words = {word for texts in free for word in texts[0].split() if len(word) > 2}
        barred = Decoding(forbidden=tuple(sorted(words)))
        said = " ".join(texts[0] for texts in model.generate(values, barred))
        assert words
        assert not any(word in said for word in words), (kind, words, said)
    assert made("small", folders).tokens.string("zeppelin") is None


def test_a_prefix_too_long_for_its_decoder_is_refused() -> None:
    with pytest.raises(ModelError, match="the decoder reads 12"):
        Captioner(PARTS, SmallDecoder(len(WORDS), 12, 32, 1, 4), WordTokens(WORDS), 8)
