"""Settings of the text models, told apart by `uses`, and the one place that opens them."""

from __future__ import annotations

import importlib
import urllib.parse
from types import ModuleType
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from pairwright.components.models.decoding.settings import Decoding
from pairwright.components.models.text_backends.budget import Budget
from pairwright.components.models.text_backends.protocol import Rules, TextModel
from pairwright.components.settings import ModelFolder, Settings

A_SHARD = 1 << 16  # pairs that a model over a network is asked about at once, where memory is not full of pictures


class RuleTextModel(Settings):
    """Grammar rules over the evidence in the prompt. Needs no weights and no network."""

    modules: ClassVar[tuple[str, ...]] = ("pairwright.components.models.text_backends.rules",)
    at_once: ClassVar[int] = 0

    uses: Literal["rules"] = "rules"

    def open(self, device: str, rules: Rules | None = None) -> TextModel:
        return _module_of(self).RuleWriter(rules)  # type: ignore[no-any-return]


class LocalTextModel(Settings):
    """A `transformers` causal or sequence-to-sequence model from a folder, decoded greedily."""

    undigested: ClassVar[frozenset[str]] = frozenset({"batch_size"})
    modules: ClassVar[tuple[str, ...]] = ("pairwright.components.models.text_backends.local",)
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers")
    at_once: ClassVar[int] = 0

    uses: Literal["local"]
    model: ModelFolder
    max_new_tokens: int = Field(64, ge=1, le=4096, description="tokens")
    batch_size: int = Field(8, ge=1, description="prompts decoded together")

    def open(self, device: str, rules: Rules | None = None) -> TextModel:
        return _module_of(self).LocalModel(self, device)  # type: ignore[no-any-return]


class StudentTextModel(Settings):
    """A small model that has learnt of another's answers, by the task `fusion_student`. It reads evidence alone."""

    modules: ClassVar[tuple[str, ...]] = ("pairwright.components.models.text_backends.student",)
    libraries: ClassVar[tuple[str, ...]] = ("torch",)
    at_once: ClassVar[int] = 0

    uses: Literal["student"]
    model: ModelFolder
    decoding: Decoding = Decoding(search="beam", beams=3, twice_running=True)

    def open(self, device: str, rules: Rules | None = None) -> TextModel:
        return _module_of(self).StudentModel(self, device)  # type: ignore[no-any-return]


class OpenAITextModel(Settings):
    """An OpenAI-compatible `/chat/completions` endpoint.

    The digest holds what is asked (model, revision, sampling, budget), not where or how fast. The key
    is read from the environment variable `api_key_env`, and is in no digest, log, cache or message.
    """

    undigested: ClassVar[frozenset[str]] = frozenset(
        {
            *("url", "api_key_env", "cache", "concurrency", "retries", "timeout_s", "first_wait_s", "longest_wait_s"),
            *("give_up_after", "on_failure", "on_budget", "requests_per_minute", "tokens_per_minute"),
        }
    )
    modules: ClassVar[tuple[str, ...]] = ("pairwright.components.models.text_backends.openai",)
    at_once: ClassVar[int] = A_SHARD

    uses: Literal["openai"]
    url: str = Field(description="base address, with its /v1")
    model: str
    revision: str = Field("", description="tells two servers' models of one name apart")
    temperature: float = Field(0.0, ge=0, le=2)
    seed: int | None = 0
    max_new_tokens: int = Field(96, ge=1, le=8192, description="tokens")
    max_requests: int | None = Field(None, ge=0, description="answers to pay for in this workspace; None: no limit")
    max_tokens: int | None = Field(None, ge=0, description="prompt and answer tokens to pay for; None: no limit")
    max_money: float | None = Field(None, ge=0, description="money to pay, in what the prices are in; None: no limit")
    prompt_price: float = Field(0.0, ge=0, description="money for a million tokens of prompts")
    completion_price: float = Field(0.0, ge=0, description="money for a million tokens of answers")
    on_budget: Literal["fall_back", "stop"] = Field("fall_back", description="keep the original caption, or stop")
    on_failure: Literal["fall_back", "stop"] = "fall_back"
    give_up_after: int = Field(20, ge=1, description="prompts in a row without an answer that end the job")
    concurrency: int = Field(8, ge=1, le=256, description="requests in flight in each worker")
    requests_per_minute: float | None = Field(None, gt=0, description="of all workers of a machine; None: no limit")
    tokens_per_minute: float | None = Field(None, gt=0, description="of prompts and answers, likewise")
    retries: int = Field(5, ge=0, le=20)
    timeout_s: float = Field(60.0, gt=0, description="seconds for one answer, from its first byte to its last")
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

    @model_validator(mode="after")
    def _money_has_a_price(self) -> Self:
        if self.max_money is not None and not (self.prompt_price or self.completion_price):
            raise ValueError("max_money says nothing without prompt_price and completion_price, for a million tokens")
        return self

    @property
    def asked(self) -> dict[str, Any]:
        """What every prompt is asked with; an answer is known by it and by its prompt."""
        names = ("model", "revision", "temperature", "seed")
        return {name: getattr(self, name) for name in names} | {"max_tokens": self.max_new_tokens}

    @property
    def budget(self) -> Budget:
        return Budget(self.max_requests, self.max_tokens, self.max_money, self.prompt_price, self.completion_price)

    def open(self, device: str, rules: Rules | None = None) -> TextModel:
        return _module_of(self).OpenAIModel(self)  # type: ignore[no-any-return]


class OpenAIBatchTextModel(OpenAITextModel):
    """The same, asked by the provider's batches (`/files`, `/batches`): cheaper, and answered within a day.

    Prompts of one shard are one batch; a killed job finds its batch again and submits none twice.
    """

    undigested: ClassVar[frozenset[str]] = OpenAITextModel.undigested | {"poll_s", "largest_batch", "transfer_s"}
    modules: ClassVar[tuple[str, ...]] = ("pairwright.components.models.text_backends.openai_batch",)

    uses: Literal["openai_batch"]  # type: ignore[assignment]
    poll_s: float = Field(30.0, gt=0, description="seconds between looks at a batch")
    largest_batch: int = Field(50_000, ge=1, description="prompts of a batch")
    transfer_s: float = Field(600.0, gt=0, description="seconds for a batch's file, either way")

    def open(self, device: str, rules: Rules | None = None) -> TextModel:
        return _module_of(self).OpenAIBatchModel(self)  # type: ignore[no-any-return]


AnyTextModel = RuleTextModel | LocalTextModel | StudentTextModel | OpenAITextModel | OpenAIBatchTextModel
TextModelSettings = Annotated[AnyTextModel, Field(discriminator="uses")]


def open_text_model(settings: AnyTextModel, device: str = "cpu", rules: Rules | None = None) -> TextModel:
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
