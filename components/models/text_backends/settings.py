"""Settings of the three text models, told apart by `uses`, and the one place that opens them."""

from __future__ import annotations

import importlib
import urllib.parse
from types import ModuleType
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from pairwright.components.models.text_backends.protocol import Rules, TextModel
from pairwright.components.settings import ModelFolder, Settings


class RuleTextModel(Settings):
    """Grammar rules over the evidence in the prompt. Needs no weights and no network."""

    modules: ClassVar[tuple[str, ...]] = ("pairwright.components.models.text_backends.rules",)

    uses: Literal["rules"] = "rules"

    def open(self, device: str, rules: Rules | None = None) -> TextModel:
        return _module_of(self).RuleWriter(rules)  # type: ignore[no-any-return]


class LocalTextModel(Settings):
    """A `transformers` causal or sequence-to-sequence model from a folder, decoded greedily."""

    undigested: ClassVar[frozenset[str]] = frozenset({"batch_size"})
    modules: ClassVar[tuple[str, ...]] = ("pairwright.components.models.text_backends.local",)
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers")

    uses: Literal["local"]
    model: ModelFolder
    max_new_tokens: int = Field(64, ge=1, le=4096, description="tokens")
    batch_size: int = Field(8, ge=1, description="prompts decoded together")

    def open(self, device: str, rules: Rules | None = None) -> TextModel:
        return _module_of(self).LocalModel(self, device)  # type: ignore[no-any-return]


class OpenAITextModel(Settings):
    """An OpenAI-compatible `/chat/completions` endpoint.

    The digest holds what is asked (model, revision, sampling, budget), not where or how fast. The key
    is read from the environment variable `api_key_env`, and is in no digest, log, cache or message.
    """

    undigested: ClassVar[frozenset[str]] = frozenset(
        {
            *("url", "api_key_env", "cache", "concurrency", "retries", "timeout_s", "first_wait_s", "longest_wait_s"),
            *("give_up_after", "on_failure", "on_budget"),
        }
    )
    modules: ClassVar[tuple[str, ...]] = ("pairwright.components.models.text_backends.openai",)

    uses: Literal["openai"]
    url: str = Field(description="base address, with its /v1")
    model: str
    revision: str = Field("", description="tells two servers' models of one name apart")
    temperature: float = Field(0.0, ge=0, le=2)
    seed: int | None = 0
    max_new_tokens: int = Field(96, ge=1, le=8192, description="tokens")
    max_requests: int | None = Field(None, ge=0, description="answers to pay for in this workspace; None: no limit")
    max_tokens: int | None = Field(None, ge=0, description="prompt and answer tokens to pay for; None: no limit")
    on_budget: Literal["fall_back", "stop"] = Field("fall_back", description="keep the original caption, or stop")
    on_failure: Literal["fall_back", "stop"] = "fall_back"
    give_up_after: int = Field(20, ge=1, description="prompts in a row without an answer that end the job")
    concurrency: int = Field(8, ge=1, le=256, description="requests in flight in each worker")
    retries: int = Field(5, ge=0, le=20)
    timeout_s: float = Field(60.0, gt=0, description="seconds for one answer")
    first_wait_s: float = Field(0.5, ge=0, description="seconds before the first retry; doubles each time")
    longest_wait_s: float = Field(60.0, ge=0, description="seconds; also caps a server's Retry-After")
    api_key_env: str = "PAIRWRIGHT_TEXT_API_KEY"
    cache: str | None = Field(None, description="SQLite file of answers; default <workspace>/text_answers.sqlite")

    @field_validator("url")
    @classmethod
    def _plain_address(cls, url: str) -> str:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("write it as http://host:port/v1 or https://host/v1")
        if parts.username or parts.password or parts.query:
            raise ValueError("an address must hold no key; put the key in the environment variable api_key_env names")
        return url.rstrip("/")

    def open(self, device: str, rules: Rules | None = None) -> TextModel:
        return _module_of(self).OpenAIModel(self)  # type: ignore[no-any-return]


TextModelSettings = Annotated[RuleTextModel | LocalTextModel | OpenAITextModel, Field(discriminator="uses")]


def open_text_model(
    settings: RuleTextModel | LocalTextModel | OpenAITextModel, device: str = "cpu", rules: Rules | None = None
) -> TextModel:
    """The text model these settings name, ready to answer.

    Args:
        rules: evidence -> answer, of the component that asks: what `uses: rules` goes by, "" if there is nothing to
            say. Left out, it is a fused caption (`rules.compose`).

    Raises:
        ModelError: the folder holds no text model.
        TextModelError: the answers' cache cannot be written.
    """
    return settings.open(device, rules)


def _module_of(settings: Settings) -> ModuleType:
    """The back end's module, imported by name: so it is in the digest of a step that uses it, and of no other."""
    return importlib.import_module(settings.modules[0])
