"""One request's captions in the making, told as they are said, and ended as soon as nobody waits for them.

    generation = Generation(steps, model, ...)
    generation.start(threads)
    async for event in generation.events(): ...

The search itself is the one every captioner has (`Captioner.generate`); what stands here is a session between it and
the model. Each step goes through one thread that all generations share, first come, first served: their tokens come in
turn, and none waits for the whole of another. The thread of a generation only keeps its books.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event as Flag
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from pairwright.components.models.captioner.captioner import Captioner
    from pairwright.components.models.captioner.tokens import Tokens
    from pairwright.components.models.decoding.session import Session
    from pairwright.components.models.decoding.settings import Decoding

MOST_SECONDS = 45.0  # of saying one request's captions; below the service's own time-out
TOKEN, CAPTION, DONE, ERROR = "token", "caption", "done", "error"

logger = logging.getLogger("bentoml.pairwright")


class Event(NamedTuple):
    """What happened: a token or a caption was said, all were, or it failed."""

    name: str
    data: dict[str, Any]


class Stopped(Exception):
    """Nobody waits for these captions any more."""


class Late(Exception):
    """They took too long."""


@dataclass(frozen=True)
class Asked:
    """What is to be said.

    Attributes:
        told: by part, a row for each caption that is drawn by itself; one row for a search.
        captions: how many of what is found are answered.
        required: tokens each caption must hold; [] if none.
        seeds: one a row.
        note: said of every caption.
    """

    told: dict[str, Tensor]
    decoding: Decoding
    captions: int
    required: Sequence[int] = ()
    seeds: Sequence[int] = ()
    note: str | None = None

    @property
    def rows(self) -> int:
        return len(next(iter(self.told.values())))


class Watched:
    """A session whose steps go through `turn`; `said` is told of every token, where rows are captions."""

    def __init__(self, session: Session, turn: Callable[[Session], Tensor], said: Callable[[Tensor], None] | None):
        self.session, self._turn, self._said = session, turn, said

    @property
    def size(self) -> int:
        return self.session.size

    def logits(self) -> Tensor:
        return self._turn(self.session)

    def append(self, tokens: Tensor) -> None:
        self.session.append(tokens)
        if self._said is not None:
            self._said(tokens)

    def select(self, rows: Tensor) -> Watched:
        return Watched(self.session.select(rows), self._turn, None)


class Texts:
    """Rows of tokens as they grow, read as text."""

    def __init__(self, tokens: Tokens, rows: int) -> None:
        self.tokens = tokens
        self._said: list[list[int]] = [[] for _ in range(rows)]
        self._texts = [""] * rows

    def add(self, tokens: Sequence[int]) -> list[tuple[int, str, str]]:
        """(row, what is new, the whole) of each row whose text grew; a letter of several tokens waits for its last."""
        grown = []
        for row, token in enumerate(tokens):
            said = self._said[row]
            if self.tokens.end in said:
                continue
            said.append(token)
            before, text = self._texts[row], self.tokens.decode(said)
            if text != before and not text.endswith("\ufffd"):
                self._texts[row] = text
                grown.append((row, text.removeprefix(before), text))
        return grown


@dataclass
class Generation:
    """Captions in the making; `finished` is called in its thread, however it ends."""

    steps: ThreadPoolExecutor
    model: Captioner
    asked: Asked
    finished: Callable[[], None] = lambda: None
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event] = asyncio.Queue()  # as many as there are tokens, at most
        self._stop = Flag()
        self._texts = Texts(self.model.tokens, self.asked.rows)

    def start(self, threads: ThreadPoolExecutor) -> None:
        threads.submit(self._run)

    def stop(self) -> None:
        """Nobody waits for it: it ends before its next step."""
        self._stop.set()

    async def events(self) -> AsyncIterator[Event]:
        """What happens, up to and with `done` or `error`; whoever leaves before stops it."""
        try:
            while True:
                event = await self._events.get()
                yield event
                if event.name in (DONE, ERROR):
                    return
        finally:
            self.stop()

    def _run(self) -> None:
        events: list[Event] = []
        try:
            events = self._say_all()
        except Stopped:
            pass
        except Late:
            said = f"not said within {MOST_SECONDS:.0f} seconds; ask for less"
            events = [Event(ERROR, {"error": said, "status": 504})]
        except Exception:
            logger.exception("captions failed")
            said = "the captioner failed on this; the server's log says why"
            events = [Event(ERROR, {"error": said, "status": 500})]
        finally:
            self.finished()  # before the end is told: who has heard it may ask for the next
        for event in events:
            self._tell(event)

    def _say_all(self) -> list[Event]:
        """Tell tokens as they are said; what there is to tell once all are."""
        asked = self.asked
        by_row = self._said if asked.decoding.search != "beam" else None
        found = self.model.generate(
            asked.told,
            asked.decoding,
            [list(asked.required)] * asked.rows if asked.required else (),
            asked.seeds,
            lambda session: Watched(session, self._turn, by_row),
        )
        texts = [texts[0] for texts in found] if by_row else found[0][: asked.captions]
        captions = [{"text": text, "note": asked.note} for text in texts]
        told = [Event(CAPTION, {"caption": number, **caption}) for number, caption in enumerate(captions)]
        took = round(1000 * (time.monotonic() - self.began), 1)
        return [*told, Event(DONE, {"captions": captions, "milliseconds": took})]

    def _turn(self, session: Session) -> Tensor:
        self._check()
        return self.steps.submit(self._step, session).result()

    def _step(self, session: Session) -> Tensor:
        import torch

        self._check()
        with torch.no_grad():
            return session.logits()

    def _check(self) -> None:
        if self._stop.is_set():
            raise Stopped
        if time.monotonic() - self.began > MOST_SECONDS:
            raise Late

    def _said(self, tokens: Tensor) -> None:
        for row, new, text in self._texts.add(tokens.tolist()):
            self._tell(Event(TOKEN, {"caption": row, "token": new, "text": text}))

    def _tell(self, event: Event) -> None:
        with contextlib.suppress(RuntimeError):  # the server is gone
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)
