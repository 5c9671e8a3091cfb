"""Captions by any `transformers` image-to-text model from a folder: BLIP, GIT, vision-encoder-decoder, LLaVA-like.

Beam search without sampling, so one picture is always one caption.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field

from pairwright.components.component import Caption, Captioner, Captions, Pixels
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import ModelError
from pairwright.components.recaption.validate import Limits, problem_with, tidy
from pairwright.components.registry import captioner
from pairwright.components.settings import ModelFolder, Settings


class ImageToTextSettings(Settings):
    model: ModelFolder
    prompt: str = Field("", description="text the caption begins with, or the question put to a chat model")
    max_new_tokens: int = Field(40, ge=1, le=1024, description="tokens")
    num_beams: int = Field(3, ge=1, le=32)
    fallback: str = Field("alt", description="caption source that stands in for a refused caption")
    lang: str = Field("en", description="language the model writes, BCP 47")
    size: int = Field(384, ge=16, description="pixels; shorter side the model is given, where the picture has it")
    limits: Limits = Limits()


@captioner("image_to_text")
class ImageToText(Captioner[ImageToTextSettings]):
    """Caption, with a note where the fallback stands in; None for a picture that did not decode."""

    requires = Pixels(size=384) + Captions("fallback")
    sees_failures = True  # a pair without alt-text is captioned all the same
    runs_model = True
    libraries = ("transformers",)

    @property
    def pixels(self) -> int:
        return self.settings.size

    def setup(self, device: str) -> None:
        if self.settings.model.path is None:
            raise ModelError(f"{self.settings.model.reference} is not resolved to a folder; run it through a recipe")
        self.device = device
        self.processor, self.model = load_image_to_text(self.settings.model.path, device)

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        decoded = [i for i, image in enumerate(pairs.images) if image is not None]
        texts = dict(zip(decoded, self._write([pairs.images[i] for i in decoded]), strict=True))  # type: ignore[misc]
        originals = pairs.captions(self.settings.fallback)
        return [self._judge(texts[i], originals[i]) if i in texts else None for i in range(len(pairs))]

    def _write(self, images: list[np.ndarray]) -> list[str]:
        """RGB uint8 (h, w, 3) -> captions as the model wrote them."""
        import torch
        from PIL import Image

        if not images:
            return []
        inputs = self._inputs([Image.fromarray(image) for image in images]).to(self.device)
        with torch.inference_mode():
            tokens = self.model.generate(
                **inputs,
                max_new_tokens=self.settings.max_new_tokens,
                num_beams=self.settings.num_beams,
                do_sample=False,
            )
        texts = self.processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [self._after_prompt(text) for text in texts]

    def _inputs(self, images: list[Any]) -> Any:
        if not self.settings.prompt:
            return self.processor.pictures(images)
        return self.processor.both(images, [self.settings.prompt] * len(images))

    def _after_prompt(self, text: str) -> str:
        """Models that go on from the prompt give it back; it is kept only as the caption's beginning."""
        body = " ".join(text.split())
        prompt = " ".join(self.settings.prompt.split())
        if prompt.endswith(("?", ":")) and body.casefold().startswith(prompt.casefold()):
            return body[len(prompt) :].strip()
        return body

    def _judge(self, text: str, original: str | None) -> Caption | None:
        caption = tidy(text)
        # The language is the model's own, so any script it was trained to write is right.
        reason = problem_with(caption, instruction=self.settings.prompt, allowed=[caption], limits=self.settings.limits)
        if reason is None:
            return Caption(caption, lang=self.settings.lang)
        return Caption(original, note=reason) if original else None


class _Processor:
    """The image processor and the tokenizer of a folder, whether or not it has a joint processor."""

    def __init__(self, joint: Any | None, image_processor: Any, tokenizer: Any) -> None:
        self.joint, self.image_processor, self.tokenizer = joint, image_processor, tokenizer

    def pictures(self, images: list[Any]) -> Any:
        return self.image_processor(images=images, return_tensors="pt")

    def both(self, images: list[Any], prompts: list[str]) -> Any:
        if self.joint is not None:
            return self.joint(images=images, text=prompts, return_tensors="pt", padding=True)
        inputs = self.pictures(images)
        ids = self.tokenizer(prompts, add_special_tokens=False, return_tensors="pt").input_ids
        inputs["decoder_input_ids"] = ids
        return inputs


def load_image_to_text(folder: str, device: str) -> tuple[_Processor, Any]:
    """(processor, model in eval mode on `device`); safetensors only, no code of the folder's.

    Raises:
        ModelError: the folder holds no image-to-text model.
    """
    import torch
    from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

    safe = {"local_files_only": True, "trust_remote_code": False}
    try:
        model = AutoModelForImageTextToText.from_pretrained(folder, use_safetensors=True, **safe)
        joint = AutoProcessor.from_pretrained(folder, **safe)
        if hasattr(joint, "tokenizer") and hasattr(joint, "image_processor"):
            processor = _Processor(joint, joint.image_processor, joint.tokenizer)
        else:
            images = AutoImageProcessor.from_pretrained(folder, **safe)
            processor = _Processor(None, images, AutoTokenizer.from_pretrained(folder, **safe))
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{folder} holds no image-to-text model that transformers can load: {reason}") from None
    return processor, model.eval().to(torch.device(device))
