"""What goes over the wire: the routes' inputs and outputs, as JSON, multipart forms or a bare picture.

    curl -d '{"texts": ["a red car"]}'   -H 'Content-Type: application/json'   HOST/embed_text
    curl -F images=@cat.jpg -F images=@dog.png                                  HOST/embed_image
    curl --data-binary @cat.jpg -H 'Content-Type: image/jpeg'                  'HOST/search?k=5'

BentoML's own file fields would fetch a URL that stands where a picture should; these never do.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import bentoml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator
from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse, Response

from pairwright.components.errors import nearest
from pairwright.serving.limits import (
    MAX_IMAGES,
    MAX_KEY_CHARS,
    MAX_KEYS,
    MAX_LABELS,
    MAX_PROMPT_PART_CHARS,
    MAX_RESULTS,
    MAX_TEMPLATES,
    MAX_TEXT_CHARS,
    MAX_TEXTS,
    Refusal,
)

if TYPE_CHECKING:
    from starlette.requests import Request


def _encoded(value: Any) -> str | bytes:
    if not isinstance(value, (str, bytes)):
        raise ValueError("an image is base64 text or an uploaded file")
    return value


# Left encoded here: decoding belongs to the route, where a bad picture fails alone.
PICTURE = {
    "type": "string",
    "format": "byte",
    "contentEncoding": "base64",
    "contentMediaType": "image/*",
    "description": "a picture file, base64; at most 10 MiB",
}
Picture = Annotated[Any, BeforeValidator(_encoded), WithJsonSchema(PICTURE)]


def words(longest: int, pattern: str = r"[^\s\x00-\x1f\x85]") -> WithJsonSchema:
    """What a text should be. Its breach is told by the route, where a bad text fails alone."""
    return WithJsonSchema({"type": "string", "minLength": 1, "maxLength": longest, "pattern": pattern})


Text = Annotated[str, words(MAX_TEXT_CHARS)]
Label = Annotated[str, words(MAX_PROMPT_PART_CHARS)]
Template = Annotated[str, words(MAX_PROMPT_PART_CHARS, r"^[^{}]*\{\}[^{}]*$")]


class Input(bentoml.IODescriptor):
    """Base of every route's input: unknown keys are refused, and the first problem is said in one line."""

    model_config = ConfigDict(extra="forbid")
    picture_field: ClassVar[str | None] = None

    @classmethod
    async def from_http_request(cls, request: Request, serde: Any) -> Self:
        """The input in a request of any of the three forms.

        Raises:
            Refusal: 413 where there are too many items, 415 or 422 where the body is not what it should be.
        """
        kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            values = await cls._from_form(request)
        elif kind.startswith("image/") or kind == "application/octet-stream":
            values = await cls._from_picture(request)
        elif kind in ("application/json", "application/x-www-form-urlencoded", "text/plain"):
            values = _json_object(await request.body())  # curl -d says urlencoded; people mean JSON
        else:
            raise Refusal(415, f"{kind} is not taken; send application/json, multipart/form-data or an image")
        return cls.parse(values)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """The input.

        Raises:
            Refusal: 413 for a list that is too long, else 422.
        """
        if len(values) > MAX_KEYS or any(len(name) > MAX_KEY_CHARS for name in values):
            # Each unknown one would be a problem of its own, and compared with those we know.
            raise Refusal(413, f"there are too many keys or too long ones; known: {', '.join(cls.model_fields)}")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise cls._refusal(error) from None

    @classmethod
    def _refusal(cls, error: ValidationError) -> Refusal:
        problems = error.errors(include_url=False, include_input=False)
        # A misspelt key is the cause, the key it leaves missing the consequence.
        first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
        field = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            return Refusal(422, f'unknown key "{field}"{nearest(field, cls.model_fields)}')
        if first["type"] == "missing":
            return Refusal(422, f'"{field}" is required')
        if first["type"] == "too_short":
            return Refusal(422, f'"{field}" is empty; give at least one')
        if first["type"] == "too_long":
            context = first["ctx"]
            return Refusal(
                413, f'"{field}" has {context["actual_length"]} items; at most {context["max_length"]} are taken'
            )
        message = first["msg"].removeprefix("Value error, ")
        return Refusal(422, f'"{field}": {message}' if field else message)

    @classmethod
    async def _from_form(cls, request: Request) -> dict[str, Any]:
        """A form's fields; a repeated field is a list, an empty one is left out."""
        values: dict[str, Any] = {}
        try:
            form = await request.form(max_files=MAX_IMAGES + 1, max_fields=MAX_LABELS + 10)
        except Refusal:
            raise
        except Exception as error:  # starlette raises its own and python-multipart's types
            raise Refusal(422, f"the form cannot be read: {getattr(error, 'detail', error)}") from None
        for name in form:
            parts = [await part.read() if isinstance(part, UploadFile) else part for part in form.getlist(name)]
            values[name] = parts if cls._is_list(name) else parts[-1]
        await form.close()
        return {name: value for name, value in values.items() if value != ""}

    @classmethod
    async def _from_picture(cls, request: Request) -> dict[str, Any]:
        """A bare picture as the body, everything else in the query string."""
        if cls.picture_field is None:
            raise Refusal(415, "this route takes no picture; send application/json")
        query = request.query_params
        values: dict[str, Any] = {name: query.getlist(name) if cls._is_list(name) else query[name] for name in query}
        body = await request.body()
        return values | {cls.picture_field: [body] if cls._is_list(cls.picture_field) else body}

    @classmethod
    def _is_list(cls, name: str) -> bool:
        field = cls.model_fields.get(name)
        return field is not None and "list" in str(field.annotation)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(body or b"{}", parse_constant=_no_number)
    except RecursionError:
        raise Refusal(422, "the body is nested too deeply") from None
    except ValueError as error:
        raise Refusal(422, f"the body is not JSON ({error})") from None
    if not isinstance(values, dict):
        raise Refusal(422, 'the body must be a JSON object, e.g. {"texts": ["a red car"]}')
    return values


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


