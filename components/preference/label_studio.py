"""Label Studio's JSON: items out as tasks with a labelling configuration, its annotations in as answers.

    pairwright label export data/raw DEST --format label-studio     DEST/tasks.json, DEST/config.xml
    pairwright label import data/raw annotated.json

A criterion is a Ranker with one bucket a place: captions in one bucket tie, a bucket more takes the
rejected (https://labelstud.io/tags/ranker). Annotations are read as Label Studio exports them
("type": "ranker" with buckets or as a plain order, "pairwise" of two captions, "choices" for the picture).
What its tags cannot say, our flags, travels in a result's `meta`. Written from its documentation and
round-tripped by tests; no Label Studio was run.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from pairwright.components.dataset.shards import storage
from pairwright.components.errors import DatasetError
from pairwright.components.preference.answers import REJECTED, Answer
from pairwright.components.preference.candidates import Candidate
from pairwright.components.preference.criteria import Criteria
from pairwright.components.preference.items import CHOSEN, Item, StoredItem
from pairwright.components.preference.store import Annotated, Given

NOT_SORTED = "_"  # Label Studio's name for what stayed in the list
PLACES = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")


def labelling_config(criteria: Criteria, most_candidates: int) -> str:
    """The labelling configuration (XML) for tasks of up to `most_candidates` captions."""
    lines = ["<View>", '  <Image name="picture" value="$image"/>']
    for one in criteria.asked:
        lines.append(f"  <Header value={quoteattr(one.question)}/>")
        lines.append(f'  <List name={quoteattr(one.name + "_captions")} value="$captions" title="Captions"/>')
        lines.append(f"  <Ranker name={quoteattr(one.name)} toName={quoteattr(one.name + '_captions')}>")
        for place in PLACES[:most_candidates]:
            lines.append(f'    <Bucket name="{place}" title="{place.capitalize()}"/>')
        lines += [f'    <Bucket name="{REJECTED}" title="No caption of this picture"/>', "  </Ranker>"]
    lines.append('  <Choices name="unusable" toName="picture" choice="single">')
    lines += [f'    <Choice value="{REJECTED}"/>', "  </Choices>", "</View>"]
    return "\n".join(lines) + "\n"


def tasks(items: Iterable[StoredItem], given: Sequence[Given], pictures: Mapping[int, bytes]) -> list[dict[str, Any]]:
    """Label Studio's tasks, each with the answers there are already. `pictures`: item -> JPEG bytes, put inline."""
    answers: dict[int, list[Given]] = {}
    for one in given:
        if not one.repeat:
            answers.setdefault(one.item.id, []).append(one)
    return [_task(item, answers.get(item.id, []), pictures.get(item.id)) for item in items]


def _task(item: StoredItem, answers: Sequence[Given], picture: bytes | None) -> dict[str, Any]:
    image = "" if picture is None else "data:image/jpeg;base64," + base64.b64encode(picture).decode()
    captions = [
        {"id": f"c{number}", "title": f"Caption {number + 1}", "body": one.text, "source": one.source, "lang": one.lang}
        for number, one in enumerate(item.candidates)
    ]
    place = {"shard": item.shard, "row": item.row, "key": item.key, "share": item.share}
    return {
        "id": item.id,
        "data": {"image": image, "captions": captions, **place},
        "annotations": [_annotation(one) for one in answers],
        "predictions": [],
    }


def _annotation(given: Given) -> dict[str, Any]:
    said, results = given.answer, []
    for kind, tiers in said.tiers.items():
        buckets = {place: [f"c{n}" for n in tier] for place, tier in zip(PLACES, tiers)}
        buckets |= {REJECTED: [f"c{n}" for n in said.rejected], NOT_SORTED: []}
        result = {"from_name": kind, "to_name": f"{kind}_captions", "type": "ranker", "value": {"ranker": buckets}}
        results.append(result | {"id": f"{given.event}-{kind}", "meta": {"flags": said.as_dict()["flags"]}})
    if said.picture is not None:
        value = {"choices": [said.picture]}
        one = {"from_name": "unusable", "to_name": "picture", "type": "choices", "value": value}
        results.append(one | {"id": f"{given.event}-unusable"})
    return {
        "id": given.event,
        "completed_by": {"email": given.labeller},
        "lead_time": said.seconds,
        "was_cancelled": False,
        "result": results,
    }


