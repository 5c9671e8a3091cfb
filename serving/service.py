"""The service: a dual encoder and its search index, a captioner, or both; seven questions.

    embed_text  embed_image     vectors, batched across requests; a bad item leaves the others answered
    score                       how well texts fit a picture
    classify                    zero-shot, with prompt templates
    search                      the curated set, by text or picture
    caption                     what a picture shows, told token by token
    lineage                     what is being served, and what made it

It runs from a Bento's own files (`bento.json`, `receipt.json` and `index/` beside this package; the
model in the Bento's store) and needs no registry, no dataset and no network.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import bentoml
import numpy as np
from bentoml.metrics import Histogram

from pairwright.components.environment import silence, usable_cores
from pairwright.components.errors import ModelError
from pairwright.components.guard import Guard, api_key, names_of
from pairwright.components.hashing import canonical, sha256_text
from pairwright.serving import caption_wire, wire
from pairwright.serving.controls import Controls
from pairwright.serving.encoder import TEXT_BATCH, Encoder
from pairwright.serving.generation import Generation
from pairwright.serving.intake import Intake
from pairwright.serving.limits import Refusal, check_total
from pairwright.serving.packaging import HOST_VARIABLE
from pairwright.serving.protocol import refuse_in_json
from pairwright.serving.receipt import publishable
from pairwright.serving.routes import PAGES
from pairwright.serving.turns import Turns
from pairwright.serving.web import QuietRefusals, web_app

silence()

ROOT = Path(__file__).parents[2]
FACTS: dict[str, Any] = json.loads((ROOT / "bento.json").read_text()) if (ROOT / "bento.json").is_file() else {}
INDEX_VARIABLE = "PAIRWRIGHT_INDEX"  # a mounted index folder; stands before the Bento's own
TIMEOUT_S = 60  # of a request, from its head to its answer; then 504, and its work is let go of
# Texts a batch; 1 answers each request by itself (benchmarks/serving_throughput.py compares the two).
MOST_IN_BATCH = int(os.environ.get("PAIRWRIGHT_MAX_BATCH", TEXT_BATCH))
SHOWN = set(wire.Item.model_fields)
NO_ENCODER = "this server holds no dual encoder; start one with `pairwright serve` and a champion"
NO_CAPTIONER = "this server holds no captioner; start one with `pairwright serve --captioner FOLDER`"
DIGITS = 7  # of each vector element: float32 has no more

WEB = web_app()
logger = logging.getLogger("bentoml.pairwright")
logging.getLogger("bentoml._internal.server.http_app").addFilter(QuietRefusals())
refuse_in_json()
BATCHES = Histogram("pairwright_batch_size", "Items a batch of the model", ["queue"], buckets=(1, 2, 4, 8, 16, 32, 64))


class Question(NamedTuple):
    """One search: a unit vector (d,), how many pictures, and whether every one is compared."""

    vector: np.ndarray
    k: int
    exact: bool


@bentoml.asgi_app(WEB, path="/")
@bentoml.service(
    name="pairwright",
    traffic={"timeout": TIMEOUT_S},
    logging={"access": {"request_content_type": False}},  # BentoML's log fails on one that is not ASCII
    threads=4,
    workers=int(os.environ.get("PAIRWRIGHT_SERVE_WORKERS", "1")),
)
class Pairwright:
    """Embeds, scores, classifies and searches pictures and texts with a dual encoder; captions with a captioner."""

    if FACTS.get("model"):
        stored = bentoml.models.BentoModel(FACTS["model"])
    if FACTS.get("captioner"):
        stored_captioner = bentoml.models.BentoModel(FACTS["captioner"])

    def __init__(self) -> None:
        from pairwright.serving.captioning import Captioning
        from pairwright.serving.index import SearchIndex

        started = time.perf_counter()
        if not FACTS:
            raise ModelError(f"{ROOT} is no Bento; `pairwright run` a recipe, then `pairwright serve`")
        device = os.environ.get("PAIRWRIGHT_DEVICE", "auto")
        self.held = Encoder(self.stored.path, device, MOST_IN_BATCH, _observe) if FACTS["model"] else None
        self.captioning = Captioning(self.stored_captioner.path, device) if FACTS.get("captioner") else None
        self.searches = Turns[Question, wire.Found]("search", self._answer_searches, workers=usable_cores())
        folder = os.environ.get(INDEX_VARIABLE) or (ROOT / "index" if FACTS["index_inside"] else FACTS["index"])
        self.index = SearchIndex.load(folder) if folder else None
        self.index_version = sha256_text(canonical(self.index.about))[:12] if self.index else ""
        self._check_index()
        self.receipt = publishable(json.loads((ROOT / "receipt.json").read_text()))
        self._warm_up()
        threading.Thread(target=_follow, args=[os.getppid()], name="follow", daemon=True).start()
        WEB.state.service = self
        logger.info("serving %s from %s in %.1f s", self.bento_tag, ROOT, time.perf_counter() - started)

    def _warm_up(self) -> None:
        """The first forward passes may make graphs, the first search opens files; no caller should wait for them."""
        if self.captioning:
            self.captioning.warm_up()
        if self.held is None:
            return
        model = self.held.model
        model.encode_image(np.zeros((1, model.image_size, model.image_size, 3), np.uint8))
        vectors = model.encode_text(["warm up"]).numpy()
        if self.index:
            self.index.search(vectors, 1)

    def _check_index(self) -> None:
        """Vectors of one model mean nothing to another."""
        made_by = self.index.about["model_digest"] if self.index else ""
        if made_by and made_by != FACTS["model_digest"]:
            raise ModelError(
                f"the index was made by model {made_by[:12]}, this Bento holds {str(FACTS['model_digest'])[:12]}; "
                f"point {INDEX_VARIABLE} at the index of this model"
            )

    @property
    def encoder(self) -> Encoder:
        """The dual encoder.

        Raises:
            Refusal: 404 where a captioner alone is served.
        """
        if self.held is None:
            raise Refusal(404, NO_ENCODER)
        return self.held

    @property
    def controls(self) -> Controls | None:
        """What the captioner can be told; None where there is none."""
        return self.captioning.controls if self.captioning else None

    @property
    def bento_tag(self) -> str:
        return str(FACTS.get("bento", "pairwright"))

    @bentoml.api(input_spec=wire.Texts, output_spec=wire.Embeddings)
    async def embed_text(self, texts: list[str]) -> list[dict[str, Any]]:
        """Unit vectors of texts. Requests that arrive together share a batch; a bad text fails alone."""
        check_total(texts)
        return [_result(outcome) for outcome in await self.encoder.texts(texts)]

    @bentoml.api(input_spec=wire.Images, output_spec=wire.Embeddings)
    async def embed_image(self, images: list[str | bytes]) -> list[dict[str, Any]]:
        """Unit vectors of pictures. Requests that arrive together share a batch; a bad picture fails alone."""
        return [_result(outcome) for outcome in await self.encoder.images(images)]

    @bentoml.api(input_spec=wire.Pair, output_spec=wire.Scores)
    async def score(self, image: str | bytes, texts: list[str]) -> wire.Scores:
        """How well each text fits the picture: the cosine of their vectors."""
        check_total(texts)
        picture = await self.encoder.image(image)
        cosines = await self.encoder.all_texts(texts) @ picture
        return wire.Scores(
            scores=[
                wire.Score(text=text, cosine=round(float(cosine), DIGITS))
                for text, cosine in zip(texts, cosines, strict=True)
            ]
        )

    @bentoml.api(input_spec=wire.Classify, output_spec=wire.Classes)
    async def classify(
        self, image: str | bytes, labels: list[str] | None, templates: list[str] | None, top: int
    ) -> wire.Classes:
        """Which label fits the picture best, without training for it; by default the curated set's categories."""
        labels = list(dict.fromkeys(labels or self._categories()))
        templates = templates or FACTS["templates"]
        cosines, odds = await self.encoder.classify(image, labels, templates)
        best = np.argsort(-cosines, kind="stable")[:top]
        return wire.Classes(
            labels=[
                wire.LabelScore(
                    label=labels[i], probability=round(float(odds[i]), 6), cosine=round(float(cosines[i]), DIGITS)
                )
                for i in best
            ],
            templates=templates,
        )

    def _categories(self) -> list[str]:
        categories = list(self.index.about["categories"]) if self.index else []
        if not categories:
            raise Refusal(422, 'the curated set has no categories; give "labels"')
        return categories

    @bentoml.api(input_spec=wire.Query, output_spec=wire.Found)
    async def search(self, text: str | None, image: str | bytes | None, k: int, exact: bool) -> wire.Found:
        """The curated pictures nearest to a text or a picture, with captions, licence and origin."""
        encoder = self.encoder
        if self.index is None:
            raise Refusal(422, f"this server has no search index; set {INDEX_VARIABLE} to an index folder")
        started = time.perf_counter()
        query = await (encoder.text(text) if text is not None else encoder.image(image or b""))
        [found] = await self.searches.ask([Question(query, k, exact)])
        found.milliseconds = round(1000 * (time.perf_counter() - started), 2)
        return found

    def _answer_searches(self, questions: list[Question]) -> list[wire.Found]:
        return [self._found(question) for question in questions]

    def _found(self, question: Question) -> wire.Found:
        assert self.index is not None
        exact = question.exact or not self.index.approximate
        hits = self.index.search(question.vector[None], question.k, exact)
        items = [
            wire.Item(
                n=int(number),
                score=round(float(score), DIGITS),
                thumbnail=f"/thumbnails/{number}.jpg?v={self.index_version}",
                **{name: value for name, value in self.index.item(int(number)).items() if name in SHOWN},
            )
            for number, score in zip(hits.items[0], hits.scores[0], strict=True)
        ]
        return wire.Found(
            items=items,
            exact=exact,
            recall_at_10=None if exact else self.index.about["approximate"]["recall_at_10"],
            searched=len(self.index),
            milliseconds=0,
        )

    @bentoml.api(input_spec=caption_wire.Caption, output_spec=caption_wire.Captions)
    async def caption(self, image: str | bytes, **controls: Any) -> tuple[Generation, bool]:
        """What the picture shows, as the captioner says it under these controls; by default token by token."""
        if self.captioning is None:
            raise Refusal(404, NO_CAPTIONER)
        wish = caption_wire.Caption.model_construct(image=image, **controls)
        return await self.captioning.begin(image, wish), wish.stream

    @bentoml.api(input_spec=wire.Nothing, output_spec=wire.Lineage)
    async def lineage(self) -> wire.Lineage:
        """What is being served: the Bento, its model, its index, and the receipt of what made them."""
        return wire.Lineage(**self.what_is_served())

    def what_is_served(self) -> dict[str, Any]:
        about = {name: value for name, value in self.index.about.items() if name != "tars"} if self.index else None
        return {
            "bento": self.bento_tag,
            "model": {"tag": FACTS["model"], "digest": FACTS["model_digest"]} if self.held else None,
            "captioner": self._captioner(),
            "index": publishable(about),
            "receipt": self.receipt,
        }

    def _captioner(self) -> dict[str, Any] | None:
        if self.controls is None:
            return None
        tower = publishable(FACTS["tower"])
        told = {"tag": FACTS["captioner"], "digest": FACTS["captioner_digest"], "tower": tower}
        return told | {"controls": self.controls.model_dump()}


def _observe(queue: str, size: int) -> None:
    BATCHES.labels(queue).observe(size)


def _result(outcome: np.ndarray | Refusal) -> dict[str, Any]:
    if isinstance(outcome, Refusal):
        return {"vector": None, "error": {"status": outcome.status, "reason": outcome.reason}}
    return {"vector": _rounded(outcome), "error": None}


def _rounded(vector: np.ndarray) -> Sequence[float]:
    rounded: list[float] = np.round(vector.astype(np.float64), DIGITS).tolist()
    return rounded


def _follow(parent: int) -> None:
    """End this worker when the server that started it is gone, however it went: nothing stays on the port."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)  # what is under way is answered
    time.sleep(5)
    os._exit(1)


NAMES = names_of(os.environ.get(HOST_VARIABLE, "0.0.0.0"))
# The decorator made it a Service. The first is the outermost.
Pairwright.add_asgi_middleware(Guard, names=NAMES, key=api_key(), pages=PAGES)  # type: ignore[attr-defined]
Pairwright.add_asgi_middleware(Intake)  # type: ignore[attr-defined]
