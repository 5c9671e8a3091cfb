"""Decoding as a recipe says it.

decoding: {search: beam, beams: 6, groups: 3, diversity: 0.5}
decoding: {guidance: 2, forbidden: [clipart], most: 12}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from pairwright.components.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from pairwright.components.models.decoding.processors import Processor
    from pairwright.components.models.decoding.session import Session


class Decoding(Settings):
    search: Literal["greedy", "beam", "nucleus"] = "greedy"
    beams: int = Field(1, ge=1, le=64, description="of search: beam, all groups together")
    groups: int = Field(1, ge=1, description="groups of beams, each drawn away from what earlier ones say")
    diversity: float = Field(0.5, ge=0, description="lambda: nats a token loses for each earlier beam that says it")
    length_power: float = Field(0.0, ge=0, description="beams are ranked by score / tokens ** this")
    top_p: float = Field(0.9, gt=0, le=1, description="probability the nucleus holds, of search: nucleus")
    temperature: float = Field(1.0, gt=0)
    guidance: float = Field(1.0, ge=0, description="g of classifier-free guidance; 1 is none, 0 ignores the picture")
    least: int = Field(0, ge=0, description="tokens before a caption may end")
    most: int | None = Field(None, ge=1, description="tokens of a caption; as many as the model learnt if not said")
    twice_running: bool = Field(False, description="may a token follow itself?")
    no_repeat: int = Field(0, ge=0, description="no run of so many tokens comes a second time; 0: it may")
    repetition: float = Field(1.0, ge=1, description="log-probabilities of tokens already said are multiplied by it")
    forbidden: tuple[str, ...] = Field((), description="strings no caption holds, within a word as well")

    @model_validator(mode="after")
    def _groups_share_the_beams(self) -> Self:
        if self.beams % self.groups:
            raise ValueError(f"beams ({self.beams}) must be a multiple of groups ({self.groups})")
        if self.search != "beam" and self.beams > 1:
            raise ValueError(f"beams ({self.beams}) are of search: beam, not of {self.search}")
        return self

    def processors(
        self, end: int, never: Sequence[int], pieces: Sequence[str], required: Sequence[Sequence[int]], longest: int
    ) -> list[Processor]:
        """What these settings bar and ask for, in the order it is applied in."""
        from pairwright.components.models.decoding import processors as of

        found: list[Processor] = [of.Never(never)] if never else []
        found += [of.RepetitionPenalty(self.repetition)] if self.repetition > 1 else []
        found += [] if self.twice_running else [of.NotTwiceRunning()]
        found += [of.NoRepeatedNgram(self.no_repeat)] if self.no_repeat else []
        found += [of.Forbidden(self.forbidden, pieces)] if self.forbidden else []
        found += [of.AtLeast(self.least, end)] if self.least else []
        found += [of.Including(required, end, longest)] if any(required) else []
        return found + ([of.EndWhereMute(end)] if self.forbidden or self.least else [])

    def decode(
        self, session: Session, end: int, longest: int, processors: Sequence[Processor], seeds: Sequence[int] = ()
    ) -> Tensor:
        """(n, beams, t) tokens, the best or the first group's best first; guidance is the session's."""
        from pairwright.components.models.decoding.beam import beam_search
        from pairwright.components.models.decoding.sampling import greedy, nucleus

        if self.search == "beam":
            wish = {"groups": self.groups, "diversity": self.diversity, "length_power": self.length_power}
            return beam_search(session, end, longest, self.beams, processors, **wish).tokens  # type: ignore[arg-type]
        if self.search == "nucleus":
            drawn = {"top_p": self.top_p, "temperature": self.temperature}
            return nucleus(session, end, longest, processors, **drawn, seeds=seeds)[:, None]
        return greedy(session, end, longest, processors)[:, None]
