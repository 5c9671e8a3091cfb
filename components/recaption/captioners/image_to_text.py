"""Captions by any `transformers` image-to-text model from a folder: BLIP, GIT, vision-encoder-decoder, LLaVA, Qwen2-VL.

    recaption: {blip:  {uses: image_to_text, with: {model: ./blip-image-captioning-base, prompt: a picture of}}}
    recaption: {dense: {uses: image_to_text, with: {model: ./llava, prompt: "Describe the picture in detail."}}}

    recaption: {face: {uses: image_to_text, with: {model: ./llava, boxes: route.face, prompt: "Describe this face."}}}

Beam search without sampling, so one picture is always one caption.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from pairwright.components.component import Caption, Captioner, Captions, Columns, Pixels
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import ModelError
from pairwright.components.recaption.experts.boxes import crop
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
    boxes: str | None = Field(
        None, description="step.column of boxes; of each picture the first one's crop is captioned"
    )
    limits: Limits = Limits()


@captioner("image_to_text")
class ImageToText(Captioner[ImageToTextSettings]):
    """Caption, with a note where the fallback stands in; None for a picture that did not decode, or lacks the box."""

    requires = Pixels(size=384) + Captions("fallback") + Columns("boxes")
    sees_failures = True  # a pair without alt-text is captioned all the same
    runs_model = True
    libraries = ("transformers",)

    @property
    def pixels(self) -> int:
        return self.settings.size

    def setup(self, device: str) -> None:
        from pairwright.components.models.image_to_text import load_image_to_text

        if self.settings.model.path is None:
            raise ModelError(f"{self.settings.model.reference} is not resolved to a folder; run it through a recipe")
        self.model = load_image_to_text(self.settings.model.path, device)

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        wish = self.settings
        views = [self._view(pairs, i) for i in range(len(pairs))]
        decoded = [(i, view) for i, view in enumerate(views) if view is not None]
        said = self.model.write(
            [image for _, image in decoded], wish.prompt, max_new_tokens=wish.max_new_tokens, num_beams=wish.num_beams
        )
        texts = {i: self._after_prompt(text) for (i, _), text in zip(decoded, said, strict=True)}
        originals = pairs.captions(wish.fallback)
        return [self._judge(texts[i], originals[i]) if i in texts else None for i in range(len(pairs))]

    def _view(self, pairs: PairBatch, i: int) -> np.ndarray | None:
        """What of the picture is captioned; None where there is nothing."""
        image = pairs.images[i]
        if image is None or self.settings.boxes is None:
            return image
        boxes = pairs.columns[self.settings.boxes][i]
        return crop(image, boxes[0]) if boxes else None

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
