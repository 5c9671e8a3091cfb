"""What the service takes and what it refuses, with the reason a caller reads.

413 is for what is too big, 422 for what is not what it should be, 429 for what comes while too much is
under way. In the embedding routes a refusal belongs to one item and leaves its neighbours answered.

Every limit is checked before its cost is paid: bytes and structure of a body as they arrive, products of
lists by their lengths, pictures by their headers.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from http import HTTPStatus

import numpy as np
from bentoml.exceptions import BentoMLException

MIB = 1 << 20
MAX_IMAGE_BYTES = 10 * MIB
MAX_IMAGE_PIXELS = 64_000_000
MAX_IMAGE_SECONDS = 5.0  # of decoding, estimated from the header
QUICK_IMAGE_SECONDS = 0.25  # what takes longer waits in a queue of its own
MAX_IMAGES = 16  # in one request
MAX_TEXTS = 256
MAX_TEXT_CHARS = 4096  # towers read far less; longer is a mistake rather than a caption
MAX_TOTAL_CHARS = 1 << 18  # of all texts, or of all prompts, of one request
MAX_LABELS = 1000
MAX_TEMPLATES = 32
MAX_PROMPT_PART_CHARS = 256  # of a label, of a template
MAX_PROMPTS = 4096  # labels x templates
MAX_RESULTS = 100
MAX_CAPTIONS = 8  # of a picture, in one request
MAX_BEAMS = 16
MAX_CAPTION_TOKENS = 256
MAX_FORBIDDEN = 16  # strings
MAX_STRING_CHARS = 64  # of each
MAX_GENERATIONS = 8  # requests whose captions are being said, in one process
MAX_KEYS = 32  # of a request's object
MAX_KEY_CHARS = 100

MAX_BODY_BYTES = 64 * MIB  # of pictures: base64 adds a third
MAX_TEXT_BODY_BYTES = 4 * MIB  # where no picture is sent: MAX_TOTAL_CHARS, each at its longest escaped form
MAX_STRUCTURE = MAX_TOTAL_CHARS + 4 * MAX_PROMPTS  # brackets, colons and commas of a JSON body, those in texts included
MAX_HELD_BYTES = 256 * MIB  # of all bodies under way in one process
MAX_OPEN = 512  # requests under way in one process, those still arriving included
MAX_WAITING = 256  # requests in one queue
MAX_WAIT_S = 5  # while a request has waited longer for its turn, no other is let in
MAX_BULK = 2  # requests of more than BULK_ABOVE items in one queue
BULK_ABOVE = MAX_TEXTS
RETRY_AFTER_S = 2
LONGEST_REASON = 500  # characters

DECODE_REASONS = {
    "empty": "the image is empty (0 bytes)",
    "not_an_image": "this is not an image; send JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF",
    "truncated": "the image is cut short; send the whole file",
    "corrupt": "the image is damaged and cannot be decoded",
    "unsupported": "this kind of pixel (floating point) is not taken; send 8 or 16 bits a channel",
}


class Refusal(BentoMLException):
    """A request, or one item of it, that is not taken: an HTTP status and a one-line reason.

    The reason may quote what was sent, so it is made one line of text whatever that was.
    """

    def __init__(self, status: int, reason: str) -> None:
        reason = " ".join(reason[:LONGEST_REASON].encode("utf-8", "backslashreplace").decode().split())
        super().__init__(reason, error_code=HTTPStatus(status))
        self.status = status
        self.reason = reason


def check_text(text: str) -> str:
    """The text.

    Raises:
        Refusal: 422 for an empty one or one that is no text, 413 for more than MAX_TEXT_CHARS characters.
    """
    if not text.strip():
        raise Refusal(422, "the text is empty")
    if len(text) > MAX_TEXT_CHARS:
        raise Refusal(413, f"the text has {len(text)} characters; at most {MAX_TEXT_CHARS} are taken")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise Refusal(422, f"the text holds half a character (\\u{code:04x}); send whole ones") from None
    return text


def check_total(texts: Sequence[str]) -> None:
    """Nothing.

    Raises:
        Refusal: 413 for more than MAX_TOTAL_CHARS characters together.
    """
    total = sum(map(len, texts))
    if total > MAX_TOTAL_CHARS:
        raise Refusal(413, f"the texts have {total} characters together; at most {MAX_TOTAL_CHARS} are taken")


def check_prompts(labels: Sequence[str], templates: Sequence[str]) -> None:
    """Nothing; the prompts are counted and measured without being made.

    Raises:
        Refusal: 422 for a label or a template that is none, 413 where they or their product are too big.
    """
    for what, texts in (("label", labels), ("template", templates)):
        for text in texts:
            check_text(text)
            if len(text) > MAX_PROMPT_PART_CHARS:
                raise Refusal(413, f"a {what} has {len(text)} characters; at most {MAX_PROMPT_PART_CHARS} are taken")
    for template in templates:
        if template.count("{}") != 1:
            raise Refusal(422, f'the template "{template}" has {template.count("{}") or "no"} {{}} for the label; one')
    product = len(labels) * len(templates)
    if product > MAX_PROMPTS:
        sizes = f"{len(labels)} labels times {len(templates)} templates"
        raise Refusal(413, f"{sizes} are {product} prompts; at most {MAX_PROMPTS} are taken")
    total = len(templates) * sum(map(len, labels)) + len(labels) * sum(len(template) - 2 for template in templates)
    if total > MAX_TOTAL_CHARS:
        raise Refusal(413, f"the prompts have {total} characters together; at most {MAX_TOTAL_CHARS} are taken")


def image_bytes(image: str | bytes) -> bytes:
    """The file's bytes, from themselves, base64 or a `data:` URL.

    Raises:
        Refusal: 413 for more than MAX_IMAGE_BYTES, 422 for what is not base64.
    """
    if isinstance(image, str):
        if image.startswith("data:"):
            image = image.partition(",")[2]
        _check_bytes(len(image) * 3 // 4 - image[-2:].count("="))
        try:
            image = base64.b64decode(image, validate=True)
        except (binascii.Error, ValueError):
            raise Refusal(422, "the image is not base64; encode the file, or send multipart/form-data") from None
    _check_bytes(len(image))
    return image


def _check_bytes(size: int) -> None:
    if size > MAX_IMAGE_BYTES:
        raise Refusal(413, f"the image has {size / MIB:.1f} MiB; at most {MAX_IMAGE_BYTES // MIB} MiB are taken")


class SlowImage(Exception):
    """A picture that may be taken, and would take longer than the seconds it was given."""


def decode_image(image: str | bytes, min_side: int, seconds: float = MAX_IMAGE_SECONDS) -> np.ndarray:
    """RGB uint8 (h, w, 3), its shorter side at least `min_side` px or the picture's own.

    Raises:
        SlowImage: judged from its header, it would take more than `seconds`, and they are fewer than the limit.
        Refusal: 413 for too many bytes or what is beyond the decoder's budget, 422 for what is no readable image.
    """
    from pairwright.components.dataset.media.decode import decode
    from pairwright.components.dataset.media.decode_budget import Budget

    budget = Budget(pixels=MAX_IMAGE_PIXELS, seconds=seconds)
    decoded = decode(image_bytes(image), min_side, budget)
    if decoded.image is not None:
        return decoded.image
    problem = (decoded.error or "").removeprefix("decode:")
    if problem.startswith("too_slow") and seconds < MAX_IMAGE_SECONDS:
        raise SlowImage
    if excess := budget.explain(problem):
        raise Refusal(413, f"the image {excess}")
    raise Refusal(422, DECODE_REASONS.get(problem, f"the image cannot be decoded ({problem})"))
