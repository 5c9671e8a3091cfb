"""SITTA: a planted map is found without a gradient, its words are the nearest, and the best of many texts is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from language_models import tiny_language_model
from populations import view_of
from small_encoders import ours
from torch import Tensor
from vectors import unit, vector_column

from pairwright.components.component import FitInputs
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import ModelError
from pairwright.components.models.captioner.folder import save_captioner
from pairwright.components.models.decoding.settings import Decoding
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.token_map.language import open_language
from pairwright.components.models.token_map.token_map import (
    Scale,
    TokenMap,
    least_squares,
    load_token_map,
    procrustes,
)
from pairwright.components.pretrain.captioners.captioner import CaptionerSettings, CaptionerTask
from pairwright.components.pretrain.text_only.token_map import FitTokenMap, TokenMapSettings
from pairwright.components.recaption.captioners.sitta import Sitta, SittaSettings, orders_of
from pairwright.components.training.here import fit_here

SEEDS = (0, 1, 2)


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sizes", [(12, 20), (20, 20), (20, 12)])
def test_a_planted_turn_is_found_by_procrustes_and_any_planted_map_by_least_squares(
    seed: int, sizes: tuple[int, int]
) -> None:
    d, width = sizes
    x = drawn(300, d, seed=seed)
    turn = torch.linalg.svd(drawn(width, d, seed=seed + 50), full_matrices=False)
    planted = turn.U @ turn.Vh
    found = procrustes(x, x @ planted.T)
    square, size = (found.T @ found, d) if width >= d else (found @ found.T, width)
    assert (square - torch.eye(size)).abs().max() < 1e-5
    if width >= d:  # else what is turned away from cannot be told
        assert (found - planted).abs().max() < 1e-3
    free = drawn(width, d, seed=seed + 90)
    assert (least_squares(x, x @ free.T) - free).abs().max() < 1e-3
    assert least_squares(x, x @ free.T, ridge=10.0).norm() < 0.5 * free.norm()


def test_procrustes_turns_and_does_not_stretch() -> None:
    x, planted = drawn(300, 8, seed=1), torch.linalg.qr(drawn(8, 8, seed=2)).Q
    stretched = x @ planted.T * torch.linspace(0.5, 2, 8)
    square = procrustes(x, stretched)
    assert (square.T @ square - torch.eye(8)).abs().max() < 1e-5
    free = least_squares(x, stretched)
    assert (free.T @ free - torch.eye(8)).abs().max() > 0.5


@pytest.mark.parametrize("seed", SEEDS)
def test_through_the_planted_map_a_picture_finds_its_own_token(seed: int) -> None:
    d, width, words = 16, 32, 200
    meant = torch.from_numpy(unit(np.random.default_rng(seed).normal(size=(words, d))))
    planted = torch.linalg.svd(drawn(width, d, seed=seed + 5), full_matrices=False)
    vectors = 3 * meant @ (planted.U @ planted.Vh).T + drawn(1, width, seed=seed + 6)  # at another scale, about a mean
    words_of, pictures_of = Scale.of(vectors), Scale.of(meant)
    weight = procrustes(pictures_of(meant), words_of(vectors))
    pictures = meant + 0.02 * drawn(words, d, seed=seed + 7)
    made = TokenMap(weight, Scale.of(pictures), words_of)
    found = made.nearest(pictures, vectors, torch.arange(words), 8)
    assert found.shape == (words, 8)
    assert (found[:, 0] == torch.arange(words)).float().mean() >= 0.95
    order = torch.randperm(width, generator=torch.Generator().manual_seed(1))
    shuffled = TokenMap(weight[order], made.pictures, words_of)
    wrong = shuffled.nearest(pictures, vectors, torch.arange(words), 1)[:, 0]
    assert (wrong == torch.arange(words)).float().mean() < 0.2


# -- a language model of transformers, whose tokens are planted in an encoder's space --------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`space`, a dual encoder; `lm`, a language model whose words lie where the space has them, turned and shifted."""
    from transformers import AutoModelForCausalLM

    root = tmp_path_factory.mktemp("sitta")
    encoder = ours(dim=4)
    encoder.save(root / "space")
    tiny_language_model(root / "lm")
    language = open_language(root / "lm")
    words = language.words(100)
    model = AutoModelForCausalLM.from_pretrained(root / "lm")
    turn = torch.linalg.svd(drawn(32, 4, seed=3), full_matrices=False)
    where = 5 * encoder.encode_text(list(words)) @ (turn.U @ turn.Vh).T + 0.3
    with torch.no_grad():
        model.get_input_embeddings().weight[torch.tensor(list(words.values()))] = where
    model.save_pretrained(root / "lm")
    return root


