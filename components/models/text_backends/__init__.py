"""Text models behind one protocol: prompts in, one completion a prompt out, in order.

    text_model: {uses: rules}                                        deterministic, offline, the default
    text_model: {uses: local, model: ./my-llm}                       a transformers folder
    text_model: {uses: student, model: "step:student"}               learnt of another's answers (fusion_student)
    text_model: {uses: openai, url: http://host/v1, model: my-llm}   any OpenAI-compatible server
    text_model: {uses: openai_batch, url: ..., model: ...}           the same by the provider's batches

A completion that could not be had is not an exception but a reason (`problem`), so that a million
captions do not fall over one; only what would spoil all of them raises `TextModelError`.
"""

from __future__ import annotations

from pairwright.components.models.text_backends.protocol import Completion, TextModel
from pairwright.components.models.text_backends.settings import (
    AnyTextModel,
    LocalTextModel,
    OpenAIBatchTextModel,
    OpenAITextModel,
    RuleTextModel,
    StudentTextModel,
    TextModelSettings,
    open_text_model,
)

__all__ = [
    "AnyTextModel",
    "Completion",
    "LocalTextModel",
    "OpenAIBatchTextModel",
    "OpenAITextModel",
    "RuleTextModel",
    "StudentTextModel",
    "TextModel",
    "TextModelSettings",
    "open_text_model",
]
