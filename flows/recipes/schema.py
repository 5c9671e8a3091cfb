"""A recipe as JSON schema: editors complete its keys, components and their settings, and underline what is wrong.

    pairwright recipes --schema > recipe.schema.json
    # yaml-language-server: $schema=recipe.schema.json      as the first line of mine.yaml

Each step is checked as the component it `uses`: its settings are the schema of that component's. A recipe that
`extends` another may leave out whatever the other says, and write `null` to take it away.
"""

from __future__ import annotations

from typing import Any

from pairwright.components.recipe import Recipe
from pairwright.components.recipe_layers import EXTENDS
from pairwright.components.registry import registered

STEPS = ("scorer", "selection", "captioner", "fit")
USED_BY = {"StepSpec": (*STEPS, "benchmark"), "NamedStep": STEPS, "PretrainSection": ("fit",), "TrainSpec": ("fit",)}

WRITTEN_AS_TEXT = {
    "ModelFolder": "builtin:NAME, models:/NAME@ALIAS, step:NAME or a folder",
    "HeldOut": "a dataset's folder",
}


OWN = "Own"  # begins the name of a definition as it reads in a recipe that extends another
NULL = {"type": "null"}


def recipe_schema() -> dict[str, Any]:
    """The schema (draft 2020-12), with every component that is installed."""
    whole = _whole_recipe()
    definitions = whole.pop("$defs")
    extending = _own(whole)
    extending["required"] = ["name", EXTENDS]
    extending["properties"][EXTENDS] = {
        "type": "string",
        "description": "what this recipe is a change of: a shipped recipe's name, or a YAML file relative to this one",
    }
    own = {f"{OWN}{name}": _own(definition) for name, definition in definitions.items()}
    return {
        "title": "Pairwright recipe",
        "$defs": {**definitions, **own, "Recipe": whole, "ExtendingRecipe": extending},
        "if": {"type": "object", "required": [EXTENDS]},
        "then": {"$ref": "#/$defs/ExtendingRecipe"},
        "else": {"$ref": "#/$defs/Recipe"},
    }


def _own(node: Any) -> Any:
    """A schema of what is only a part: nothing is required, and every value may be null."""
    if isinstance(node, list):
        return [_own(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {}
    for key, value in node.items():
        if key == "$ref":
            found[key] = value.replace("#/$defs/", f"#/$defs/{OWN}")
        elif key in ("if", "default", "enum", "const", "examples"):
            found[key] = value
        elif key == "properties":
            found[key] = {name: {"anyOf": [_own(item), NULL]} for name, item in value.items()}
        elif key == "additionalProperties" and isinstance(value, dict):
            found[key] = {"anyOf": [_own(value), NULL]}
        elif key != "required":
            found[key] = _own(value)
    return found


def _whole_recipe() -> dict[str, Any]:
    schema: dict[str, Any] = Recipe.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = schema["$defs"]
    settings = {}
    for (kind, name), cls in sorted(registered().items()):
        own = cls.settings_model().model_json_schema(by_alias=True)
        definitions |= own.pop("$defs", {})
        settings[kind, name] = own
    named = sorted({name for kind, name in settings if kind in (*STEPS, "benchmark")})
    _short_forms(schema, named)
    for place, kinds in USED_BY.items():
        _checked_as_used(definitions[place], {key: own for key, own in settings.items() if key[0] in kinds})
    return schema


def _checked_as_used(step: dict[str, Any], settings: dict[tuple[str, str], dict[str, Any]]) -> None:
    """`uses` is one of these names, and `with` is checked by the settings of what is used, of whichever kind."""
    names = sorted({name for _, name in settings})
    step["properties"]["uses"] |= {"enum": names}
    step["allOf"] = [
        {
            "if": {"properties": {"uses": {"const": name}}, "required": ["uses"]},
            "then": {"properties": {"with": {"anyOf": [own for (_, of), own in settings.items() if of == name]}}},
        }
        for name in names
    ]


def _short_forms(schema: dict[str, Any], components: list[str]) -> None:
    """What a recipe may write short: a step as its component's name, a model or a dataset as its reference."""
    definitions = schema["$defs"]
    for name, what in WRITTEN_AS_TEXT.items():
        if name in definitions:
            definitions[name] = {"type": "string", "description": what}
    for name, definition in definitions.items():
        if name not in USED_BY and {"uses", "with"} <= definition.get("properties", {}).keys():
            definitions[name] = {"anyOf": [{"type": "string"}, definition]}
    short = {"anyOf": [{"enum": components}, {"$ref": "#/$defs/StepSpec"}]}
    for definition in [schema, *definitions.values()]:
        for field in definition.get("properties", {}).values():
            if field.get("additionalProperties") == {"$ref": "#/$defs/StepSpec"}:
                field["additionalProperties"] = short