def words_of(place: Path) -> dict[str, int]:
    return open_language(place / "lm").words(100)


def fitted(place: Path, tmp_path: Path, **changes: Any) -> tuple[Path, dict[str, float]]:
    """A map fitted where pictures are the words' own vectors."""
    words = list(words_of(place))
    vectors = ours(dim=4).encode_text(words).numpy()
    view = view_of(
        tmp_path / "data",
        {"pictures.vector": vector_column(vectors, kind=pa.float32())},
        captions={str(at): f"The {word}" for at, word in enumerate(words)},
    )
    said = {
        "encoder": resolve_model(str(place / "space")),
        "language_model": resolve_model(str(place / "lm")),
        **changes,
    }
    step = FitTokenMap(TokenMapSettings.parse(said, "test"))
    return tmp_path / "map", dict(step.fit(FitInputs(view), tmp_path / "map"))


@pytest.mark.parametrize("method", ["procrustes", "least_squares"])
def test_the_fit_finds_where_the_language_models_own_words_lie(place: Path, tmp_path: Path, method: str) -> None:
    folder, found = fitted(place, tmp_path, method=method)
    assert found["token_r1"] >= 0.95
    assert found["anchors"] == len(words_of(place)) >= 10
    assert found["not_turning"] < 1e-5 or method == "least_squares"
    made = load_token_map(folder)
    pictures = ours(dim=4).encode_text(list(words_of(place)))
    own = torch.tensor(list(words_of(place).values()))
    assert (made.nearest(pictures, open_language(place / "lm").vectors(), own, 1)[:, 0] == own).float().mean() >= 0.95


def test_pairs_are_anchors_by_the_words_of_their_captions(place: Path, tmp_path: Path) -> None:
    words = words_of(place)
    _, found = fitted(place, tmp_path, anchors="pairs", method="least_squares")
    the = "the" in words
    assert found["anchors"] == len(words) * (1 + the)  # "The dog" has two of them


def test_no_tensor_asks_for_a_gradient_and_no_weight_changes(place: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in place.rglob("*.safetensors")}
    folder, _ = fitted(place, tmp_path)
    step = sitta(place, folder)
    step.caption(batch(place))
    tensors = [*step.encoder.parameters(), *step.language.decoder.parameters(), step.map.weight, step.vectors]
    assert not any(one.requires_grad for one in tensors)
    assert all(path.read_bytes() == held for path, held in before.items())


def sitta(place: Path, folder: Path, language: Path | None = None, **changes: Any) -> Sitta:
    said = {
        "map": resolve_model(str(folder)),
        "encoder": resolve_model(str(place / "space")),
        "language_model": resolve_model(str(language or place / "lm")),
        "k": 3,
        "prompts": 5,
        "decoding": {"most": 4, "least": 1},
        **changes,
    }
    step = Sitta(SittaSettings.parse(said, "test"))
    step.setup("cpu")
    return step


def batch(place: Path, count: int = 6) -> PairBatch:
    vectors = ours(dim=4).encode_text(list(words_of(place))[:count]).numpy()
    keys = [str(i) for i in range(count)]
    return PairBatch(np.arange(count), keys, [{} for _ in keys], columns={"pictures.vector": list(vectors)})


def test_the_text_that_is_kept_is_the_one_the_encoder_finds_nearest_of_all_orders(place: Path, tmp_path: Path) -> None:
    step, pairs = sitta(place, fitted(place, tmp_path)[0]), batch(place)
    asked: list[list[list[int]]] = []
    texts: list[str] = []
    going_on = step.language.continued

    def noted(prompts: Any, *rest: Any) -> list[str]:
        asked.append(prompts)
        texts.extend(going_on(prompts, *rest))
        return texts

    step.language.continued = noted  # type: ignore[method-assign]  # looked at, not replaced
    said = step.caption(pairs)
    own = list(words_of(place).values())
    for row, caption in enumerate(said):
        prompts = asked[0][row * 5 : (row + 1) * 5]
        assert prompts[0][0] == own[row]  # its own word is nearest
        assert {tuple(sorted(one)) for one in prompts} == {tuple(sorted(prompts[0]))}
        mine = [text for text in texts[row * 5 : (row + 1) * 5] if text]
        cosines = ours(dim=4).encode_text(mine) @ torch.from_numpy(pairs.columns["pictures.vector"][row])
        assert caption is not None
        assert caption.text == mine[int(cosines.argmax())]
    assert [one and one.text for one in sitta(place, tmp_path / "map").caption(pairs)] == [
        one and one.text for one in said
    ]


