"""Image-to-text models of `transformers` from a folder, each by its own class, generation and chat template.

    model = load_image_to_text(folder, "cpu")
    model.write(images, "What is in the picture?", max_new_tokens=40, num_beams=3)       # a text a picture

| kind | how a picture and a prompt reach it |
|---|---|
| BLIP, vision-encoder-decoder | the decoder attends to the picture and goes on from the prompt |
| GIT | the picture's tokens stand before the text's; it goes on from the prompt |
| LLaVA, Qwen2-VL and their kin | the template of the chat has a place for the picture, whose tokens are put there |

Pictures of different sizes may take different numbers of tokens; rows are padded at their left, where a model that goes
on at the right end does not see it. Beam search without sampling, so that one picture is always one text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pairwright.components.errors import ModelError

QUESTION = "Describe this picture in one sentence."  # what a model that answers is asked where nobody says


class ImageToTextModel:
    """A model in evaluation mode on a device, its image processor and tokenizer, and what joins them if there is such.

    Attributes:
        chats: whether it answers a question by its template; the others go on from what they are given.
    """

    def __init__(self, model: Any, joint: Any | None, image_processor: Any, tokenizer: Any, device: str) -> None:
        self.model, self.joint, self.device = model, joint, device
        self.image_processor, self.tokenizer = image_processor, tokenizer
        self.template = getattr(joint, "chat_template", None) or (joint and getattr(tokenizer, "chat_template", None))
        self.chats = bool(self.template)
        if not getattr(model.config, "is_encoder_decoder", False):
            tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token

    def write(self, images: Sequence[np.ndarray], prompt: str, *, max_new_tokens: int, num_beams: int) -> list[str]:
        """RGB uint8 (h, w, 3) of any sizes -> what is said of each; of a chat the answer, else the prompt leads it."""
        import torch

        if not len(images):
            return []
        inputs = self.inputs(images, prompt).to(self.device)
        with torch.inference_mode():
            tokens = self.model.generate(**inputs, max_new_tokens=max_new_tokens, num_beams=num_beams, do_sample=False)
        asked = inputs.get("input_ids")
        if self.chats and asked is not None and torch.equal(tokens[:, : asked.shape[1]], asked):
            tokens = tokens[:, asked.shape[1] :]
        texts: list[str] = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return texts

    def inputs(self, images: Sequence[np.ndarray], prompt: str) -> Any:
        """What the model is given, a row a picture."""
        from PIL import Image

        pictures = [Image.fromarray(image) for image in images]
        if self.chats:
            return self._placed(pictures, [self._asked(prompt or QUESTION)] * len(pictures))
        place = getattr(self.joint, "image_token", None)
        if place is not None:  # tokens for the picture, and no template that says where
            return self._placed(pictures, [f"{place}{prompt}"] * len(pictures))
        if not prompt:
            return self.image_processor(images=pictures, return_tensors="pt")
        if self.model.config.model_type != "git" and self.joint is not None:
            return self.joint(images=pictures, text=[prompt] * len(pictures), return_tensors="pt", padding=True)
        return self._begun(pictures, prompt)

    def _placed(self, pictures: list[Any], texts: list[str]) -> Any:
        assert self.joint is not None
        return self.joint(images=[[one] for one in pictures], text=texts, return_tensors="pt", padding=True)

    def _asked(self, prompt: str) -> str:
        """The conversation up to where the model answers, with a place for the picture."""
        assert self.joint is not None
        turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}
        options = {"chat_template": self.template, "add_generation_prompt": True, "tokenize": False}
        return str(self.joint.apply_chat_template([turn], **options))

    def _begun(self, pictures: list[Any], prompt: str) -> Any:
        """The beginning of a caption as tokens, without the mark that would end it."""
        import torch

        inputs = self.image_processor(images=pictures, return_tensors="pt")
        said = self.tokenizer([prompt] * len(pictures), add_special_tokens=False, return_tensors="pt").input_ids
        if self.model.config.model_type != "git":
            inputs["decoder_input_ids"] = said
            return inputs
        start = said.new_full((len(pictures), 1), self.tokenizer.cls_token_id)
        inputs["input_ids"] = torch.cat([start, said], dim=1)
        return inputs


def load_image_to_text(folder: str, device: str) -> ImageToTextModel:
    """The image-to-text model in a folder. Only safetensors weights and no code of the folder's are loaded.

    Raises:
        ModelError: the folder holds none.
    """
    import torch
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

    safe = {"local_files_only": True, "trust_remote_code": False}
    try:
        model = AutoModelForImageTextToText.from_pretrained(folder, use_safetensors=True, **safe)
        joint = _joint_processor(folder, AutoConfig.from_pretrained(folder, **safe), safe)
        if hasattr(joint, "tokenizer") and hasattr(joint, "image_processor"):
            parts = (joint, joint.image_processor, joint.tokenizer)
        else:
            images = AutoImageProcessor.from_pretrained(folder, **safe)
            parts = (None, images, AutoTokenizer.from_pretrained(folder, **safe))
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{folder} holds no image-to-text model that transformers can load: {reason}") from None
    return ImageToTextModel(model.eval().to(torch.device(device)), *parts, device)


def _joint_processor(folder: str, config: Any, safe: dict[str, bool]) -> Any:
    """What joins pictures and texts; one that takes videos, too, for pictures alone, as videos need torchvision."""
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    joins: Any = PROCESSOR_MAPPING.get(type(config), None)  # a class
    if joins is None or "video_processor" not in joins.get_attributes():
        return AutoProcessor.from_pretrained(folder, **safe)
    open_by: dict[str, Any] = {"image_processor": AutoImageProcessor, "tokenizer": AutoTokenizer}
    parts = [
        open_by[name].from_pretrained(folder, **safe) if name in open_by else None for name in joins.get_attributes()
    ]
    # The class refuses a part that is missing, and asks none for videos where it is given none.
    pictures_only: Any = type(
        joins.__name__, (joins,), {"check_argument_for_proper_class": lambda self, name, part: None}
    )
    said, _ = joins.get_processor_dict(folder, **safe)
    return pictures_only.from_args_and_dict(parts, said)
