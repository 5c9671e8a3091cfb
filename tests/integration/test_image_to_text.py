"""The image-to-text captioner over real transformers classes with random weights, made on the spot."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from vision_language import KINDS, WORDS

from pairwright.components.component import Caption
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import ModelError
from pairwright.components.models.image_to_text import QUESTION, ImageToTextModel
from pairwright.components.recaption.captioners.image_to_text import ImageToText, ImageToTextSettings

CHATS = ("llava", "qwen2_vl")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: make(tmp_path_factory.mktemp(kind)) for kind, make in KINDS.items()}


def captioner(folder: Path, **values: object) -> ImageToText:
    reference = {"reference": str(folder), "path": str(folder), "weights": "w"}
    settings = {"model": reference, "max_new_tokens": 8, "num_beams": 2, "size": 32} | values
    component = ImageToText(ImageToTextSettings.parse(settings, "captions"))
    component.setup("cpu")
    return component


def pictures(*images: np.ndarray | None) -> PairBatch:
    n = len(images)
    sidecar = [{"captions": [{"source": "alt", "text": f"alt {i}", "lang": "en", "ordinal": 0}]} for i in range(n)]
    return PairBatch(np.arange(n, dtype=np.int32), [str(i) for i in range(n)], sidecar, images=list(images))


def noise(seed: int, height: int = 48, width: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_every_decoded_picture_gets_one_caption_whatever_stands_beside_it(kind: str, folders: dict[str, Path]) -> None:
    component = captioner(folders[kind], limits={"most_repeated": 8})
    images = [noise(1), None, noise(2, 16, 64), np.full((40, 40, 3), 255, np.uint8)]
    together = list(component.caption(pictures(*images)))
    assert together[1] is None
    for position in (0, 2, 3):
        alone = component.caption(pictures(images[position]))[0]
        assert alone is not None
        assert together[position] is not None
        assert together[position].note == alone.note
        assert together[position].text == (alone.text if alone.note is None else f"alt {position}")


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"encoder_decoder"}))  # whose weights are too small to tell
def test_what_is_said_depends_on_the_picture(kind: str, folders: dict[str, Path]) -> None:
    model = captioner(folders[kind]).model
    said = model.write([noise(i) for i in range(12)], "", max_new_tokens=8, num_beams=1)
    assert len(set(said)) > 1, said


def test_a_caption_is_made_of_the_models_words_or_is_the_original_with_a_reason(folders: dict[str, Path]) -> None:
    captions = captioner(folders["blip"], limits={"most_repeated": 8}).caption(pictures(*[noise(i) for i in range(6)]))
    assert any(caption.note is None for caption in captions), captions
    for position, caption in enumerate(captions):
        if caption.note is None:
            assert set(caption.text.split()) <= set(WORDS.split())
        else:
            assert caption == Caption(f"alt {position}", note=caption.note)


@pytest.mark.parametrize(("kind", "prompt"), [("blip", "a red"), ("git", "two")])
def test_a_prompt_begins_the_caption(kind: str, prompt: str, folders: dict[str, Path]) -> None:
    limits = {"most_repeated": 8, "longest_echo": 20}
    component = captioner(folders[kind], prompt=prompt, max_new_tokens=3, num_beams=1, limits=limits)
    captions = component.caption(pictures(*[noise(i) for i in range(8)]))
    assert all(caption.text.startswith(prompt) for caption in captions if caption.note is None)
    assert any(caption.note is None and len(caption.text) > len(prompt) for caption in captions), captions


# Models that answer: where the picture stands, and what is padded


def embedded(model: ImageToTextModel, inputs: Any) -> torch.Tensor:
    """What the language model of a chat model is given for these inputs, (n, t, width)."""
    seen: list[torch.Tensor] = []
    inner = model.model.model.language_model
    hook = inner.register_forward_pre_hook(lambda _, args, named: seen.append(named["inputs_embeds"]), with_kwargs=True)
    with torch.inference_mode():
        model.model(**inputs)
    hook.remove()
    return seen[0]


def pictured(model: ImageToTextModel, inputs: Any) -> torch.Tensor:
    """The pictures' own vectors, one after the other (tokens, width)."""
    named = {name: inputs[name] for name in ("pixel_values", "image_grid_thw") if name in inputs}
    with torch.inference_mode():
        found = model.model.model.get_image_features(**named)
    found = getattr(found, "pooler_output", found)
    return torch.cat([one.reshape(-1, one.shape[-1]) for one in found])


