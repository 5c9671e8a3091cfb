"""Region attributes: materials, states, patterns: which of some words fits each box's thing best, by a dual encoder.

    recaption:
      seen: {uses: detector, with: {model: ./detr-resnet-50}}
      like:
        uses: region_attributes
        with:
          boxes: seen.boxes
          labels: seen.labels
          model: ./clip-vit-base-patch32
          groups: {material: [wooden, metal, woollen, glass], state: [open, closed]}

FuseCap (Rotstein et al., 2024) has an extractor of attributes trained on Visual Genome; any dual encoder that knows the
words does here, and they are yours to name. What is in a box, with some ground around it, is compared with
"a photo of a wooden chair" for every word of a group; the likeliest is said where it is likely enough, so a thing
has one attribute of each group or none. Colours are told more surely from pixels: `region_colours`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from pairwright.components.component import Columns, Pixels, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.models.resolve import TOWER_LIBRARIES, image_side
from pairwright.components.recaption.experts.boxes import crop
from pairwright.components.registry import scorer
from pairwright.components.settings import ModelFolder, Settings

AT_ONCE = 64  # boxes the tower sees in one go
THING = "thing"  # what a box is called whose label is not known


class RegionAttributesSettings(Settings):
    boxes: str = Field(description="step.column of boxes x0, y0, x1, y1 as shares of the picture")
    labels: str | None = Field(None, description="step.column of their labels, which the prompts name")
    model: ModelFolder = Field(description="dual encoder that is asked")
    groups: dict[str, tuple[str, ...]] = Field(
        min_length=1, description="name -> words of which at most one is said of a thing: {state: [open, closed]}"
    )
    template: str = Field("a photo of a {attribute} {label}", description="how the encoder is asked")
    margin: float = Field(0.1, ge=0, le=1, description="ground left around a box, as a share of its sides")
    size: int = Field(448, ge=32, description="pixels; shorter side of the picture that boxes are cut from")
    min_probability: float = Field(0.6, gt=0, le=1, description="of a group's likeliest word, for it to be said")

    @field_validator("groups")
    @classmethod
    def _of_words_to_choose_from(cls, groups: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name, words in groups.items():
            if len(words) < 2 or len(set(words)) < len(words) or not all(word.strip() for word in words):
                raise ValueError(f"group {name} needs two different words at least, none empty or twice")
        return groups

    @field_validator("template")
    @classmethod
    def _that_says_the_attribute(cls, template: str) -> str:
        try:
            said = template.format(attribute="\0", label="")
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f'"{template}" has a field that is neither {{attribute}} nor {{label}}') from error
        if "\0" not in said:
            raise ValueError(f'"{template}" does not say {{attribute}}')
        return template


@scorer("region_attributes")
class RegionAttributes(Scorer[RegionAttributesSettings]):
    """Columns, a list a picture and in it a list a box, its words in the order of `groups`.

    Columns:
        names: the words that are said.
        probabilities: of each, among its group's words, at the model's own temperature.
    """

    columns: Mapping[str, pa.DataType] = {  # type: ignore[misc]
        "names": pa.list_(pa.list_(pa.string())),
        "probabilities": pa.list_(pa.list_(pa.float32())),
    }
    requires = Pixels(size=448) + Columns("boxes", "labels")
    libraries = TOWER_LIBRARIES
    runs_model = True

    @property
    def pixels(self) -> int:
        return max(self.settings.size, image_side(self.settings.model))

    def setup(self, device: str) -> None:
        from pairwright.components.models.dual_encoders.dual_encoder import load_dual_encoder

        self.model = load_dual_encoder(self.settings.model, device)
        self._asked: dict[str, list[Any]] = {}  # label -> (words, d) of each group

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        settings = self.settings
        boxes = pairs.columns[settings.boxes]
        labels = [None] * len(pairs) if settings.labels is None else pairs.columns[settings.labels]
        crops: list[np.ndarray] = []
        called: list[str] = []
        for image, some, names in zip(pairs.images, boxes, labels, strict=True):
            assert image is not None, "region_attributes sees only decoded pictures"
            crops += [crop(image, box, settings.margin) for box in some or ()]
            called += [name or THING for name in (names if names is not None else [None] * len(some or ()))]
        said = iter(self._said(crops, called))
        rows = [[next(said) for _ in some or ()] for some in boxes]
        return {
            "names": [[[word for word, _ in one] for one in row] for row in rows],
            "probabilities": [[[chance for _, chance in one] for one in row] for row in rows],
        }

    def _said(self, crops: Sequence[np.ndarray], labels: Sequence[str]) -> list[list[tuple[str, float]]]:
        """(word, probability) of each group that has one likely enough, for every crop."""
        said: list[list[tuple[str, float]]] = []
        scale = self.model.scale.detach()
        for start in range(0, len(crops), AT_ONCE):
            vectors = self.model.encode_image(list(crops[start : start + AT_ONCE]))
            for vector, label in zip(vectors, labels[start : start + AT_ONCE], strict=True):
                found = []
                for words, texts in zip(self.settings.groups.values(), self._texts(label), strict=True):
                    chance, best = (scale * (texts @ vector)).softmax(0).max(0)
                    if float(chance) >= self.settings.min_probability:
                        found.append((words[int(best)], float(chance)))
                said.append(found)
        return said

    def _texts(self, label: str) -> list[Any]:
        if label not in self._asked:
            self._asked[label] = [
                self.model.encode_text([self.settings.template.format(attribute=word, label=label) for word in words])
                for words in self.settings.groups.values()
            ]
        return self._asked[label]
