"""The OpenAPI document: every route with what it takes, what it answers, why it refuses, and an example.

BentoML's own has no examples and drops half of each schema, so the document is made here, from the
same models that read the requests. Every example request is one that works
(tests/integration/test_serving.py sends them all).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving import wire
from serving.limits import MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS, MAX_IMAGES, MAX_TEXT_CHARS, MAX_TEXTS, MIB

MEGAPIXELS = MAX_IMAGE_PIXELS // 1_000_000
REFERENCE = "#/components/schemas/{model}"
# A red square of 8 x 8 px, as PNG.
SQUARE = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEUlEQVR42mO4IyeHFTEMLQkAid1GAQVcagkAAAAASUVORK5CYII="
REFUSALS = {
    413: (
        "Too big, with the reason",
        {"error": f"the image has 12.0 MiB; at most {MAX_IMAGE_BYTES // MIB} MiB are taken"},
    ),
    422: ("Not what it should be, with the reason", {"error": "this is not an image; send JPEG, PNG, WebP, ..."}),
}


class Problem(BaseModel):
    """What every refused request gets."""

    error: str


@dataclass(frozen=True)
class Operation:
    """One POST route."""

    route: str
    summary: str
    description: str
    input: type[wire.Input]
    output: type[BaseModel]
    request: dict[str, Any]
    response: dict[str, Any]
    also: dict[int, tuple[str, dict[str, Any]]] = field(default_factory=dict)


SEARCH_RESPONSE = {
    "items": [
        {
            "n": 17,
            "key": "stamps/animals/birds/owl",
            "score": 0.4132,
            "caption": "An owl.",
            "captions": [{"source": "alt", "text": "An owl.", "lang": "en"}],
            "category": "animals",
            "licence": "GPL-2.0-or-later",
            "author": "Tux Paint",
            "origin": "stamps/animals/birds/owl.png",
            "thumbnail": "/thumbnails/17.jpg?v=0123456789ab",
        }
    ],
    "exact": False,
    "recall_at_10": 0.998,
    "searched": 7400,
    "milliseconds": 6.1,
}
LINEAGE_RESPONSE = {
    "bento": "pairwright:3",
    "model": {"tag": "pairwright_model:3", "digest": "9f2c..."},
    "index": {"n": 7400, "d": 256, "dataset_digest": "41ab...", "approximate": {"recall_at_10": 0.998}},
    "receipt": {
        "model": {"name": "pairwright", "version": "3", "digest": "9f2c..."},
        "data": {"data_version": "ab12....dir", "dataset_digest": "41ab...", "pairs_kept": 7400},
        "recipe": {"name": "quickstart", "digest": "77fe..."},
        "code": {"code_commit": "269a12a", "lock_hash": "0c3d..."},
    },
}
FAILED = {"vector": None, "error": {"status": 422, "reason": "the text is empty"}}
OPERATIONS = (
    Operation(
        "embed_text",
        "Vectors of texts",
        f"At most {MAX_TEXTS} texts of {MAX_TEXT_CHARS} characters. Requests that arrive together share a batch. "
        "A bad text has an error in its place; its neighbours have their vectors.",
        wire.Texts,
        wire.Embeddings,
        {"texts": ["a red square", " "]},
        {"results": [{"vector": [0.6, -0.8], "error": None}, FAILED], "dimensions": 2},
    ),
    Operation(
        "embed_image",
        "Vectors of pictures",
        f"At most {MAX_IMAGES} pictures of {MAX_IMAGE_BYTES // MIB} MiB and {MEGAPIXELS} megapixels. "
        "A bad picture has an error in its place; its neighbours have their vectors.",
        wire.Images,
        wire.Embeddings,
        {"images": [SQUARE]},
        {"results": [{"vector": [0.8, 0.6], "error": None}], "dimensions": 2},
    ),
    Operation(
        "score",
        "How well texts fit a picture",
        "The cosine of the picture's vector and each text's.",
        wire.Pair,
        wire.Scores,
        {"image": SQUARE, "texts": ["a red square", "a green bicycle"]},
        {"scores": [{"text": "a red square", "cosine": 0.41}, {"text": "a green bicycle", "cosine": 0.07}]},
    ),
    Operation(
        "classify",
        "Which label fits a picture",
        "Zero-shot classification: each label's prompts are embedded and averaged. "
        "Without labels, the categories of the curated set.",
        wire.Classify,
        wire.Classes,
        {"image": SQUARE, "labels": ["square", "circle"], "templates": ["a picture of a {}"], "top": 2},
        {
            "labels": [
                {"label": "square", "probability": 0.93, "cosine": 0.44},
                {"label": "circle", "probability": 0.07, "cosine": 0.31},
            ],
            "templates": ["a picture of a {}"],
        },
    ),
    Operation(
        "search",
        "Curated pictures nearest to a text or a picture",
        'Give either "text" or "image". `exact` compares with every picture; otherwise an approximate index is '
        "walked, whose measured recall is in the answer.",
        wire.Query,
        wire.Found,
        {"text": "a red square", "k": 3},
        SEARCH_RESPONSE,
    ),
    Operation(
        "lineage",
        "What is being served, and what made it",
        "The receipt was frozen when the Bento was built. GET works too.",
        wire.Nothing,
        wire.Lineage,
        {},
        LINEAGE_RESPONSE,
    ),
)


def openapi(version: str) -> dict[str, Any]:
    """The document (OpenAPI 3.1); `version` is the Bento's tag."""
    models: list[type[BaseModel]] = [Problem]
    for operation in OPERATIONS:
        models += [operation.input, operation.output]
    unique = [(model, "validation") for model in dict.fromkeys(models)]
    _, schemas = models_json_schema(unique, ref_template=REFERENCE)  # type: ignore[arg-type]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pairwright",
            "version": version,
            "description": "A dual encoder trained on a curated set, and search over that set.",
        },
        "servers": [{"url": "/"}],
        "paths": {f"/{operation.route}": _path(operation) for operation in OPERATIONS} | _plain_paths(),
        "components": {"schemas": schemas["$defs"]},
    }


