"""The OpenAPI document: every route with what it takes, what it answers, why it refuses, and an example.

BentoML's own has no examples and drops half of each schema, so the document is made here, from the
same models that read the requests. Every example request is one that works
(tests/integration/test_serving.py sends them all).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from pairwright.serving import caption_wire, wire
from pairwright.serving.controls import Controls
from pairwright.serving.limits import (
    MAX_CAPTIONS,
    MAX_IMAGE_BYTES,
    MAX_IMAGE_PIXELS,
    MAX_IMAGES,
    MAX_PROMPTS,
    MAX_TEXT_CHARS,
    MAX_TEXTS,
    MAX_TOTAL_CHARS,
    MIB,
)
from pairwright.serving.page_files import FILES
from pairwright.serving.routes import MAX_DIGITS

MEGAPIXELS = MAX_IMAGE_PIXELS // 1_000_000
PICTURE_AS_BODY = " A picture may also be the whole body (image/*), with everything else in the query string."
SWAGGER = ("swagger-ui-bundle.js", "swagger-ui.css")  # what /docs takes of the files BentoML brings
KEYS = {  # asked for where the server was started with one
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "basic": {"type": "http", "scheme": "basic", "description": "any name; the key is the password"},
}
REFERENCE = "#/components/schemas/{model}"
# A red square of 8 x 8 px, as PNG.
SQUARE = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEUlEQVR42mO4IyeHFTEMLQkAid1GAQVcagkAAAAASUVORK5CYII="
# What any request may be answered with, whatever it asks for.
AT_THE_DOOR = {
    400: (
        "Asked under a name that is not this server's, or not HTTP",
        {"error": "evil.example is no name of this server"},
    ),
    401: ("No key, or a wrong one", {"error": "this server asks for its key; send it as Authorization: Bearer KEY"}),
    403: ("Asked by another site through a browser", {"error": "another site asks through this browser"}),
}
REFUSALS = AT_THE_DOOR | {
    404: (
        "This server does not hold the model that is asked",
        {"error": "this server holds no captioner; start one with `pairwright serve --captioner FOLDER`"},
    ),
    413: (
        "Too big or too many, with the reason",
        {"error": f"the image has 12.0 MiB; at most {MAX_IMAGE_BYTES // MIB} MiB are taken"},
    ),
    415: ("A content type it does not read", {"error": "application/zip is not taken; send application/json"}),
    422: ("Not what it should be, with the reason", {"error": "this is not an image; send JPEG, PNG, WebP, ..."}),
    429: ("Too much is under way; Retry-After says when to ask again", {"error": "too many requests are waiting"}),
    500: ("The server failed; its log says why", {"error": "the server failed on this request; its log says why"}),
    504: ("It took too long and was given up", {"error": "Not able to process the request in 60 seconds"}),
}


class Problem(BaseModel):
    """What every refused request gets."""

    error: str


@dataclass(frozen=True)
class Operation:
    """One POST route; `streamed` is an answer as server-sent events, where it gives some."""

    route: str
    summary: str
    description: str
    input: type[wire.Input]
    output: type[BaseModel]
    request: dict[str, Any]
    response: dict[str, Any]
    streamed: str = ""


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
    "captioner": {
        "tag": "pairwright_captioner:3",
        "digest": "c21d...",
        "tower": {"reference": "builtin:efficientnet-lite0", "digest": "5793..."},
        "controls": {
            "tokens": 16,
            "levels": 8,
            "lengths": 0,
            "languages": [],
            "formats": [],
            "box": False,
            "prompt": False,
            "user": False,
        },
    },
    "index": {"n": 7400, "d": 256, "dataset_digest": "41ab...", "approximate": {"recall_at_10": 0.998}},
    "receipt": {
        "model": {"name": "pairwright", "version": "3", "digest": "9f2c..."},
        "data": {"data_version": "ab12....dir", "dataset_digest": "41ab...", "pairs_kept": 7400},
        "recipe": {"name": "quickstart", "digest": "77fe..."},
        "code": {"code_commit": "269a12a", "lock_hash": "0c3d..."},
    },
}
CAPTIONS_RESPONSE = {
    "captions": [{"text": "a red square", "note": None}, {"text": "a red stamp", "note": None}],
    "milliseconds": 41.5,
}
STREAM = (
    'event: token\ndata: {"caption": 0, "token": "a", "text": "a"}\n\n'
    'event: caption\ndata: {"caption": 0, "text": "a", "note": null}\n\n'
    'event: done\ndata: {"captions": [{"text": "a", "note": null}], "milliseconds": 12.5}\n\n'
)
FAILED = {"vector": None, "error": {"status": 422, "reason": "the text is empty"}}
OPERATIONS = (
    Operation(
        "embed_text",
        "Vectors of texts",
        f"At most {MAX_TEXTS} texts of {MAX_TEXT_CHARS} characters, {MAX_TOTAL_CHARS} together. "
        "Requests that arrive together share a batch. "
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
        f"Zero-shot classification: each label's prompts are embedded and averaged. At most {MAX_PROMPTS} prompts "
        f"(labels times templates) of {MAX_TOTAL_CHARS} characters together. "
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
        "caption",
        "Captions of a picture, told as they are said",
        f"At most {MAX_CAPTIONS} captions. Streamed, as it is by default, the answer is server-sent events: `token` "
        "with what is new and the whole so far (not of beam and diverse, which end all at once), `caption` as each "
        "is whole, then one `done` with the object that `stream: false` answers, or one `error`. What the captioner "
        "was not taught is not among its controls here, and is refused.",
        caption_wire.Caption,
        caption_wire.Captions,
        {"image": SQUARE, "search": "nucleus", "captions": 2, "stream": False},
        CAPTIONS_RESPONSE,
        STREAM,
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


def openapi(version: str, controls: Controls | None = None) -> dict[str, Any]:
    """The document (OpenAPI 3.1); `version` is the Bento's tag, `controls` are those of its captioner."""
    models: list[type[BaseModel]] = [Problem]
    for operation in OPERATIONS:
        models += [operation.input, operation.output]
    unique = [(model, "validation") for model in dict.fromkeys(models)]
    _, schemas = models_json_schema(unique, ref_template=REFERENCE)  # type: ignore[arg-type]
    known = schemas["$defs"]
    if controls is not None:
        _narrow(known[caption_wire.Caption.__name__]["properties"], controls)
    for operation in OPERATIONS:
        if operation.input.picture_field:
            name = operation.input.__name__
            known[f"{name}Form"] = _form_schema(operation.input, known[name])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pairwright",
            "version": version,
            "description": "A dual encoder trained on a curated set, and search over that set; a captioner.",
        },
        "servers": [{"url": "/"}],
        "paths": {f"/{operation.route}": _path(operation) for operation in OPERATIONS} | _plain_paths(),
        "components": {"schemas": known, "securitySchemes": KEYS},
        "security": [{}, *({name: []} for name in KEYS)],
    }


