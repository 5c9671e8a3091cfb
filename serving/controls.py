"""What the captioner that is served can be told: it says so itself, and what it never learnt is refused.

Kept with the Bento's facts, shown by `/lineage`, and narrowed to in `/openapi.json`, so that neither a caller nor the
page offers what would be refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, Field

from pairwright.serving.limits import Refusal

if TYPE_CHECKING:
    from pairwright.components.models.captioner.captioner import Captioner
    from pairwright.components.models.captioner.prefix import Part


class Controls(BaseModel):
    tokens: int = Field(description="of a caption, at most")
    levels: int = Field(0, description="the highest level of alignment; 0 where it learnt none")
    lengths: int = Field(0, description="the longest length it can be told, in words; 0 where it learnt none")
    languages: list[str] = Field([], description="what it can be told to speak, BCP 47; empty where it learnt one")
    formats: list[str] = Field([], description="kinds of caption it can be told to write; empty where it learnt one")
    box: bool = Field(False, description="whether it can be told of which part of the picture to speak")
    prompt: bool = Field(False, description="whether it can be told words: a question, an alt-text")
    user: bool = Field(False, description="whether it can be told the words that a user is known by")

    @classmethod
    def of(cls, model: Captioner) -> Self:
        parts: Mapping[str, Part] = model.parts

        def size(name: str) -> int:
            return parts[name].size if name in parts else 0

        def names(name: str) -> list[str]:
            return list(parts[name].names) if name in parts else []

        numbers = {"levels": size("control"), "lengths": size("length")}
        named = {"languages": names("language"), "formats": names("format")}
        there = {name: name in parts for name in ("box", "prompt", "user")}
        return cls(tokens=model.longest, **numbers, **named, **there)

    @property
    def unknown(self) -> set[str]:
        """Controls of the route that this captioner has not."""
        has = {"level": self.levels, "length": self.lengths, "language": self.languages, "format": self.formats}
        has |= {"box": self.box, "prompt": self.prompt, "user": self.user}
        return {name for name, there in has.items() if not there}

    def check(self, wish: Any) -> None:
        """Nothing.

        Raises:
            Refusal: 422 for what this captioner was not taught.
        """
        for name in sorted(self.unknown):
            if getattr(wish, name) is not None:
                raise Refusal(422, f'this captioner was taught without a {name}; leave "{name}" out')
        for name, most in (("level", self.levels), ("length", self.lengths)):
            if (asked := getattr(wish, name)) is not None and asked > most:
                raise Refusal(422, f'"{name}" is {asked}; this captioner knows them up to {most}')
        for name, known, does in (("language", self.languages, "speaks"), ("format", self.formats, "writes")):
            if (asked := getattr(wish, name)) is not None and asked not in known:
                raise Refusal(422, f'this captioner was not taught "{asked[:20]}"; it {does} {", ".join(known)}')