def write_tasks(folder: str | Path, exported: Sequence[Mapping[str, Any]], config: str) -> None:
    """DEST/tasks.json and DEST/config.xml.

    Raises:
        WorkspaceError: the disk is full or read-only.
    """
    storage.write_bytes(str(Path(folder) / "tasks.json"), (json.dumps(exported, ensure_ascii=False) + "\n").encode())
    storage.write_bytes(str(Path(folder) / "config.xml"), config.encode())


def read_annotated(path: str | Path) -> list[Annotated]:
    """Every annotation that was not cancelled, in the file's order.

    Raises:
        DatasetError: no Label Studio JSON, or a task or annotation that does not fit together.
    """
    try:
        exported = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} is not Label Studio's JSON ({error}); export it as JSON, not JSON-MIN") from None
    if not isinstance(exported, list):
        raise DatasetError(f"{path} is not a list of tasks; export it as JSON, not JSON-MIN")
    found = []
    for number, task in enumerate(exported):
        try:
            item = _item_of(task["data"])
            for annotation in task.get("annotations") or ():
                if annotation.get("was_cancelled"):
                    continue
                answer = _answer_of(annotation, len(item.candidates))
                if answer is not None:
                    found.append(Annotated(item, _labeller_of(annotation), answer))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DatasetError(
                f"{path}: task {number} is not one that `pairwright label export` made ({error}); import those only"
            ) from None
    return found


def _item_of(data: Mapping[str, Any]) -> Item:
    captions = tuple(Candidate(one["source"], one["body"], one.get("lang")) for one in data["captions"])
    return Item(str(data["shard"]), int(data["row"]), str(data["key"]), captions, str(data.get("share", CHOSEN)), 0.0)


def _labeller_of(annotation: Mapping[str, Any]) -> str:
    by = annotation.get("completed_by")
    if isinstance(by, Mapping):
        return str(by.get("email") or by.get("username") or by.get("id"))
    return f"label-studio-{by}" if by is not None else "label-studio"


def _answer_of(annotation: Mapping[str, Any], count: int) -> Answer | None:
    """The answer in an annotation's results, None if they hold none."""
    tiers: dict[str, tuple[tuple[int, ...], ...]] = {}
    rejected: set[int] = set()
    flags: dict[str, tuple[int, ...]] = {}
    seconds = annotation.get("lead_time")
    for result in annotation["result"]:
        value, kind = result["value"], result["type"]
        if kind == "choices" and REJECTED in value["choices"]:
            return Answer({}, picture=REJECTED, seconds=seconds, flags={})
        if kind == "ranker":
            tiers[result["from_name"]], bad = _ranked(value["ranker"], count)
            rejected |= set(bad)
        elif kind == "pairwise" and count == 2:
            tiers[result["from_name"]] = ((0,), (1,)) if value["selected"] == "left" else ((1,), (0,))
        flags |= {name: tuple(which) for name, which in (result.get("meta") or {}).get("flags", {}).items()}
    if not tiers:
        return None
    # One rejected under any criterion is rejected under all: it is no caption of this picture.
    kept = {name: _without(ranking, rejected) for name, ranking in tiers.items()}
    return Answer(kept, tuple(sorted(rejected)), flags, None, seconds)


def _without(tiers: Iterable[tuple[int, ...]], rejected: set[int]) -> tuple[tuple[int, ...], ...]:
    kept = (tuple(number for number in tier if number not in rejected) for tier in tiers)
    return tuple(tier for tier in kept if tier)


def _ranked(ranker: Any, count: int) -> tuple[tuple[tuple[int, ...], ...], list[int]]:
    """(places best first, rejected) of a Ranker's value: buckets, or one order of all captions."""
    if isinstance(ranker, list):
        ranker = {"order": ranker}
    if not set(ranker) & {*PLACES, REJECTED}:  # without buckets the list itself is the order
        order = next(iter(ranker.values()))
        tiers: tuple[tuple[int, ...], ...] = tuple((_number(one, count),) for one in order)
    else:
        buckets = [ranker.get(place) or [] for place in PLACES] + [ranker.get(NOT_SORTED) or []]
        tiers = tuple(tuple(sorted(_number(one, count) for one in bucket)) for bucket in buckets if bucket)
    bad = sorted(_number(one, count) for one in ranker.get(REJECTED) or [])
    placed = sorted([number for tier in tiers for number in tier] + bad)
    if placed != list(range(count)):
        raise ValueError(f"its captions are placed as {placed}, there are {count}")
    return tiers, bad


def _number(caption: str, count: int) -> int:
    number = int(caption.removeprefix("c"))
    if not caption.startswith("c") or not 0 <= number < count:
        raise ValueError(f"no caption is called {caption}")
    return number
