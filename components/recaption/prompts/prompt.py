"""A prompt as a setting: named or given as a file in a recipe, text and version in the digest.

class MySettings(Settings):
    prompt: Prompt = prompt_field("fuse")

self.settings.prompt.about(evidence, words=40)      # what the text model is asked
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, model_validator

from pairwright.components.errors import InvalidRecipe, nearest
from pairwright.components.models.text_backends.protocol import with_evidence
from pairwright.components.settings import Settings

LONGEST = 1 << 16  # bytes of a file
SUFFIX = ".txt"
_FIRST_LINE = re.compile(r"version:[ \t]*(\S+)[ \t]*")


class Prompt(Settings):
    """What a text model is told. Read once, when the recipe is: workers are sent the text."""

    undigested: ClassVar[frozenset[str]] = frozenset({"reference"})

    reference: str = Field(description="name of a prompt of the house, or path of a file")
    version: str
    text: str

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return read_prompt(value) if isinstance(value, str) else value

    @property
    def names(self) -> set[str]:
        """Of all that is to be filled in."""
        return set(string.Template(self.text).get_identifiers())

    def told(self, **values: Any) -> str:
        """The text, filled in.

        Raises:
            InvalidRecipe: it asks for a value that is not given.
        """
        unknown = self.names - set(values)
        if unknown:
            raise InvalidRecipe(f"prompt {self} asks for ${min(unknown)}; filled in are {sorted(values) or 'none'}")
        return string.Template(self.text).substitute({name: str(value) for name, value in values.items()})

    def about(self, evidence: Mapping[str, Any], **values: Any) -> str:
        """The text, filled in, and below it the evidence."""
        return with_evidence(self.told(**values), evidence)

    def __str__(self) -> str:
        return self.reference


def prompt_field(name: str, *fills: str) -> Any:
    """A setting that is the house's prompt of this name unless a recipe says another.

    Args:
        fills: names that the captioner fills in.
    """
    told = f"; ${', $'.join(fills)} are filled in" if fills else ""
    return Field(
        default_factory=lambda: Prompt.model_validate(name),
        description=f"name of a prompt or a file: a line `version: N`, then what the text model is told{told}",
    )


def read_prompt(reference: str) -> dict[str, str]:
    """The fields of the prompt that a recipe names.

    Raises:
        ValueError: there is none, or the file is no prompt.
    """
    try:
        raw = _bytes_of(reference)
        first, _, text = raw.decode("utf-8").replace("\r\n", "\n").partition("\n")
    except OSError as error:
        raise ValueError(f"the file cannot be read ({error.strerror}); correct the path") from None
    except UnicodeDecodeError:
        raise ValueError("the file is not UTF-8 text") from None
    version = _FIRST_LINE.fullmatch(first)
    if version is None or not text.strip():
        raise ValueError("a prompt's first line is `version: N`, and what is told stands below it")
    if not string.Template(text).is_valid():
        raise ValueError("it holds a $ that begins no name; write $$ for a dollar")
    return {"reference": reference, "version": version[1], "text": text.strip()}


def _bytes_of(reference: str) -> bytes:
    if "/" not in reference and not reference.endswith(SUFFIX):
        house = files(__package__)
        own = house / f"{reference}{SUFFIX}"
        if not own.is_file():
            known = sorted(one.name.removesuffix(SUFFIX) for one in house.iterdir() if one.name.endswith(SUFFIX))
            raise ValueError(
                f"no prompt has this name{nearest(reference, known)}; a file is written with its folder, ./{reference}"
            )
        return own.read_bytes()
    with Path(reference).expanduser().open("rb") as file:
        found = file.read(LONGEST + 1)
    if len(found) > LONGEST:
        raise ValueError(f"the file is larger than {LONGEST} bytes; that is no prompt")
    return found
