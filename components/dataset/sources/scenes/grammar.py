"""Words for scenes: captions, paraphrases and what is asked to be changed, from a grammar without exceptions.

    describe(scene, "raw")            # "a large red dog is to the left of a small blue cat"
    paraphrase(scene, "raw")          # "a picture of a small blue cat to the right of a large red dog"
    asked(Edit("colour", "subject", "dog", "green"), scene, "raw")     # "make the dog green"

Each split has sentence frames of its own, so that no sentence of training is one of evaluation; the words for
colours, sizes, numbers and relations are all splits'. A thing's phrase is number, size, colour, name, in this order.
"""

from __future__ import annotations

from pairwright.components.dataset.sources.scenes.scene import CONVERSE, Edit, Scene, Thing
from pairwright.components.dataset.splits import DEV, TEST, TRAIN

NUMBERS = {1: "a", 2: "two", 3: "three"}
PHRASES = {
    "left of": "to the left of",
    "right of": "to the right of",
    "above": "above",
    "below": "below",
    "on": "on",
    "under": "under",
}
# (caption, paraphrase): {a} and {b} are things, {is} is "is" or "are" by {a}'s number.
FRAMES = {
    TRAIN: ("{a} {is} {how} {b}", "a picture of {a} {how} {b}"),
    DEV: ("there {is} {a} {how} {b}", "one sees {a} {how} {b} here"),
    TEST: ("this shows {a} {how} {b}", "look, {a} {is} drawn {how} {b}"),
}
ASKED = {
    TRAIN: {
        "colour": "make the {of} {to}",
        "size": "make the {of} {to}",
        "object": "a {to} in place of the {of}",
        "relation": "put the {a} {to} the {b}",
        "count": "the number of the {of} becomes {to}",
    },
    DEV: {
        "colour": "the same, but with the {of} in {to}",
        "size": "the same, but with a {to} {of}",
        "object": "swap the {of} for a {to}",
        "relation": "now the {a} is {to} the {b}",
        "count": "now it is {to} of the {of}",
    },
    TEST: {
        "colour": "paint the {of} {to}",
        "size": "the {of} should be {to}",
        "object": "replace the {of} by a {to}",
        "relation": "move the {a} so that it is {to} the {b}",
        "count": "have {to} of the {of}",
    },
}


def describe(scene: Scene, split: str) -> str:
    """The scene's caption."""
    return _said(FRAMES[split][0], scene.subject, scene.relation, scene.object)


def paraphrase(scene: Scene, split: str) -> str:
    """The same facts told from the object's side: "b to the right of a" where the caption has "a to the left of b"."""
    return _said(FRAMES[split][1], scene.object, CONVERSE[scene.relation], scene.subject)


def asked(edit: Edit, scene: Scene, split: str) -> str:
    """What is to be changed in a picture of another scene so that it shows this one."""
    to = {"relation": PHRASES.get(edit.to, edit.to), "count": _number(edit.to)}.get(edit.kind, edit.to)
    return ASKED[split][edit.kind].format(of=edit.of, to=to, a=scene.subject.name, b=scene.object.name)


def phrase(thing: Thing) -> str:
    """ "a large red dog", "two small blue cats"."""
    name = plural(thing.name) if thing.count > 1 else thing.name
    return f"{NUMBERS[thing.count]} {thing.size} {thing.colour} {name}"


def plural(name: str) -> str:
    """By the rules of spelling alone."""
    if name.endswith(("ss", "us", "x", "z", "ch", "sh")):
        return f"{name}es"
    if name.endswith("s"):
        return name
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}s"


def _said(frame: str, a: Thing, relation: str, b: Thing) -> str:
    verb = "are" if a.count > 1 else "is"
    return frame.format_map({"a": phrase(a), "b": phrase(b), "is": verb, "how": PHRASES[relation]})


def _number(count: str) -> str:
    return {"1": "one"}.get(count) or NUMBERS.get(int(count), count) if count.isdigit() else count