def test_orders_are_the_tokens_as_found_and_shuffles_of_them() -> None:
    found = orders_of([5, 6, 7, 8, 9, 10, 11, 12], 40, seed=3)
    assert found[0] == [5, 6, 7, 8, 9, 10, 11, 12]
    assert all(sorted(one) == found[0] for one in found)
    assert len({tuple(one) for one in found}) > 30
    assert found == orders_of([5, 6, 7, 8, 9, 10, 11, 12], 40, seed=3) != orders_of(found[0], 40, seed=4)


def test_the_prompt_follows_the_words_and_a_text_ends_with_its_sentence(place: Path) -> None:
    language = open_language(place / "lm", prompt="a picture of")
    tokens = language.tokens
    expected = [tokens.start, 7, 8, *tokens.encode(["a picture of"], 24)[0, 1:-1].tolist()]
    model = language.decoder.model  # type: ignore[attr-defined]
    told = torch.tensor([expected])
    way = {"attention_mask": torch.ones_like(told), "do_sample": False, "pad_token_id": tokens.end}
    by_transformers = model.generate(told, max_new_tokens=4, **way)
    said = language.continued([[7, 8]], Decoding(most=4, twice_running=True))
    whole = by_transformers[0, told.shape[1] :].tolist()
    assert not set(whole) & set(tokens.never)
    assert said == [tokens.decode(language._sentence(whole))]  # type: ignore[attr-defined]
    assert language._sentence([7, 8, 9]) == [7, 8, 9]  # type: ignore[attr-defined]
    stop = next(iter(language.stops))  # type: ignore[attr-defined]
    assert language._sentence([7, stop, 9]) == [7]  # type: ignore[attr-defined]


def test_another_language_model_than_the_maps_is_refused(place: Path, tmp_path: Path) -> None:
    folder, _ = fitted(place, tmp_path)
    other = tiny_language_model(tmp_path / "other")
    with pytest.raises(ModelError, match="not the language model that the map was fitted for"):
        sitta(place, folder, other)
    with pytest.raises(ModelError, match="no model folder"):
        open_language(tmp_path / "nowhere")


# -- a language model of ours: words -> caption, no picture in sight ------------------------------

THINGS, PLACES = ("dog", "bus", "tree", "cup"), ("sea", "road", "field", "house")


@pytest.mark.slow
def test_words_near_a_picture_become_a_caption_by_a_model_of_words_alone(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pairs = [(random.choice(THINGS), random.choice(PLACES)) for _ in range(256)]
    words = [" ".join(random.permutation(pair)) for pair in pairs]
    captions = [f"a {thing} by the {place}" for thing, place in pairs]
    blank = np.zeros((256, 4), np.float32)
    population = ArrayPopulation({"x.vector": blank}, {"alt": captions, "keywords": words})
    said = {
        "features": "x.vector", "prompt": "keywords", "prompt_tokens": 2, "image_dropout": 0.999,
        "width": 32, "heads": 2, "layers": 1, "max_words": 6, "least": 1, "steps": 150, "batch_size": 64, "lr": 5e-3,
    }  # fmt: skip
    model = fit_here(CaptionerTask(CaptionerSettings.parse(said, "test")), population).task.model
    save_captioner(model, tmp_path / "lm", "# card")
    language = open_language(tmp_path / "lm")
    known = language.words(100)
    assert set(THINGS + PLACES) <= set(known)
    prompts = [[known[word] for word in text.split()] for text in words[:40]]
    found = language.continued(prompts, Decoding())
    assert np.mean([one == caption for one, caption in zip(found, captions, strict=False)]) > 0.9
    meant = torch.from_numpy(unit(np.random.default_rng(1).normal(size=(len(known), 8))))
    vectors, tokens = language.vectors(), torch.tensor(list(known.values()))
    scale = Scale.of(vectors[tokens])
    weight = least_squares(Scale.of(meant)(meant), scale(vectors[tokens]))
    where = {word: meant[at] for at, word in enumerate(known)}
    pictures = torch.stack([where[thing] + where[place] for thing, place in pairs[:40]])
    made = TokenMap(weight, Scale.of(meant), scale)
    nearest = made.nearest(pictures, vectors, tokens, 2).tolist()
    read = language.continued(nearest, Decoding())
    assert np.mean([one == caption for one, caption in zip(read, captions, strict=False)]) > 0.6  # 1 in 16 at random
    with pytest.raises(ModelError, match="the model reads 2"):
        language.continued([[5, 6, 7]], Decoding())
