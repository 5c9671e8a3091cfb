"""The captioner behind the route: what is told as it is said, in turn with others, and ended when nobody waits."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bentoml")

import shapes
import torch
from captioned import FORMATS, LANGUAGES, LENGTH, LEVELS, SHORT, TAUGHT, box_at, taught_captioner
from language_models import tiny_language_model

from pairwright.components.dataset.pairs import PairBatch
from pairwright.components.errors import ModelError
from pairwright.components.models.captioner.captioner import Captioner
from pairwright.components.models.captioner.decoder import SmallDecoder
from pairwright.components.models.captioner.folder import TaughtOn, load_captioner, save_captioner, taught_on
from pairwright.components.models.captioner.prefix import Part
from pairwright.components.models.captioner.pretrained import load_pretrained
from pairwright.components.models.captioner.tokens import PretrainedTokens, WordTokens
from pairwright.components.models.captioner.tower_captioner import (
    TowerCaptioner,
    load_tower_captioner,
    save_tower_captioner,
)
from pairwright.components.models.captioner.vision_tower import load_vision_tower
from pairwright.components.models.dual_encoders.features import ImageFeatures, ImageFeaturesSettings
from pairwright.components.models.resolve import resolve_model
from pairwright.components.models.words import vocabulary_of
from pairwright.components.pretrain.captioners.captioner import CaptionerTask
from pairwright.serving import generation as generation_module
from pairwright.serving.caption_wire import Caption
from pairwright.serving.captioning import UNSAYABLE, Captioning, decoding_of
from pairwright.serving.limits import MAX_GENERATIONS, Refusal, decode_image
from pairwright.serving.openapi import openapi
from pairwright.serving.packed_captioner import captioner_to_serve, pack_captioner

pytestmark = pytest.mark.platform
PAIRS = 96
EVENT = 60.0  # seconds that no event takes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pictures = [np.asarray(shapes.picture(number)) for number in range(PAIRS)]
    texts = [shapes.caption_text(number) for number in range(PAIRS)]
    return taught_captioner(pictures, texts, tmp_path_factory.mktemp("captioner") / "captioner")


@pytest.fixture(scope="module")
def packed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("packed")
    pack_captioner(captioner_to_serve(folder), root)
    return root


@pytest.fixture
def captioning(packed: Path) -> Captioning:
    return Captioning(packed, "cpu")


def wish(**said: Any) -> Caption:
    return Caption.parse({"image": shapes.encoded(5), **said})


async def events_of(captioning: Captioning, **said: Any) -> list[Any]:
    generation = await captioning.begin(shapes.encoded(5), wish(**said))
    return [event async for event in generation.events()]


def said_by(captioning: Captioning, **said: Any) -> list[str]:
    done = asyncio.run(events_of(captioning, **said))[-1]
    assert done.name == "done", done
    return [caption["text"] for caption in done.data["captions"]]


def slowed(captioning: Captioning, seconds: float) -> list[float]:
    """Each step of the model takes so long; the times at which they began."""
    times: list[float] = []

    def wait(*_: Any) -> None:
        times.append(time.monotonic())
        time.sleep(seconds)

    captioning.model.decoder.register_forward_pre_hook(wait)
    return times


def test_tokens_are_told_as_they_are_said_and_make_the_caption(captioning: Captioning) -> None:
    events = asyncio.run(events_of(captioning))
    tokens = [event.data for event in events if event.name == "token"]
    assert [event.name for event in events] == ["token"] * len(tokens) + ["caption", "done"]
    [caption] = events[-1].data["captions"]
    assert "".join(token["token"] for token in tokens) == caption["text"] == tokens[-1]["text"]
    assert len(tokens) == len(caption["text"].split()) > 2


def test_the_first_token_is_told_long_before_the_last(captioning: Captioning) -> None:
    slowed(captioning, 0.05)

    async def times() -> list[float]:
        generation = await captioning.begin(shapes.encoded(5), wish())
        return [time.monotonic() async for event in generation.events() if event.name == "token"]

    told = asyncio.run(times())
    assert np.diff(told).min() > 0.02


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"guidance": 2.5},
        {"search": "beam", "beams": 3, "captions": 2},
        {"search": "diverse", "captions": 3, "diversity": 4.0},
        {"search": "nucleus", "captions": 3, "seed": 11, "temperature": 2.0},
        {"forbidden": ["e"], "least": 4},
    ],
)
def test_the_route_says_what_the_model_says_of_the_features_a_recipe_would_hold(
    captioning: Captioning, folder: Path, said: dict[str, Any]
) -> None:
    step = ImageFeatures(ImageFeaturesSettings(tower=resolve_model("builtin:tiny-image")))
    step.setup("cpu")
    picture = decode_image(shapes.encoded(5), 224)
    batch = PairBatch(np.arange(1), ["5"], [{}], images=[picture])
    vector = torch.from_numpy(np.asarray(step.score(batch)["vector"], np.float32))
    rows = said.get("captions", 1) if said.get("search") == "nucleus" else 1
    told = {"image": vector.expand(rows, -1), "control": torch.full((rows,), LEVELS)}
    told |= {name: torch.ones(rows, dtype=torch.int64) for name in ("language", "format")}
    seeds = [said.get("seed", 0) + row for row in range(rows)]
    found = load_captioner(folder).generate(told, decoding_of(wish(**said)), seeds=seeds)
    expected = [texts[0] for texts in found] if rows > 1 else found[0][: said.get("captions", 1)]
    assert said_by(captioning, **said) == expected


def test_searches_tell_their_captions_at_the_end_the_best_first(captioning: Captioning) -> None:
    events = asyncio.run(events_of(captioning, search="beam", captions=3))
    assert [event.name for event in events] == ["caption"] * 3 + ["done"]
    assert [event.data["text"] for event in events[:3]] == [one["text"] for one in events[3].data["captions"]]
    assert len({event.data["text"] for event in events[:3]}) == 3


def test_a_seed_draws_the_same_and_a_caption_depends_on_its_own_alone(captioning: Captioning) -> None:
    drawn = {"search": "nucleus", "temperature": 3.0, "top_p": 1.0}
    three = said_by(captioning, captions=3, seed=7, **drawn)
    assert three == said_by(captioning, captions=3, seed=7, **drawn)
    assert three[1:] == said_by(captioning, captions=2, seed=8, **drawn)
    assert len(set(three)) > 1


def test_controls_change_what_is_said(captioning: Captioning) -> None:
    plain = said_by(captioning)
    assert said_by(captioning, level=LEVELS) == plain
    assert said_by(captioning, language=LANGUAGES[0]) == plain != said_by(captioning, language="de")
    assert said_by(captioning, format=FORMATS[0]) == plain
    assert len(said_by(captioning, format=FORMATS[1])[0].split()) == SHORT < len(plain[0].split())
    for side in ("left", "bottom"):
        assert said_by(captioning, box=box_at(side))[0].split()[0] == side
    assert len(said_by(captioning, most=2)[0].split()) == 2
    [word] = said_by(captioning, most=1)
    assert word not in said_by(captioning, forbidden=[word])[0]


def test_a_string_is_held_and_one_that_cannot_be_said_is_noted(captioning: Captioning) -> None:
    assert "yellow" in said_by(captioning, include="Yellow")[0].split()
    for string in ("zeppelin", "yellow " * 13, "?!"):
        [caption] = asyncio.run(events_of(captioning, include=string))[-1].data["captions"]
        assert caption["note"] == UNSAYABLE
        assert caption["text"] == said_by(captioning)[0]


@pytest.mark.parametrize("search", ["greedy", "beam", "nucleus", "diverse"])
def test_where_nothing_may_be_said_the_caption_ends(captioning: Captioning, search: str) -> None:
    letters = list("aeiouylnrstdgbm")
    assert said_by(captioning, search=search, forbidden=letters, least=5) == [""]


def test_what_the_captioner_was_not_taught_is_refused(captioning: Captioning) -> None:
    for said, words in (
        ({"level": LEVELS + 1}, f"up to {LEVELS}"),
        ({"length": LENGTH + 1}, f"up to {LENGTH}"),
        ({"language": "fr"}, "it speaks en, de"),
        ({"format": "haiku"}, "it writes full, short"),
    ):
        with pytest.raises(Refusal, match=words) as refused:
            asyncio.run(events_of(captioning, **said))
        assert refused.value.status == 422


def test_a_captioner_without_controls_refuses_them_and_offers_none(folder: Path, tmp_path: Path) -> None:
    pictures = [np.asarray(shapes.picture(number)) for number in range(8)]
    none = {"control": None, "lengths": 0, "languages": (), "prompt": None, "steps": 1, "warmup_steps": 0}
    texts = [shapes.caption_text(number) for number in range(8)]
    plain = taught_captioner(pictures, texts, tmp_path / "plain", CaptionerTask, **none, batch_size=8)
    pack_captioner(captioner_to_serve(plain), tmp_path / "packed")
    captioning = Captioning(tmp_path / "packed", "cpu")
    told = {
        "level": 1,
        "length": 3,
        "language": "en",
        "format": "full",
        "box": [0, 0, 1, 1],
        "prompt": "what is it?",
        "user": "bold",
    }
    for name, value in told.items():
        with pytest.raises(Refusal, match=f'without a {name}; leave "{name}" out'):
            asyncio.run(events_of(captioning, **{name: value}))
    offered = openapi("test", captioning.controls)["components"]["schemas"]["Caption"]["properties"]
    assert not set(told) & set(offered)
    full = openapi("test", Captioning(_packed(folder, tmp_path), "cpu").controls)["components"]["schemas"]
    assert full["Caption"]["properties"]["level"]["anyOf"][0]["maximum"] == LEVELS
    assert full["CaptionForm"]["properties"]["language"]["enum"] == list(LANGUAGES)


def _packed(folder: Path, tmp_path: Path) -> Path:
    pack_captioner(captioner_to_serve(folder), tmp_path / "again")
    return tmp_path / "again"


def test_who_leaves_ends_the_generation_and_frees_its_place(captioning: Captioning) -> None:
    times = slowed(captioning, 0.02)

    async def follow(told: asyncio.Event) -> None:
        generation = await captioning.begin(shapes.encoded(5), wish(least=12))
        async for _ in generation.events():
            told.set()

    async def leave() -> None:
        told = [asyncio.Event() for _ in range(MAX_GENERATIONS)]
        followers = [asyncio.ensure_future(follow(one)) for one in told]
        for event, follower in zip(told, followers, strict=True):
            await event.wait()
            follower.cancel()  # as the server does when its caller hangs up
        await asyncio.gather(*followers, return_exceptions=True)
        await until(lambda: freed(captioning))

    asyncio.run(leave())
    steps = len(times)
    time.sleep(0.1)
    assert len(times) == steps < 12 * MAX_GENERATIONS


def freed(captioning: Captioning) -> bool:
    """Whether every place is free again."""
    taken = [captioning._free.acquire(blocking=False) for _ in range(MAX_GENERATIONS)]
    for got in taken:
        if got:
            captioning._free.release()
    return all(taken)


async def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + EVENT
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_too_many_at_once_are_refused_and_taken_again_later(captioning: Captioning) -> None:
    slowed(captioning, 0.02)

    async def flood() -> None:
        held = [await captioning.begin(shapes.encoded(5), wish(least=12)) for _ in range(MAX_GENERATIONS)]
        with pytest.raises(Refusal) as refused:
            await captioning.begin(shapes.encoded(5), wish())
        assert refused.value.status == 429
        for generation in held:
            generation.stop()
        await until(lambda: freed(captioning))
        await captioning.begin(shapes.encoded(5), wish())

    asyncio.run(flood())


def test_two_generations_come_in_turn(captioning: Captioning) -> None:
    slowed(captioning, 0.02)
    order: list[int] = []

    async def follow(number: int, beams: dict[str, Any]) -> None:
        generation = await captioning.begin(shapes.encoded(5), wish(least=12, **beams))
        async for event in generation.events():
            if event.name == "token":
                order.append(number)

    async def both() -> None:
        await asyncio.gather(*(follow(number, {}) for number in range(2)))

    asyncio.run(both())
    assert order.count(0) == order.count(1) == 12
    assert sum(one != other for one, other in itertools.pairwise(order)) >= 16


def test_one_that_takes_too_long_is_ended_and_says_so(captioning: Captioning, monkeypatch: pytest.MonkeyPatch) -> None:
    slowed(captioning, 0.05)
    monkeypatch.setattr(generation_module, "MOST_SECONDS", 0.2)
    events = asyncio.run(events_of(captioning, least=12))
    assert events[-1].name == "error"
    assert events[-1].data["status"] == 504
    assert 0 < len(events) - 1 < 12
    assert freed(captioning)


def test_a_failure_is_an_event_and_frees_the_place(captioning: Captioning) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("out of everything")

    captioning.model.decoder.register_forward_pre_hook(fail)
    [event] = asyncio.run(events_of(captioning))
    assert (event.name, event.data["status"]) == ("error", 500)
    assert "out of everything" not in event.data["error"]
    assert freed(captioning)


def test_steps_of_all_generations_go_through_one_thread(captioning: Captioning) -> None:
    names: set[str] = set()
    captioning.model.decoder.register_forward_pre_hook(lambda *_: names.add(threading.current_thread().name))

    async def both() -> None:
        await asyncio.gather(events_of(captioning), events_of(captioning, search="beam"))

    asyncio.run(both())
    assert len(names) == 1


def test_only_the_tower_it_was_taught_on_is_served_with_it(folder: Path, tmp_path: Path) -> None:
    model = load_captioner(folder)
    tower = resolve_model("builtin:tiny-image")
    assert taught_on(folder) == TaughtOn("builtin:tiny-image", str(tower.weights))

    def saved(name: str, tower: TaughtOn | None) -> Path:
        save_captioner(model, tmp_path / name, "# card", tower)
        return tmp_path / name

    with pytest.raises(ModelError, match="does not name the tower"):
        captioner_to_serve(saved("unnamed", None))
    assert captioner_to_serve(tmp_path / "unnamed", "builtin:tiny-image").tower == tower
    with pytest.raises(ModelError, match="gives 1280 features"):
        captioner_to_serve(tmp_path / "unnamed", "builtin:efficientnet-lite0")
    with pytest.raises(ModelError, match="name that tower"):
        captioner_to_serve(saved("other", TaughtOn("builtin:tiny-image", "0" * 64)))
    with pytest.raises(ModelError, match="text, float32"):
        captioner_to_serve(saved("texts", TaughtOn("builtin:tiny-text", "0" * 64, "text")))
    with pytest.raises(ModelError, match="image, int8"):
        captioner_to_serve(saved("int8", TaughtOn("builtin:tiny-image", str(tower.weights), precision="int8")))
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "config.json").write_text('{"format": "pairwright-codebook"}')
    with pytest.raises(ModelError, match="no captioner"):
        captioner_to_serve(tmp_path / "strange")


def written(parts: list[Part], decoder: Any, tokens: Any) -> Captioner:
    """A captioner of random weights, so large that what is said depends on the picture."""
    torch.manual_seed(3)
    model = Captioner(parts, decoder, tokens, 8, 16)
    for weight in (one for one in model.prefix.parameters() if one.ndim == 2):
        torch.nn.init.normal_(weight, std=0.5)
    return model.eval()


def test_a_language_models_pieces_of_words_are_told_as_text(tmp_path: Path) -> None:
    decoder, tokenizer = load_pretrained(tiny_language_model(tmp_path / "language"))
    tower = resolve_model("builtin:tiny-image")
    model = written([Part("image", "vector", 64, 2)], decoder, PretrainedTokens(tokenizer, decoder.vocabulary))
    save_captioner(model, tmp_path / "model", "# card", TaughtOn(tower.reference, str(tower.weights)))
    pack_captioner(captioner_to_serve(tmp_path / "model"), tmp_path / "packed")
    events = asyncio.run(events_of(Captioning(tmp_path / "packed", "cpu"), least=6, guidance=1.5))
    tokens = [event.data for event in events if event.name == "token"]
    assert events[-1].name == "done"
    assert len(tokens) > 2
    # What ends with half a letter is told only once the letter is whole.
    assert tokens[-1]["text"] == events[-1].data["captions"][0]["text"].rstrip("\ufffd")
    assert all(after["text"] == before["text"] + after["token"] for before, after in itertools.pairwise(tokens))


def test_a_captioner_with_a_tower_of_its_own_is_served_by_it(tmp_path: Path) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_hidden_layers": 2}
    CLIPVisionModel(CLIPVisionConfig(image_size=32, patch_size=16, **sizes)).save_pretrained(tmp_path / "vit")
    words = WordTokens(vocabulary_of([shapes.caption_text(number) for number in range(48)], 100, 1))
    decoder = SmallDecoder(len(words.words), 16, 32, 1, 2)
    captioner = written([Part("image", "vector", 32, 1, most=4)], decoder, words)
    save_tower_captioner(TowerCaptioner(load_vision_tower(tmp_path / "vit", -2), captioner), tmp_path / "model", "#")
    served = captioner_to_serve(tmp_path / "model")
    assert served.tower is None
    assert served.facts["tower"] == {"reference": "its own", "digest": served.digest}
    pack_captioner(served, tmp_path / "packed")
    whole = load_tower_captioner(tmp_path / "model")
    picture = decode_image(shapes.encoded(5), 224)
    expected = whole.generate({"image": whole.shown([picture])}, decoding_of(wish(least=4)))[0]
    assert said_by(Captioning(tmp_path / "packed", "cpu"), least=4) == expected


def test_the_fixture_taught_it_to_see(captioning: Captioning) -> None:
    """Else the tests above would hold of a captioner that says one thing of every picture."""

    async def colour_named(number: int) -> bool:
        generation = await captioning.begin(shapes.encoded(number), wish(language="en"))
        events = [event async for event in generation.events()]
        return shapes.facts_of(number)[0] in events[-1].data["captions"][0]["text"]

    async def all_of() -> list[bool]:
        return [await colour_named(number) for number in range(PAIRS, PAIRS + 24)]

    assert np.mean(asyncio.run(all_of())) > 0.6
    assert TAUGHT["image_dropout"] > 0  # guidance has something to weigh against
