"""Typed settings: ranges checked, an unknown key refused with the nearest known key named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_serializer, model_validator

from pairwright.components.errors import InvalidRecipe, nearest

Where = str | Callable[[tuple[Any, ...]], str]  # what an error begins with, or that of the key at a path


class Settings(BaseModel):
    """Base of every component's settings. Units belong in the field's name or description."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=False)

    # Fields that say where or how fast, never what (an address, a key's name, a concurrency): not digested.
    undigested: ClassVar[frozenset[str]] = frozenset()
    # What these settings have opened by name, which no import shows: modules of ours, and distributions.
    modules: ClassVar[tuple[str, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def parse(cls, values: Mapping[str, Any] | None, where: Where) -> Self:
        """Settings from a recipe's mapping; `where` is named in the error.

        Raises:
            InvalidRecipe: an unknown key (with the nearest known one) or a value out of range.
        """
        try:
            return cls.model_validate(dict(values or {}))
        except ValidationError as error:
            first = _first_problem(error)
            said = where if isinstance(where, str) else where(first["loc"])
            raise InvalidRecipe(f"{said}: {_in_words(first, cls)}") from None


def _first_problem(error: ValidationError) -> Any:
    """The first thing pydantic refused; a misspelt key before the missing one that it is, too."""
    problems = error.errors(include_url=False)
    return next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])


def _in_words(first: Any, model: type[BaseModel]) -> str:
    """One line for what pydantic refused."""
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _fields_at(model, first["loc"][:-1])
        return f'unknown key "{path}"{nearest(str(first["loc"][-1]), known)}'
    if first["type"] == "missing":
        return f'"{path}" is required; add it'
    return f'"{path}" is {first.get("input")!r}: {first["msg"]}'


def _fields_at(model: Any, path: tuple[Any, ...]) -> list[str]:
    """Known keys of the model found by following `path`, through optional sections and mappings."""
    for part in path:
        fields = getattr(model, "model_fields", None)
        annotation = fields[part].annotation if fields and part in fields else model
        models = [kind for kind in _walk(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        model = models[0] if models else None
    return [field.alias or name for name, field in getattr(model, "model_fields", {}).items()]


def _walk(annotation: Any) -> Iterator[Any]:
    """An annotation and everything in its brackets."""
    yield annotation
    for inner in get_args(annotation):
        yield from _walk(inner)


class Named(Settings):
    """A component named in another's settings: `{uses: clip, with: {...}}`, or just the name.

    A subclass says of which `kind`. What is named counts as if its owner imported it: its code, its libraries
    and the models in its `with` are in the owner's digest (components/digest.py) and are resolved with it.
    """

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    kind: ClassVar[str] = ""

    uses: str
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"uses": value} if isinstance(value, str) else value


class ModelFolder(BaseModel):
    """A model named in a recipe: a reference, resolved by the flow to a folder and a weights' hash.

    Accepts a plain string (`builtin:minilm`, `models:/x@champion`, a hub name, a folder). Only the
    weights' hash enters a digest, never the reference: an alias that moves must not look unchanged.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    reference: str
    path: str | None = None
    weights: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"reference": value} if isinstance(value, str) else value

    @model_serializer(mode="wrap")
    def _as_text(self, handler: Any) -> Any:
        return handler(self) if self.path else self.reference

    @property
    def resolved(self) -> bool:
        return self.path is not None and self.weights is not None
