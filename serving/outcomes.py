"""What comes of an item: its result, or the reason there is none. One bad item never fails its neighbours."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from pairwright.serving.limits import Refusal, SlowImage

T = TypeVar("T")

logger = logging.getLogger("bentoml.pairwright")


def outcome_of(function: Callable[..., T], *arguments: Any) -> T | Refusal:
    """What the function gives, or the refusal; a failure that is no refusal is logged and refused as one of ours."""
    try:
        return function(*arguments)
    except Refusal as refusal:
        return refusal
    except SlowImage:
        raise
    except Exception as error:
        logger.exception("an item failed")
        return Refusal(500, f"the model failed on this item ({type(error).__name__})")


def result_of(outcome: T | Refusal) -> T:
    """The result.

    Raises:
        Refusal: there is none.
    """
    if isinstance(outcome, Refusal):
        raise outcome
    return outcome
