"""The labelling page's server: one page, its files, and six routes of JSON. Starlette, nothing else.

    app = labelling_app(store, dataset, read_criteria(None))

GET  /api/session                       what is labelled, the criteria, the default labeller
POST /api/next    {labeller, count}     -> {next: [serving], progress, notice: "what is left out, and why", if anything}
POST /api/answer  {labeller, token, rankings, rejected, flags, picture, seconds, skip} -> {saved, next, progress}
POST /api/undo    {labeller}            -> {undone, next, progress}
GET  /api/reliability                   agreement and consistency
GET  /pictures/ITEM.jpg

A serving holds texts in the order shown and never says which source they came from. An answer is
acknowledged after it is on the disk (components/preference/store.py); a token answered twice is kept
once, so the page may send again whatever it has no acknowledgement of. Every error is {"error": "one line"};
where an answer was kept but what is next cannot be told, that comes beside "saved", in place of next.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairwright.components.dataset.dataset import Dataset
from pairwright.components.errors import ColumnError, DatasetError, MissingDependency, PairwrightError
from pairwright.components.guard import Guard
from pairwright.components.look import LOOK
from pairwright.components.preference.answers import BadAnswer
from pairwright.components.preference.criteria import Criteria
from pairwright.components.preference.handing import Desk, Serving
from pairwright.components.preference.items import StoredItem
from pairwright.components.preference.picture import Pictures
from pairwright.components.preference.reliability import reliability
from pairwright.components.preference.store import LabelStore
from pairwright.components.web_server import BadRequest, error_handlers, json_body, whole_number

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request

PAGE = Path(__file__).parent / "page"
FILES = {"app.js": "text/javascript", "style.css": "text/css", "look.css": "text/css", "icon.svg": "image/svg+xml"}
POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; form-action 'none'; base-uri 'none'"
AHEAD = 3  # servings a page holds: one shown, two fetched
LONGEST_NAME = 64


def labelling_app(
    store: LabelStore,
    dataset: Dataset,
    criteria: Criteria,
    *,
    labeller: str = "",
    command: str = "",
    seed: int = 0,
    repeat_share: float = 0.1,
    names: Collection[str] = ("localhost",),
    key: str | None = None,
) -> Starlette:
    """The application.

    Args:
        labeller: who is labelling, until the page is told otherwise.
        command: how to use the labels, said when all is labelled.
        names: of the server (`guard.names_of`); it answers to these and to literal addresses alone.
        key: what every request must carry; None: none is asked for, and this machine alone is answered.

    Raises:
        MissingDependency: Starlette is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.responses import FileResponse, JSONResponse, Response
        from starlette.routing import Route
    except ModuleNotFoundError:
        raise MissingDependency("the page needs starlette; pip install 'pairwright[platform]'") from None

    store.remember(criteria)
    desk = LabellingDesk(
        Desk(store, [one.digest for one in dataset.shards], seed=seed, repeat_share=repeat_share),
        Pictures(dataset),
        criteria,
    )

    def page(request: Request) -> Response:
        return FileResponse(PAGE / "index.html", media_type="text/html", headers={"Content-Security-Policy": POLICY})

    def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in FILES:
            return JSONResponse({"error": f"there is no /page/{name}"}, 404)
        return FileResponse(LOOK.get(name, PAGE / name), media_type=FILES[name], headers={"Cache-Control": "no-cache"})

    def session(request: Request) -> Response:
        about = {"dataset": dataset.name, "store": store.name, "labeller": labeller, "command": command}
        return JSONResponse(about | {"ahead": AHEAD} | asked(criteria))

    def picture(request: Request) -> Response:
        number = whole_number(request.path_params["item"])
        jpeg = None if number is None else desk.picture(number)
        if jpeg is None:
            return JSONResponse({"error": "there is no such picture"}, 404)
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"})

    def trust(request: Request) -> Response:
        return JSONResponse(reliability(store.given()))

    def posted(act: Any) -> Any:
        async def answer(request: Request) -> Response:
            from starlette.concurrency import run_in_threadpool

            said = await json_body(request)
            return JSONResponse(await run_in_threadpool(act, _labeller(said), said))

        return answer

    def refused(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, 422 if isinstance(error, (BadAnswer, BadRequest)) else 500)

    return Starlette(
        routes=[
            Route("/", page),
            Route("/page/{name}", file),
            Route("/favicon.ico", lambda _: FileResponse(LOOK["icon.svg"], media_type="image/svg+xml")),
            Route("/pictures/{item}.jpg", picture),
            Route("/api/session", session),
            Route("/api/reliability", trust),
            Route("/api/next", posted(desk.next), methods=["POST"]),
            Route("/api/answer", posted(desk.answer), methods=["POST"]),
            Route("/api/undo", posted(desk.undo), methods=["POST"]),
        ],
        exception_handlers=error_handlers() | {PairwrightError: refused},
        middleware=[Middleware(Guard, names=names, key=key)],
    )


