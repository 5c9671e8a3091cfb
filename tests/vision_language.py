"""Tiny image-to-text models of `transformers`' real classes with random weights and real processors, as folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SIDE = 32  # pixels
WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] [DEC] [ENC] a the red blue dog cat boat house tree on in of . two old"
TINY: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION = TINY | {"image_size": SIDE, "patch_size": 8}
SQUARE = {"height": SIDE, "width": SIDE}
CHAT = (
    "{% for turn in messages %}USER: {% for part in turn['content'] %}{% if part['type'] == 'image' %}IMAGE "
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %} {% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
LLAVA_PLACE, QWEN_PLACE = "<image>", "<|vision_start|><|image_pad|><|vision_end|>"


def bert_words() -> Any:
    """A BERT tokenizer of WORDS."""
    from transformers import BertTokenizer

    vocabulary = {word: number for number, word in enumerate(WORDS.split(" "))}
    return BertTokenizer(vocab=vocabulary, additional_special_tokens=["[DEC]", "[ENC]"])


def chat_words(*special: str) -> Any:
    """A tokenizer of whole words with these special tokens, as a language model has one."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    plain = ["<pad>", "<unk>", "<s>", "</s>", *special, "USER", "ASSISTANT", ":", "?", *WORDS.split(" ")[7:]]
    plain += ["what", "is", "here", "Describe", "this", "picture", "one", "sentence"]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(plain))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=list(special),
    )


def blip(folder: Path) -> Path:
    import torch
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

    torch.manual_seed(3)
    special = {"bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    text = TINY | special | {"vocab_size": 22, "encoder_hidden_size": 16, "max_position_embeddings": 64}
    config = BlipConfig(
        text_config=text | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 1.0},
        vision_config=VISION | {"initializer_range": 1.0},
        projection_dim=16,
    )
    BlipForConditionalGeneration(config).save_pretrained(folder)
    BlipProcessor(BlipImageProcessor(size=SQUARE), bert_words()).save_pretrained(folder)
    return folder


def encoder_decoder(folder: Path) -> Path:
    import torch
    from transformers import (
        BertConfig,
        VisionEncoderDecoderConfig,
        VisionEncoderDecoderModel,
        ViTConfig,
        ViTImageProcessor,
    )

    torch.manual_seed(4)
    decoder = BertConfig(vocab_size=22, is_decoder=True, add_cross_attention=True, **TINY)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(**VISION), decoder)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 2, 0, 3
    model = VisionEncoderDecoderModel(config=config)
    model.generation_config.decoder_start_token_id = 2
    model.generation_config.pad_token_id = 0
    model.generation_config.eos_token_id = 3
    model.save_pretrained(folder)
    ViTImageProcessor(size=SQUARE).save_pretrained(folder)
    bert_words().save_pretrained(folder)
    return folder


def git(folder: Path) -> Path:
    import torch
    from transformers import CLIPImageProcessor, GitConfig, GitForCausalLM, GitProcessor

    torch.manual_seed(5)
    special = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    config = GitConfig(
        vision_config=VISION | {"initializer_range": 1.0},
        vocab_size=22,
        max_position_embeddings=64,
        initializer_range=1.0,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **TINY,
        **special,
    )
    GitForCausalLM(config).save_pretrained(folder)
    pictures = CLIPImageProcessor(size=SQUARE, crop_size=SQUARE)
    GitProcessor(pictures, bert_words()).save_pretrained(folder)
    return folder


def llava(folder: Path) -> Path:
    import torch
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    torch.manual_seed(6)
    tokenizer = chat_words("<image>")
    special = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    text = LlamaConfig(vocab_size=len(tokenizer), initializer_range=0.6, max_position_embeddings=128, **TINY, **special)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION | {"num_hidden_layers": 2}, initializer_range=0.6),
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_select_strategy="default",
        vision_feature_layer=-2,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    LlavaProcessor(
        CLIPImageProcessor(size=SQUARE, crop_size=SQUARE),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT.replace("IMAGE", LLAVA_PLACE),
    ).save_pretrained(folder)
    return folder


def qwen2_vl(folder: Path) -> Path:
    """Its processor's class takes videos, too, which needs torchvision: what is saved is each of its parts."""
    import torch
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLImageProcessor

    torch.manual_seed(7)
    marks = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    tokenizer = chat_words(*marks)
    ids = dict(zip(marks, tokenizer.convert_tokens_to_ids(list(marks)), strict=True))
    text = {"vocab_size": len(tokenizer), "num_key_value_heads": 2, "initializer_range": 0.6, "rope_theta": 10000.0}
    text |= {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0, "max_position_embeddings": 256}
    config = Qwen2VLConfig(
        text_config=TINY | text | {"rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]}},
        vision_config={"depth": 1, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "patch_size": 8, "mlp_ratio": 2},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    Qwen2VLForConditionalGeneration(config).save_pretrained(folder)
    Qwen2VLImageProcessor(patch_size=8, min_pixels=16 * 16, max_pixels=48 * 48).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(CHAT.replace("IMAGE", QWEN_PLACE))
    return folder


KINDS = {"blip": blip, "encoder_decoder": encoder_decoder, "git": git, "llava": llava, "qwen2_vl": qwen2_vl}
