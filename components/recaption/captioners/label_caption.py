"""Label caption: a caption made of a pair's labels, by a template.

    recaption: {named: {uses: label_caption, with: {template: "a picture of {category}"}}}

What datasets that have labels and no texts are captioned by, e.g. RS5M's; a step to be fused, not a good caption.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import Field, field_validator

from pairwright.components.component import Caption, Captioner
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.registry import captioner
from pairwright.components.settings import Settings

_LABEL = re.compile(r"\{([^{}]+)\}")


class LabelCaptionSettings(Settings):
    template: str = Field(description="a caption with names of labels in braces")
    lang: str = Field("en", description="language of template and labels, BCP 47")

    @field_validator("template")
    @classmethod
    def _names_a_label(cls, template: str) -> str:
        if not _LABEL.search(template):
            raise ValueError("it names no label; write one in braces, e.g. a picture of {category}")
        return template


@captioner("label_caption")
class LabelCaption(Captioner[LabelCaptionSettings]):
    """None where a pair lacks one of the labels."""

    sees_failures = True  # labels need no picture

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        rows = [{one["name"]: one["value"] for one in row.get("labels") or ()} for row in pairs.sidecar]
        return [self._filled(labels) for labels in rows]

    def _filled(self, labels: dict[str, str]) -> Caption | None:
        if not set(_LABEL.findall(self.settings.template)) <= labels.keys():
            return None
        return Caption(_LABEL.sub(lambda one: labels[one[1]], self.settings.template), lang=self.settings.lang)
