"""The criteria labellers judge by: a YAML file a team can edit, kept word for word beside the answers.

    criteria = read_criteria(None)              the packaged criteria.yaml
    criteria = read_criteria("mine.yaml")

After Compress & Align (Zhang et al., 2023): subjective criteria (preference, informativeness, fluency)
are rankings; objective ones (is every object, attribute, relation and text right, is anything invented)
are flags on one caption.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import yaml
from pydantic import Field

from pairwright.components.errors import InvalidRecipe
from pairwright.components.hashing import sha256_text
from pairwright.components.settings import Settings

PACKAGED = Path(__file__).parent / "criteria.yaml"
TAKEN = frozenset("tupsf?=x") | frozenset("0123456789")  # keys the page itself uses
NAME = r"^[a-z][a-z0-9_]*$"


class Ranking(Settings):
    """A subjective criterion: one ranking of the captions."""

    name: str = Field(pattern=NAME)
    question: str = Field(min_length=1)
    hint: str = ""
    ask: bool = False


class Flag(Settings):
    """An objective criterion: something that can be wrong with one caption."""

    name: str = Field(pattern=NAME)
    label: str = Field(min_length=1)
    key: str = Field(min_length=1, max_length=1)
    hint: str = ""


class Criteria(Settings):
    """What is asked; `text` is the file, word for word."""

    title: str = ""
    rank: tuple[Ranking, ...] = Field(min_length=1)
    flags: tuple[Flag, ...] = ()
    text: str = ""

    @cached_property
    def digest(self) -> str:
        return sha256_text(self.text)

    @property
    def asked(self) -> tuple[Ranking, ...]:
        """The rankings a labeller is asked for, in order."""
        return tuple(one for one in self.rank if one.ask)


def read_criteria(path: str | None) -> Criteria:
    """The criteria in a file, or the packaged ones.

    Raises:
        InvalidRecipe: unreadable, not YAML, an unknown field, a name or key used twice, or nothing asked.
    """
    where = Path(path) if path else PACKAGED
    try:
        return parse_criteria(where.read_text(encoding="utf-8"), str(where))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRecipe(f"{where} cannot be read: {error}; name a criteria file in UTF-8") from None


def parse_criteria(text: str, where: str) -> Criteria:
    """Criteria from YAML text; `where` is named in errors."""
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidRecipe(f"{where} is not YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(values, dict):
        raise InvalidRecipe(f"{where}: criteria are a mapping with `rank:` and `flags:`; begin from {PACKAGED}")
    criteria = Criteria.parse({**values, "text": text}, where)
    if not criteria.asked:
        raise InvalidRecipe(f"{where}: no ranking has `ask: true`; set it for at least one")
    names = [one.name for one in criteria.rank] + [flag.name for flag in criteria.flags]
    keys = [flag.key.lower() for flag in criteria.flags]
    for kind, said in (("name", names), ("key", keys)):
        twice = sorted({one for one in said if said.count(one) > 1})
        if twice:
            raise InvalidRecipe(f'{where}: {kind} "{twice[0]}" is used twice; change one')
    for key in keys:
        if key in TAKEN:
            raise InvalidRecipe(f'{where}: key "{key}" is the page\'s own; choose another letter')
    return criteria