def _narrow(fields: dict[str, Any], controls: Controls) -> None:
    """Leave of the route's controls those that this captioner knows, as far as it knows them."""
    for name in controls.unknown:
        del fields[name]
    for name, most in (("level", controls.levels), ("length", controls.lengths)):
        if name in fields:
            fields[name]["anyOf"][0]["maximum"] = most
    for name, names in (("language", controls.languages), ("format", controls.formats)):
        if name in fields:
            fields[name]["anyOf"][0] = {"type": "string", "enum": names}


def _path(operation: Operation) -> dict[str, Any]:
    post: dict[str, Any] = {
        "operationId": operation.route,
        "summary": operation.summary,
        "description": operation.description + PICTURE_AS_BODY * (operation.input.picture_field is not None),
        "requestBody": {"required": True, "content": _request_content(operation)},
        "responses": {"200": _answer("Answered", operation.output, operation.response)} | _refusals(REFUSALS),
    }
    if operation.streamed:
        events = {"schema": {"type": "string"}, "example": operation.streamed}
        post["responses"]["200"]["content"][caption_wire.EVENTS] = events
    path: dict[str, Any] = {"post": post}
    if operation.route == "caption":
        path |= _get("The page to try the captioner on a picture", "text/html")
    if operation.route == "lineage":
        path["get"] = {
            "operationId": "get_lineage",
            "summary": operation.summary,
            "responses": {"200": _answer("Answered", operation.output, operation.response)} | _refusals(AT_THE_DOOR),
        }
    return path


