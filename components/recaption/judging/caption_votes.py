"""Caption votes: which of several captions several judges prefer, each by a criterion of its own.

    recaption:
      votes:  {uses: caption_votes, with: {sources: [looked, read, cited], ocr: ocr.text, paragraph: paragraph}}
      picked: {uses: chosen, with: {choice: votes.source, sources: [looked, read, cited], fallback: cited}}

After MLBCAP's judge, which picks among the captions of several models. Each criterion is a question of its own to the
text model, which answers with a letter; every ballot and every count stays as a column. The default counts by
`support.py`. The candidate with most votes wins; of equals the one that the earliest criterion voted for.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Captions, Columns, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.models.text_backends import RuleTextModel, TextModelSettings, open_text_model
from pairwright.components.recaption.judging.evidence import FigureEvidence, evidence_of
from pairwright.components.recaption.judging.support import absent_numbers, content_of, supported_share
from pairwright.components.recaption.prompts.prompt import Prompt, prompt_field
from pairwright.components.registry import scorer

CRITERIA = {
    "faithful": "Which says nothing that text and paragraph do not say, above all no other number?",
    "informative": "Which tells most of what text and paragraph tell?",
    "legible": "Which fits best what is written in the figure?",
    "clear": "Which is a whole and clear sentence of some ten to thirty words?",
}
CLEAR = (8, 32)  # words
_LETTER = re.compile(r"\b([A-Z])\b")


class CaptionVotesSettings(FigureEvidence):
    sources: tuple[str, ...] = Field(min_length=2, max_length=26, description="captions to choose from")
    criteria: tuple[str, ...] = Field(tuple(CRITERIA), min_length=1, description=f"of {', '.join(CRITERIA)}")
    text_model: TextModelSettings = RuleTextModel()
    prompt: Prompt = prompt_field("vote_caption", "question")


@scorer("caption_votes")
class CaptionVotes(Scorer[CaptionVotesSettings]):
    """Columns.

    source: the winner; null where no candidate has a text.
    votes: how many each of `sources` got, in their order.
    ballots: the source that each of `criteria` voted for, in their order; null of a vote that was none.
    """

    columns = {"source": pa.string(), "votes": pa.list_(pa.int32()), "ballots": pa.list_(pa.string())}
    requires = Captions("sources", "paragraph") + Columns("ocr")
    sees_failures = True  # a pair that lacks one candidate has the others

    @property
    def at_once(self) -> int:
        return self.settings.text_model.at_once

    def setup(self, device: str) -> None:
        self.text_model = open_text_model(self.settings.text_model, device, rules=ballot)

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        texts = [pairs.captions(source) for source in self.settings.sources]
        evidence = evidence_of(pairs, self.settings)
        rows = [self._candidates([some[i] for some in texts]) for i in range(len(pairs))]
        asked = [(i, name) for i, row in enumerate(rows) if row for name in self.settings.criteria]
        prompts = [
            self.settings.prompt.about(
                evidence[i] | {"candidates": {at: text for at, (_, text) in rows[i].items()}, "criterion": name},
                question=CRITERIA[name],
            )
            for i, name in asked
        ]
        ballots: list[list[str | None] | None] = [[] if row else None for row in rows]
        for (i, _), answer in zip(asked, self.text_model.complete(prompts), strict=True):
            named = {rows[i][letter][0] for letter in _LETTER.findall(answer.text or "") if letter in rows[i]}
            mine = ballots[i]
            assert mine is not None
            mine.append(named.pop() if len(named) == 1 else None)  # an answer that names two is no vote
        counted = [None if one is None else [one.count(source) for source in self.settings.sources] for one in ballots]
        winners = [self._winner(row, one) if one is not None else None for row, one in zip(rows, ballots, strict=True)]
        return {"source": winners, "votes": counted, "ballots": ballots}

    def _candidates(self, texts: Sequence[str | None]) -> dict[str, tuple[str, str]]:
        """Letter -> (source, text) of those that have a text; letters go by the order of the sources."""
        named = zip(string.ascii_uppercase, self.settings.sources, texts, strict=False)
        return {letter: (source, text) for letter, source, text in named if text}

    def _winner(self, row: Mapping[str, tuple[str, str]], ballots: Sequence[str | None]) -> str:
        given = [one for one in ballots if one is not None]
        most = max((given.count(one) for one in given), default=0)
        return next((one for one in given if given.count(one) == most), next(iter(row.values()))[0])


def ballot(evidence: Mapping[str, Any]) -> str:
    """The rules' letter by `criterion`; of equals the more faithful, then the first."""
    read, inputs = str(evidence["text"]), [str(evidence["text"]), str(evidence["paragraph"])]
    worth: Callable[[str], float] = {
        "faithful": lambda one: -len(absent_numbers(one, inputs)),
        "informative": lambda one: len(content_of(one) & content_of(" . ".join(inputs))),
        "legible": lambda one: len(content_of(one) & content_of(read)),
        "clear": lambda one: -max(CLEAR[0] - len(one.split()), len(one.split()) - CLEAR[1], 0),
    }[str(evidence["criterion"])]
    candidates: Mapping[str, str] = evidence["candidates"]

    def rank(letter: str) -> tuple[float, int, float]:
        text = candidates[letter]
        return worth(text), -len(absent_numbers(text, inputs)), supported_share(text, inputs)

    return max(sorted(candidates), key=rank)
