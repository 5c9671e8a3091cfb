"""Subtitle captions: what can be seen in a clip, by what is said over it (HowToCaption; Shvetsova et al., 2023).

    score: {spoken: {uses: subtitle_captions, with: {source: subtitles, text_model: {uses: rules}}}}

Subtitles (SubRip or WebVTT, as any caption source or an earlier step's) go to a text model in blocks of at most 200
words; it answers with lines of "second: caption". The times are those things were spoken of at, which is seldom when
they are seen: `caption_windows` looks for that. The paper asks Vicuna-13B at temperature 0.7; here any text model, and
offline rules that take each subtitle without its lead-in.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from pairwright.components.component import Caption, Captioner, Captions
from pairwright.components.dataset.captions.subtitles import Timed, read_subtitles, write_webvtt
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.models.text_backends import Completion, RuleTextModel, TextModelSettings, open_text_model
from pairwright.components.recaption.clips.blocks import Block, blocks_of, captions_of, spoken_captions
from pairwright.components.recaption.prompts.prompt import Prompt, prompt_field
from pairwright.components.registry import captioner
from pairwright.components.settings import Settings


class SubtitleCaptionsSettings(Settings):
    source: str = Field("subtitles", description="captions that are SubRip or WebVTT")
    words: int = Field(200, ge=1, description="of a block, at most")
    seconds: float = Field(8.0, gt=0, description="a caption is shown for")
    text_model: TextModelSettings = RuleTextModel()
    prompt: Prompt = prompt_field("subtitle_captions")
    lang: str = Field("en", description="language the model writes, BCP 47")


@captioner("subtitle_captions")
class SubtitleCaptions(Captioner[SubtitleCaptionsSettings]):
    """WebVTT of the captions at the seconds the text model gives, of all blocks it answered; None of none."""

    requires = Captions("source")

    @property
    def at_once(self) -> int:
        return self.settings.text_model.at_once

    def setup(self, device: str) -> None:
        self.text_model = open_text_model(self.settings.text_model, device, rules=spoken_captions)

    def caption(self, pairs: PairBatch) -> Sequence[Caption | None]:
        texts = pairs.captions(self.settings.source)
        blocks = [list(blocks_of(read_subtitles(text or ""), self.settings.words)) for text in texts]
        prompts = [self.settings.prompt.about(one.evidence()) for some in blocks for one in some]
        answers = iter(self.text_model.complete(prompts))
        return [self._caption(some, [next(answers) for _ in some]) for some in blocks]

    def _caption(self, blocks: Sequence[Block], answers: Sequence[Completion]) -> Caption | None:
        found: list[Timed] = []
        for block, answer in zip(blocks, answers, strict=True):
            if answer.text is not None:
                said, _ = captions_of(answer.text, block)
                found += [Timed(second, second + self.settings.seconds, words) for second, words in said]
        return Caption(write_webvtt(found), self.settings.lang) if found else None