def _refusals(which: Mapping[int, tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    answers = {str(status): _answer(words, Problem, example) for status, (words, example) in which.items()}
    if "429" in answers:
        answers["429"]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
    return answers


def _request_content(operation: Operation) -> dict[str, Any]:
    name = operation.input.__name__
    schema = {"$ref": REFERENCE.format(model=name)}
    content: dict[str, Any] = {"application/json": {"schema": schema, "example": operation.request}}
    if operation.input.picture_field:
        content["multipart/form-data"] = {"schema": {"$ref": REFERENCE.format(model=f"{name}Form")}}
    return content


def _form_schema(model: type[wire.Input], schema: dict[str, Any]) -> dict[str, Any]:
    """The same fields as a form sends them: pictures as files, null left out."""
    fields = {name: _form_field(field, name == model.picture_field) for name, field in schema["properties"].items()}
    return {**schema, "title": f"{model.__name__}Form", "properties": fields}


def _form_field(field: dict[str, Any], picture: bool) -> dict[str, Any]:
    kinds = [kind for kind in field.get("anyOf", [field]) if kind.get("type") != "null"]
    kept = {name: value for name, value in (field | kinds[0]).items() if name not in ("anyOf", "default")}
    if not picture:
        return kept
    file = {"type": "string", "format": "binary", "description": "a picture file; at most 10 MiB"}
    return {**kept, "items": file} if kept["type"] == "array" else file


def _answer(words: str, model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    schema = {"$ref": REFERENCE.format(model=model.__name__)}
    return {"description": words, "content": {"application/json": {"schema": schema, "example": example}}}


def _plain_paths() -> dict[str, Any]:
    """The routes a browser, an orchestrator or a generator of clients asks for; all take HEAD and OPTIONS too."""
    number = {
        "name": "number",
        "in": "path",
        "required": True,
        "schema": {"type": "integer", "minimum": 0, "maximum": 10**MAX_DIGITS - 1},
        "example": 0,
    }
    name = _name(sorted(FILES))
    missing = {404: ("There is none", {"error": "the index has no picture 99999"})}
    return {
        "/": _get("The search page", "text/html"),
        "/docs": _get("This document, with buttons", "text/html"),
        "/page/{name}": _get("What the pages are made of", "*/*", [name], missing),
        "/static_content/{name}": _get("What the buttons of /docs are made of", "*/*", [_name(SWAGGER)], missing),
        "/favicon.ico": _get("The icon", "image/svg+xml"),
        "/thumbnails/{number}.jpg": _get(
            "A picture of the curated set, at most 160 px", "image/jpeg", [number], missing
        ),
        "/openapi.json": _get("This document", "application/json"),
        "/docs.json": _get("This document, where BentoML's tools look for it", "application/json"),
        "/schema.json": _get("BentoML's own schema of the service", "application/json"),
        "/livez": _get("Whether the process lives", "text/plain"),
        "/healthz": _get("Whether the process lives", "text/plain"),
        "/readyz": _get("Whether the model is loaded", "text/plain"),
        "/metrics": _get("Prometheus metrics: requests, latencies, batch sizes", "text/plain"),
    }


def _name(files: Sequence[str]) -> dict[str, Any]:
    """The parameter `{name}` of an address, one of `files`."""
    return {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "enum": list(files)}}


def _get(
    summary: str,
    kind: str,
    parameters: Sequence[dict[str, Any]] = (),
    also: Mapping[int, tuple[str, dict[str, Any]]] = MappingProxyType({}),
) -> dict[str, Any]:
    answered = {"description": "Answered", "content": {kind: {}}}
    operation = {"summary": summary, "responses": {"200": answered} | _refusals({**AT_THE_DOOR, **also})}
    return {"get": operation | ({"parameters": list(parameters)} if parameters else {})}
