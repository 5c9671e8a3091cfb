"""The image-to-text captioner over real transformers classes with random weights, made on the spot."""

from pathlib import Path

import numpy as np
import pytest

from pairwright.components.component import Caption
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import ModelError
from pairwright.components.recaption.captioners.image_to_text import ImageToText, ImageToTextSettings

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] [DEC] [ENC] a the red blue dog cat boat house tree on in of . two old"


def tokenizer() -> object:
    from transformers import BertTokenizer

    vocabulary = {word: number for number, word in enumerate(WORDS.split(" "))}
    return BertTokenizer(vocab=vocabulary, additional_special_tokens=["[DEC]", "[ENC]"])


@pytest.fixture(scope="module")
def blip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

    folder = tmp_path_factory.mktemp("blip")
    torch.manual_seed(3)
    width = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    special = {"bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    text = width | special | {"vocab_size": 22, "encoder_hidden_size": 16, "max_position_embeddings": 64}
    config = BlipConfig(
        text_config=text | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 1.0},
        vision_config=width | {"image_size": 32, "patch_size": 8, "initializer_range": 1.0},
        projection_dim=16,
    )
    BlipForConditionalGeneration(config).save_pretrained(folder)
    BlipProcessor(BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder_decoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import (
        BertConfig,
        VisionEncoderDecoderConfig,
        VisionEncoderDecoderModel,
        ViTConfig,
        ViTImageProcessor,
    )

    folder = tmp_path_factory.mktemp("ved")
    torch.manual_seed(4)
    width = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    decoder = BertConfig(vocab_size=22, is_decoder=True, add_cross_attention=True, **width)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ViTConfig(image_size=32, patch_size=8, **width), decoder
    )
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 2, 0, 3
    model = VisionEncoderDecoderModel(config=config)
    model.generation_config.decoder_start_token_id = 2
    model.generation_config.pad_token_id = 0
    model.generation_config.eos_token_id = 3
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


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


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (48, 40, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["blip_folder", "encoder_decoder_folder"])
def test_every_decoded_picture_gets_one_caption_whatever_stands_beside_it(kind: str, request) -> None:
    component = captioner(request.getfixturevalue(kind))
    images = [noise(1), None, noise(2), np.full((40, 40, 3), 255, np.uint8)]
    together = list(component.caption(pictures(*images)))
    assert together[1] is None
    for position in (0, 2, 3):
        alone = component.caption(pictures(images[position]))[0]
        assert alone is not None
        assert together[position] is not None
        assert together[position].note == alone.note
        assert together[position].text == (alone.text if alone.note is None else f"alt {position}")


def test_a_caption_is_made_of_the_models_words_or_is_the_original_with_a_reason(blip_folder: Path) -> None:
    captions = captioner(blip_folder, limits={"most_repeated": 8}).caption(pictures(*[noise(i) for i in range(6)]))
    assert any(caption.note is None for caption in captions), captions
    for position, caption in enumerate(captions):
        if caption.note is None:
            assert set(caption.text.split()) <= set(WORDS.split())
        else:
            assert caption == Caption(f"alt {position}", note=caption.note)


def test_a_prompt_begins_the_caption(blip_folder: Path) -> None:
    component = captioner(
        blip_folder, prompt="a red", max_new_tokens=3, limits={"most_repeated": 8, "longest_echo": 20}
    )
    captions = component.caption(pictures(noise(1), noise(5)))
    assert all(caption.text.startswith("a red") for caption in captions if caption.note is None)
    assert any(caption.note is None for caption in captions), captions


def test_a_folder_without_a_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no image-to-text model"):
        captioner(tmp_path)
