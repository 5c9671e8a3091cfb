"""What the service takes and what it refuses, with the reason a caller reads.

413 is for what is too big, 422 for what is not what it should be. In the embedding routes a refusal
belongs to one item and leaves its neighbours answered.
"""

from __future__ import annotations

import base64
import binascii
from http import HTTPStatus

import numpy as np
from bentoml.exceptions import BentoMLException

MIB = 1 << 20
MAX_IMAGE_BYTES = 10 * MIB
MAX_IMAGE_PIXELS = 64_000_000
MAX_IMAGE_SECONDS = 5.0  # of decoding, estimated from the header
MAX_BODY_BYTES = 64 * MIB  # of a whole request: base64 adds a third
MAX_IMAGES = 16  # in one request
MAX_TEXTS = 256
MAX_TEXT_CHARS = 4096  # towers read far less; longer is a mistake rather than a caption
MAX_LABELS = 1000
MAX_RESULTS = 100

DECODE_REASONS = {
    "empty": "the image is empty (0 bytes)",
    "not_an_image": "this is not an image; send JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF",
    "truncated": "the image is cut short; send the whole file",
    "corrupt": "the image is damaged and cannot be decoded",
    "unsupported": "this kind of pixel (floating point) is not taken; send 8 or 16 bits a channel",
}


class Refusal(BentoMLException):
    """A request, or one item of it, that is not taken: an HTTP status and a one-line reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason, error_code=HTTPStatus(status))
        self.status = status
        self.reason = reason


def check_text(text: str) -> str:
    """The text.

    Raises:
        Refusal: 422 for an empty one, 413 for more than MAX_TEXT_CHARS characters.
    """
    if not text.strip():
        raise Refusal(422, "the text is empty")
    if len(text) > MAX_TEXT_CHARS:
        raise Refusal(413, f"the text has {len(text)} characters; at most {MAX_TEXT_CHARS} are taken")
    return text


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


def decode_image(image: str | bytes, min_side: int) -> np.ndarray:
    """RGB uint8 (h, w, 3), its shorter side at least `min_side` px or the picture's own.

    Raises:
        Refusal: 413 for too many bytes or what is beyond the decoder's budget, 422 for what is no readable image.
    """
    from components.dataset.decode import decode
    from components.dataset.decode_budget import Budget

    budget = Budget(pixels=MAX_IMAGE_PIXELS, seconds=MAX_IMAGE_SECONDS)
    decoded = decode(image_bytes(image), min_side, budget)
    if decoded.image is not None:
        return decoded.image
    problem = (decoded.error or "").removeprefix("decode:")
    if excess := budget.explain(problem):
        raise Refusal(413, f"the image {excess}")
    raise Refusal(422, DECODE_REASONS.get(problem, f"the image cannot be decoded ({problem})"))