class Texts(Input):
    texts: list[Text] = Field(min_length=1, max_length=MAX_TEXTS, description="captions or queries")


class Images(Input):
    picture_field: ClassVar[str | None] = "images"
    images: list[Picture] = Field(min_length=1, max_length=MAX_IMAGES, description="picture files")


class Pair(Input):
    picture_field: ClassVar[str | None] = "image"
    image: Picture
    texts: list[Text] = Field(min_length=1, max_length=MAX_TEXTS, description="each is scored against the image")


class Classify(Input):
    picture_field: ClassVar[str | None] = "image"
    image: Picture
    labels: list[Label] | None = Field(
        None, min_length=1, max_length=MAX_LABELS, description="default: the categories of the curated set"
    )
    templates: list[Template] | None = Field(
        None, min_length=1, max_length=MAX_TEMPLATES, description="prompts with one {} for the label; averaged"
    )
    top: int = Field(5, ge=1, le=MAX_LABELS, description="how many labels to answer, best first")


def _one_of_text_and_image(schema: dict[str, Any]) -> None:
    fields = schema["properties"]
    for name in ("text", "image"):
        [kind] = [one for one in fields[name].pop("anyOf") if one["type"] != "null"]
        fields[name] = kind | {"description": fields[name].get("description") or kind["description"]}
    schema["oneOf"] = [{"required": ["text"]}, {"required": ["image"]}]


class Query(Input):
    model_config = ConfigDict(json_schema_extra=_one_of_text_and_image)
    picture_field: ClassVar[str | None] = "image"
    text: Text | None = Field(None, description="what to look for; or give an image")
    image: Picture | None = None
    k: int = Field(12, ge=1, le=MAX_RESULTS, description="how many pictures to answer, best first")
    exact: bool = Field(False, description="compare with every picture instead of walking the approximate index")

    @model_validator(mode="after")
    def _one_query(self) -> Self:
        if (self.text is None) == (self.image is None):
            raise ValueError('give either "text" or "image"')
        return self


class Nothing(Input):
    pass


class ItemError(BaseModel):
    status: int = Field(description="413 too big, 422 not an image or text, 500 the model failed on it")
    reason: str


class Embedding(BaseModel):
    vector: list[float] | None = Field(description="unit norm; null if this item failed")
    error: ItemError | None = Field(None, description="why this item has no vector; its neighbours still have theirs")


class Embeddings(bentoml.IODescriptor):
    """One result an item, in order. The status is 200 if any item has a vector, else the first item's."""

    results: list[Embedding]
    dimensions: int

    @classmethod
    async def to_http_response(cls, obj: Sequence[Mapping[str, Any]], serde: Any) -> Response:
        """`obj` is this request's share of a batch: one `{"vector", "error"}` an item."""
        results = list(obj)
        good = [result for result in results if result["error"] is None]
        if not good:
            first = results[0]["error"]
            return JSONResponse({"error": first["reason"], "results": results}, first["status"])
        parts = []
        for result in results:
            parts.append(json.dumps(result))
            await asyncio.sleep(0)  # a large answer is written while others are heard
        return Response(
            f'{{"results": [{", ".join(parts)}], "dimensions": {len(good[0]["vector"])}}}',
            media_type="application/json",
        )


class Score(BaseModel):
    text: str
    cosine: float = Field(description="in [-1, 1]; higher fits better")


class Scores(bentoml.IODescriptor):
    scores: list[Score]


class LabelScore(BaseModel):
    label: str
    probability: float = Field(description="softmax of the cosines at the model's temperature, over all labels")
    cosine: float


class Classes(bentoml.IODescriptor):
    labels: list[LabelScore]
    templates: list[str]


class Item(BaseModel):
    n: int = Field(description="number in the index")
    key: str
    score: float = Field(description="cosine to the query")
    caption: str
    captions: list[dict[str, Any]] = Field(description="every text the picture came with: source, text, lang")
    category: str | None
    licence: str | None
    author: str | None
    origin: str | None
    thumbnail: str = Field(description="path of a JPEG of at most 160 px on this server")


class Found(bentoml.IODescriptor):
    items: list[Item]
    exact: bool = Field(description="whether every picture was compared")
    recall_at_10: float | None = Field(description="measured recall of the approximate index; null if exact")
    searched: int = Field(description="pictures in the index")
    milliseconds: float


class Lineage(bentoml.IODescriptor):
    bento: str
    model: dict[str, Any] | None = Field(description="the dual encoder; null where a captioner alone is served")
    captioner: dict[str, Any] | None = Field(description="with its tower, and the controls it was taught")
    index: dict[str, Any] | None
    receipt: dict[str, Any] = Field(description="frozen when the Bento was built: data, recipe, commit, lock, gates")
