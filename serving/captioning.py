"""The captioner behind the route `caption`: a picture in, captions as they are said.

    captioning = Captioning(folder)                          # captioner/ and tower/, as packed_captioner.py lays them
    generation = await captioning.begin(picture, wish)       # refused here, before anything is answered

Warm start: nothing heavy is imported before a `Captioning` is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any

import numpy as np

from pairwright.components.artifact import check_committed
from pairwright.serving.caption_wire import Caption
from pairwright.serving.controls import Controls
from pairwright.serving.generation import Asked, Generation
from pairwright.serving.limits import MAX_GENERATIONS, Refusal, check_text
from pairwright.serving.outcomes import outcome_of, result_of
from pairwright.serving.packed_captioner import CAPTIONER, TOWER
from pairwright.serving.pictures import Pictures
from pairwright.serving.turns import Turns

if TYPE_CHECKING:
    from torch import Tensor

    from pairwright.components.models.captioner.captioner import Captioner
    from pairwright.components.models.decoding.settings import Decoding

    Features = Callable[[Sequence[np.ndarray]], Tensor]

MIN_SIDE = 224  # px; pictures are decoded no smaller than this, or than the tower's input if that is larger
BATCH = 32  # pictures
UNSAYABLE = "string_not_known"  # a caption's note: what it had to hold is no word of the model's, or is too long


class Captioning:
    """A captioner, and the tower whose features it was taught on.

    Raises:
        ModelError: the folder holds none.
        WorkspaceError: a file of it is not what was committed.
    """

    def __init__(self, folder: str | Path, device: str = "auto") -> None:
        import torch

        root = Path(folder)
        check_committed(root / CAPTIONER)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = device
        self.model, self._features_of, self.side = opened(root, device)
        self.controls = Controls.of(self.model)
        self._pictures = Pictures(max(MIN_SIDE, self.side))
        self._features = Turns[Any, Any]("features", self._seen, most_items=BATCH)
        self._free = BoundedSemaphore(MAX_GENERATIONS)
        self._threads = ThreadPoolExecutor(MAX_GENERATIONS, thread_name_prefix="caption")
        self._steps = ThreadPoolExecutor(1, thread_name_prefix="caption-steps")

    async def begin(self, image: str | bytes, wish: Caption) -> Generation:
        """The captions, being said.

        Raises:
            Refusal: 413 or 422 for a picture or a control that is not taken, 429 where too much is under way.
        """
        self.controls.check(wish)
        for text in (wish.prompt, wish.user, wish.include, *(wish.forbidden or ())):
            if text is not None:
                check_text(text)
        [decoded] = await self._pictures.decoded([image])
        [vector] = await self._features.ask([result_of(decoded)])
        asked = self._asked(result_of(vector), wish)
        if not self._free.acquire(blocking=False):
            raise Refusal(429, "too many captions are being said; ask again in a moment")
        generation = Generation(self._steps, self.model, asked, self._free.release)
        generation.start(self._threads)
        return generation

    def warm_up(self) -> None:
        """The first pass of either model may make graphs; no caller should wait for them."""
        picture = np.zeros((self.side, self.side, 3), np.uint8)
        [vector] = self._seen([picture])
        self.model.generate({"image": result_of(vector)[None]})

    def _seen(self, pictures: list[np.ndarray]) -> list[Tensor | Refusal]:
        """What the captioner is told of each; one by one, where a batch fails."""
        try:
            return list(self._features_of(pictures))
        except Exception:
            return [outcome_of(lambda one: self._features_of([one])[0], picture) for picture in pictures]

    def _asked(self, vector: Tensor, wish: Caption) -> Asked:
        rows = wish.captions if wish.search == "nucleus" else 1
        told = {name: value.expand(rows, *value.shape[1:]) for name, value in self._told(vector, wish).items()}
        required = self.model.tokens.string(wish.include) if wish.include is not None else []
        longest = min(wish.most, self.model.longest)
        sayable = required is not None and len(required) <= longest and bool(required or wish.include is None)
        seeds = [wish.seed + row for row in range(rows)]
        note = None if sayable else UNSAYABLE
        return Asked(told, decoding_of(wish), wish.captions, (required or ()) if sayable else (), seeds, note)

    def _told(self, vector: Tensor, wish: Caption) -> dict[str, Tensor]:
        """What the model is told, a row; if unsaid, the best level (0 is none), its first language and first format."""
        import torch

        from pairwright.components.models.captioner.tokens import prompts_of

        controls = self.controls
        numbers = {
            "control": (controls.levels if wish.level is None else wish.level) or None,
            "length": wish.length,
            "language": _number_of(wish.language, controls.languages),
            "format": _number_of(wish.format, controls.formats),
        }
        told = {"image": vector[None]}
        told |= {part: torch.tensor([value]) for part, value in numbers.items() if value is not None}
        if wish.box is not None:
            told["box"] = torch.tensor([wish.box])
        for part, said in (("prompt", wish.prompt), ("user", wish.user)):
            if said is not None:
                told[part] = prompts_of(self.model.tokens, [said], self.model.parts[part].size)
        return {name: value.to(self.device) for name, value in told.items()}


def _number_of(name: str | None, known: Sequence[str]) -> int | None:
    """Of a named value from 1, the first one if none is said; None where there are none."""
    return known.index(name or known[0]) + 1 if known else None


def opened(root: Path, device: str) -> tuple[Captioner, Features, int]:
    """The captioner; pictures -> what it is told of them, n first; and the side in pixels at which they are looked at.

    Features are in half precision, as the columns hold them that it was taught on; a tower of its own gives patches.
    """
    from pairwright.components.models.captioner.folder import load_captioner
    from pairwright.components.models.captioner.tower_captioner import has_tower, load_tower_captioner
    from pairwright.components.models.towers.packed_tower import load_packed_tower

    if has_tower(root / CAPTIONER):
        whole = load_tower_captioner(root / CAPTIONER, device)
        return whole.captioner, whole.shown, whole.tower.side
    tower = load_packed_tower(root / TOWER, device)
    return load_captioner(root / CAPTIONER, device), lambda some: tower.features(some).half().float(), tower.side


def decoding_of(wish: Caption) -> Decoding:
    """The route's search as a recipe would say it. `beam` keeps at least as many beams as captions are wanted."""
    from pairwright.components.models.decoding.settings import Decoding

    said: dict[str, Any] = {"guidance": wish.guidance, "least": wish.least, "most": wish.most}
    said["forbidden"] = tuple(wish.forbidden or ())
    if wish.search == "beam":
        said |= {"search": "beam", "beams": max(wish.beams, wish.captions)}
    elif wish.search == "diverse":
        said |= {"search": "beam", "beams": wish.captions, "groups": wish.captions, "diversity": wish.diversity}
    elif wish.search == "nucleus":
        said |= {"search": "nucleus", "top_p": wish.top_p, "temperature": wish.temperature}
    return Decoding(**said)