class LabellingDesk:
    """The desk as the page talks to it: servings without sources, pictures that can be shown."""

    def __init__(self, desk: Desk, pictures: Pictures, criteria: Criteria) -> None:
        self.desk, self.pictures, self.criteria = desk, pictures, criteria

    def next(self, labeller: str, said: dict[str, Any]) -> dict[str, Any]:
        count = said.get("count", AHEAD)
        if not isinstance(count, int) or not 1 <= count <= 20:
            raise BadAnswer("count is how many pictures to hand out, 1 to 20")
        return self._state(labeller, count)

    def answer(self, labeller: str, said: dict[str, Any]) -> dict[str, Any]:
        event, _ = self.desk.answer(str(said.get("token")), labeller, said, self.criteria)
        return {"saved": event} | self._state_after(labeller)

    def undo(self, labeller: str, said: dict[str, Any]) -> dict[str, Any]:
        return {"undone": self.desk.undo(labeller)} | self._state_after(labeller)

    def picture(self, item: int) -> bytes | None:
        found = self.desk.store.item(item)
        return None if found is None else self.pictures.jpeg(found.shard, found.row)

    def _state_after(self, labeller: str) -> dict[str, Any]:
        """What is next, after something was kept: that it was kept is said even if what is next cannot be."""
        try:
            return self._state(labeller, AHEAD)
        except PairwrightError as error:
            return {"error": str(error)}

    def _state(self, labeller: str, count: int) -> dict[str, Any]:
        servings = self.desk.open(labeller, count)
        while not all(self._can_show(one.item) for one in servings):
            servings = self.desk.open(labeller, count)
        state = {"next": [_shown(one) for one in servings], "progress": self.desk.progress(labeller)}
        away = self.desk.away()
        if away:
            said = f"{len(away)} of {len(self.desk.shards)} shards cannot be read, and their pictures are left out"
            state["notice"] = f"{said} until they can: {next(iter(away.values()))}"
        return state

    def _can_show(self, item: StoredItem) -> bool:
        """Whether there is a picture to show; what has none is not handed out again."""
        try:
            if self.pictures.jpeg(item.shard, item.row) is not None:
                return True
            self.desk.set_aside(item.id)
        except (ColumnError, DatasetError) as error:
            self.desk.leave_out(item.shard, str(error))
        return False


def _shown(serving: Serving) -> dict[str, Any]:
    captions = [serving.item.candidates[number] for number in serving.ordering]
    return {
        "token": serving.token,
        "picture": f"/pictures/{serving.item.id}.jpg?v={serving.item.shard[:12]}-{serving.item.row}",
        "captions": [{"text": one.text, "lang": one.lang} for one in captions],
    }


def asked(criteria: Criteria) -> dict[str, Any]:
    """The criteria as the page shows them."""
    return {
        "title": criteria.title,
        "rank": [{"name": one.name, "question": one.question, "hint": one.hint} for one in criteria.asked],
        "flags": [flag.model_dump() for flag in criteria.flags],
    }


def _labeller(said: dict[str, Any]) -> str:
    name = said.get("labeller")
    plain = unicodedata.normalize("NFC", name).strip() if isinstance(name, str) else ""
    if not plain or len(plain) > LONGEST_NAME or not plain.isprintable():
        raise BadAnswer(f"labeller is a name of 1 to {LONGEST_NAME} characters")
    return plain