def _path(operation: Operation) -> dict[str, Any]:
    post = {
        "operationId": operation.route,
        "summary": operation.summary,
        "description": operation.description,
        "requestBody": {"required": True, "content": _request_content(operation)},
        "responses": {"200": _answer("Answered", operation.output, operation.response)}
        | {
            str(status): _answer(words, Problem, example)
            for status, (words, example) in (REFUSALS | operation.also).items()
        },
    }
    path: dict[str, Any] = {"post": post}
    if operation.route == "lineage":
        path["get"] = {
            "operationId": "get_lineage",
            "summary": operation.summary,
            "responses": {"200": _answer("Answered", operation.output, operation.response)},
        }
    return path


def _request_content(operation: Operation) -> dict[str, Any]:
    schema = {"$ref": REFERENCE.format(model=operation.input.__name__)}
    content: dict[str, Any] = {"application/json": {"schema": schema, "example": operation.request}}
    if operation.input.picture_field:
        fields = {name: _form_field(operation.input, name) for name in operation.input.model_fields}
        content["multipart/form-data"] = {"schema": {"type": "object", "properties": fields}}
        content["image/*"] = {"schema": {"type": "string", "format": "binary", "description": "the rest in the query"}}
    return content


def _form_field(model: type[wire.Input], name: str) -> dict[str, Any]:
    if name != model.picture_field:
        return {"type": "string", "description": model.model_fields[name].description or ""}
    file = {"type": "string", "format": "binary"}
    return {"type": "array", "items": file} if name == "images" else file


def _answer(words: str, model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    schema = {"$ref": REFERENCE.format(model=model.__name__)}
    return {"description": words, "content": {"application/json": {"schema": schema, "example": example}}}


def _plain_paths() -> dict[str, Any]:
    """The routes a browser or an orchestrator asks for."""
    number = {
        "name": "number",
        "in": "path",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
        "example": 0,
    }
    page = {"text/html": {"schema": {"type": "string"}, "example": "<!doctype html>..."}}
    jpeg = {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}
    text = {"text/plain": {"schema": {"type": "string"}, "example": "\n"}}
    missing = _answer("No such picture", Problem, {"error": "the index has no picture 99999"})
    return {
        "/": {"get": {"summary": "The search page", "responses": {"200": {"description": "HTML", "content": page}}}},
        "/thumbnails/{number}.jpg": {
            "get": {
                "summary": "A picture of the curated set, at most 160 px",
                "parameters": [number],
                "responses": {"200": {"description": "JPEG", "content": jpeg}, "404": missing},
            }
        },
        **{
            path: {"get": {"summary": words, "responses": {"200": {"description": "Yes", "content": text}}}}
            for path, words in (
                ("/livez", "Whether the process lives"),
                ("/readyz", "Whether the model is loaded"),
                ("/metrics", "Prometheus metrics: requests, latencies, batch sizes"),
            )
        },
    }
