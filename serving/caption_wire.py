"""The route `caption` over the wire: its controls, and its answer, token by token or as a whole.

    curl -N HOST/caption -F image=@cat.jpg -F search=nucleus -F captions=2 -F guidance=2
    curl    HOST/caption -F image=@cat.jpg -F box=0,0,0.5,1 -F stream=false

Streamed it is server-sent events (`text/event-stream`): `token` as each is said, `caption` as each is whole, then one
`done`, which holds all that the answer without a stream does; or one `error`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import bentoml
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, WithJsonSchema
from starlette.responses import JSONResponse, Response, StreamingResponse

from pairwright.serving.generation import DONE, ERROR
from pairwright.serving.limits import (
    MAX_BEAMS,
    MAX_CAPTION_TOKENS,
    MAX_CAPTIONS,
    MAX_FORBIDDEN,
    MAX_PROMPT_PART_CHARS,
    MAX_STRING_CHARS,
    MAX_TEXT_CHARS,
)
from pairwright.serving.wire import Input, Picture, words

if TYPE_CHECKING:
    from pairwright.serving.generation import Event, Generation

EVENTS = "text/event-stream"
STREAMED = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # a proxy must not keep it until it is whole
# As columns hold boxes, so that a picture of any size has the same. That x0 < x1 and y0 < y1 no schema can say.
BOX: dict[str, Any] = {"type": "array", "format": "box", "minItems": 4, "maxItems": 4}
BOX |= {"items": {"type": "number", "minimum": 0, "maximum": 1}}


def _four(value: Any) -> Any:
    """What are to be four numbers: a list, or as a form or an address may have them, one text with commas."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        value = value[0]
    parts = value.split(",", 4) if isinstance(value, str) else value
    if not isinstance(parts, list) or len(parts) != 4:
        raise ValueError("give four numbers: x0, y0, x1, y1")
    return parts


def _within(box: list[float]) -> list[float]:
    x0, y0, x1, y1 = box
    if not all(0 <= one <= 1 for one in box):
        raise ValueError("it goes beyond the picture; x0, y0, x1, y1 are shares of its width and height, from 0 to 1")
    if not (x0 < x1 and y0 < y1):
        raise ValueError("it is empty; x0 must be less than x1, and y0 less than y1")
    return box


Box = Annotated[list[float], BeforeValidator(_four), AfterValidator(_within), WithJsonSchema(BOX)]


class Caption(Input):
    picture_field: ClassVar[str | None] = "image"
    image: Picture
    search: Literal["greedy", "beam", "nucleus", "diverse"] = Field(
        "greedy", description="how words are chosen; beam and diverse tell all captions at the end"
    )
    captions: int = Field(1, ge=1, le=MAX_CAPTIONS, description="how many; greedy has only one to give")
    beams: int = Field(4, ge=1, le=MAX_BEAMS, description="of search beam; as many as captions at least")
    diversity: float = Field(
        0.5, ge=0, le=100, description="of search diverse: nats a word loses where another says it"
    )
    top_p: float = Field(0.9, ge=0.01, le=1, description="of search nucleus: the probability it holds")
    temperature: float = Field(1.0, ge=0.05, le=10, description="of search nucleus")
    guidance: float = Field(
        1.0, ge=0, le=20, description="1 is none; above it captions keep closer to the picture, at 0 they ignore it"
    )
    least: int = Field(0, ge=0, le=MAX_CAPTION_TOKENS, description="tokens before a caption may end")
    most: int = Field(MAX_CAPTION_TOKENS, ge=1, le=MAX_CAPTION_TOKENS, description="tokens of a caption")
    length: int | None = Field(None, ge=1, le=MAX_CAPTION_TOKENS, description="words a caption should have")
    level: int | None = Field(None, ge=0, le=127, description="how well it should fit; the best if unsaid, 0 is none")
    prompt: Annotated[str, words(MAX_TEXT_CHARS)] | None = Field(None, description="words told first, e.g. a question")
    user: Annotated[str, words(MAX_TEXT_CHARS)] | None = Field(
        None, description="words that whoever it is written for is known by, as it was taught them"
    )
    language: str | None = Field(
        None, min_length=1, max_length=MAX_STRING_CHARS, description="BCP 47; its first one if unsaid"
    )
    format: str | None = Field(
        None, min_length=1, max_length=MAX_PROMPT_PART_CHARS, description="a kind of caption; its first one if unsaid"
    )
    box: Box | None = Field(
        None,
        description="the part of the picture to speak of: x0, y0, x1, y1 as shares of its width and height, from the "
        "upper left of the picture as it is seen; x0 < x1, y0 < y1",
    )
    forbidden: list[Annotated[str, words(MAX_STRING_CHARS)]] | None = Field(
        None, min_length=1, max_length=MAX_FORBIDDEN, description="strings no caption holds, within a word as well"
    )
    include: Annotated[str, words(MAX_PROMPT_PART_CHARS)] | None = Field(
        None, description="a string each caption must hold; where it cannot be said a note tells so"
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="of search nucleus: the same one draws the same captions")
    stream: bool = Field(True, description="tell tokens as they are said, as server-sent events")


class CaptionText(BaseModel):
    text: str = Field(description="empty where the captioner has nothing to say")
    note: str | None = Field(None, description="string_not_known: what it had to hold it cannot say")


class Captions(bentoml.IODescriptor):
    captions: list[CaptionText] = Field(description="of a search the best first; of diverse a group each")
    milliseconds: float

    @classmethod
    async def to_http_response(cls, obj: tuple[Generation, bool], serde: Any) -> Response:
        """`obj`: the captions in the making, and whether they are streamed; what failed is 500, what took long 504."""
        generation, stream = obj
        if stream:
            return StreamingResponse(_written(generation), media_type=EVENTS, headers=STREAMED)
        async for event in generation.events():
            if event.name == ERROR:
                return JSONResponse({"error": event.data["error"]}, event.data["status"])
            if event.name == DONE:
                break
        return JSONResponse(event.data)


async def _written(generation: Generation) -> AsyncIterator[str]:
    async for event in generation.events():
        yield line_of(event)


def line_of(event: Event) -> str:
    """An event as it is sent: its name, and its data as JSON on one line."""
    return f"event: {event.name}\ndata: {json.dumps(event.data)}\n\n"
