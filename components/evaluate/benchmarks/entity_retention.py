"""Entity retention: which names and numbers of the text a picture came with its new caption still says.

    benchmarks: {entities: {uses: entity_retention, with: {source: alt, told: alt}}}

What fusing captions loses first (CapsFusion, Yu et al., 2024, on "world knowledge" that synthetic captions lack). Names
are told by their capitals (components/caption_metrics/entities.py); they are kept where the caption says them word for
word. `told` is the text the captioner is led by; without it the captioner sees the picture alone, and what it keeps is
what can be seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from pairwright.components.component import Benchmark, Measured
from pairwright.components.errors import DatasetError, InvalidRecipe
from pairwright.components.registry import benchmark
from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from pairwright.components.dataset.dataset import Dataset
    from pairwright.components.dataset.facts import DataFacts
    from pairwright.components.models.protocols import Captioner


class EntityRetentionSettings(Settings):
    source: str = Field("alt", description="the text whose names and numbers should be kept, the first of a picture")
    told: str | None = Field(None, description="caption source the captioner is led by; none: it sees pictures alone")
    seed: int = Field(0, ge=0, description="of the bootstrap")


@benchmark("entity_retention")
class EntityRetention(Benchmark[EntityRetentionSettings]):
    """Names and numbers of a picture's text that its caption keeps.

    Metrics `retained`, `all_retained`, `empty`. Items are pictures whose text has a name or a number.
    """

    protocol = "captioner"

    def check_data(self, facts: DataFacts) -> None:
        for source in filter(None, (self.settings.source, self.settings.told)):
            if lacks := facts.lacks_source(source):
                raise InvalidRecipe(lacks)

    def caption_sources(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.settings.source, self.settings.told)))

    def measure(self, model: Captioner, dataset: Dataset) -> Measured:
        from pairwright.components.caption_metrics.entities import entities_of, retained
        from pairwright.components.evaluate.captioned import captioned
        from pairwright.components.evaluate.statistics.figures import Figures

        every = captioned(model, dataset, self.settings.told)
        names = [entities_of(texts[0]) if texts else [] for texts in every.texts(self.settings.source)]
        asked = [i for i, some in enumerate(names) if some]
        if not asked:
            raise DatasetError(
                f'{dataset.name} has no caption "{self.settings.source}" with a name or a number; name another source'
            )
        split = every.take(asked)
        kept = retained([names[i] for i in asked], split.captions)
        of, whole = np.array([one.sum() for one in kept], float), np.array([len(one) for one in kept], float)
        led = "the picture alone" if self.settings.told is None else f'the picture and its "{self.settings.told}"'
        about = f'names and numbers of "{self.settings.source}", by their capitals, in captions of {led}'
        found = Figures(split.groups, self.settings.seed, frozenset(("empty",)))
        found.share("retained", of, whole, f"Share kept of {int(whole.sum()):,} {about}.")
        found.mean("all_retained", (of == whole).astype(float), f"Share of captions that keep all {about}.")
        found.mean("empty", split.empty.astype(float), "Share of captions without a word; they keep nothing.")
        return Measured(found.metrics, found.items)