@pytest.mark.parametrize("kind", CHATS)
def test_the_pictures_vectors_stand_where_the_template_has_a_place_for_them(
    kind: str, folders: dict[str, Path]
) -> None:
    model = captioner(folders[kind]).model
    inputs = model.inputs([noise(1, 48, 48), noise(2, 16, 48)], "what is here ?")
    there = inputs["input_ids"] == model.model.config.image_token_id
    vectors = pictured(model, inputs)
    assert int(there.sum()) == len(vectors)
    assert torch.allclose(embedded(model, inputs)[there], vectors, atol=1e-6)
    for row, image in zip(inputs["input_ids"], there, strict=True):
        said = model.tokenizer.decode(row[~image], skip_special_tokens=True)
        assert said == "USER : what is here ? ASSISTANT :"
        at = image.nonzero().flatten()
        assert torch.equal(at, torch.arange(int(at[0]), int(at[-1]) + 1))  # in one run, before the question
        assert model.tokenizer.decode(row[: int(at[0])], skip_special_tokens=True) == "USER :"


def test_a_picture_of_another_size_takes_other_many_tokens_and_shorter_rows_are_padded_at_their_left(
    folders: dict[str, Path],
) -> None:
    model = captioner(folders["qwen2_vl"]).model
    inputs = model.inputs([noise(1, 48, 48), noise(2, 16, 48)], "what is here ?")
    counts = (inputs["input_ids"] == model.model.config.image_token_id).sum(1).tolist()
    assert counts == [9, 3]  # 48 x 48 and 16 x 48 pixels in patches of 8, four of them a token
    mask = inputs["attention_mask"]
    assert mask.sum(1).tolist() == [mask.shape[1], mask.shape[1] - 6]
    assert mask[1].tolist() == [0] * 6 + [1] * (mask.shape[1] - 6)


@pytest.mark.parametrize("kind", CHATS)
def test_the_answer_is_that_of_the_models_own_greedy_steps_and_holds_nothing_of_the_question(
    kind: str, folders: dict[str, Path]
) -> None:
    model = captioner(folders[kind]).model
    images = [noise(3, 48, 48), noise(4, 16, 48)]
    together = model.write(images, "what is here ?", max_new_tokens=5, num_beams=1)
    for image, answer in zip(images, together, strict=True):
        inputs = dict(model.inputs([image], "what is here ?"))
        for _ in range(5):  # without a cache, without padding
            with torch.inference_mode():
                best = model.model(**inputs).logits[:, -1].argmax(-1)
            inputs["input_ids"] = torch.cat([inputs["input_ids"], best[:, None]], dim=1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
            if "mm_token_type_ids" in inputs:
                inputs["mm_token_type_ids"] = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, 1))
        said = inputs["input_ids"][0, -5:]
        ends = (said == model.tokenizer.eos_token_id).nonzero()
        said = said[: int(ends[0])] if len(ends) else said
        assert answer == model.tokenizer.decode(said, skip_special_tokens=True)


@pytest.mark.parametrize("kind", CHATS)
def test_a_model_that_answers_is_asked_even_where_nobody_says_what(kind: str, folders: dict[str, Path]) -> None:
    model = captioner(folders[kind]).model
    asked = [
        model.tokenizer.decode(model.inputs([noise(1)], text)["input_ids"][0]) for text in ("", QUESTION, "what ?")
    ]
    assert asked[0] == asked[1] != asked[2]
    assert "Describe this picture" in asked[0]


def test_nothing_of_it_needs_torchvision(folders: dict[str, Path]) -> None:
    assert all(captioner(folders[kind]).caption(pictures(noise(1)))[0] for kind in KINDS)
    assert "torchvision" not in sys.modules


def test_a_folder_without_a_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no image-to-text model"):
        captioner(tmp_path)


@pytest.mark.parametrize("kind", ["blip", "llava"])
def test_of_a_picture_with_a_box_the_crop_is_captioned_and_without_one_nothing(
    kind: str, folders: dict[str, Path]
) -> None:
    component = captioner(folders[kind], boxes="route.face", limits={"most_repeated": 8})
    image = noise(5, 64, 64)
    pairs = pictures(image, image, image)
    pairs.columns["route.face"] = [[[0.25, 0.5, 0.75, 1.0]], [], None]
    found = component.caption(pairs)
    whole = captioner(folders[kind], limits={"most_repeated": 8}).caption(pictures(image[32:64, 16:48]))[0]
    assert found[0] is not None
    assert whole is not None
    assert (found[0].text, found[0].note) == (whole.text, whole.note)
    assert found[1:] == [None, None]
