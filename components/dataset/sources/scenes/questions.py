"""Questions about a scene with their answers, the one-line captions that answer them, and answers read off a caption.

    questions_of({"subject": "dog", "subject_colour": "red", ...})       # [("what colour is the dog?", "red"), ...]
    statement("what colour is the dog?", "red")                          # "a red dog"
    answer_from("what colour is the dog?", "a red dog is above a cat")   # "red"

By the scenes' own words for colours, sizes, numbers and relations (scene.py, grammar.py), without a language model: an
answer that a caption does not say is not read off it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pairwright.components.dataset.sources.scenes.grammar import NUMBERS, PHRASES, plural
from pairwright.components.dataset.sources.scenes.scene import COLOURS, CONVERSE, SIZES

COUNTS = {"a": "one", "an": "one", "one": "one"} | {word: word for number, word in NUMBERS.items() if number > 1}
WORDS_OF_ONE = {"1": "one"} | {str(number): word for number, word in NUMBERS.items() if number > 1}
ENDS = frozenset({*COLOURS, *SIZES, *COUNTS, "the", "of", "is", "are", "and", "with", "here", "drawn", "shows", "look"})
_COLOUR = re.compile(r"what colour (is|are) the (.+)\?")
_SIZE = re.compile(r"how large (is|are) the (.+)\?")
_COUNT = re.compile(r"how many (.+) are there\?")
_RELATION = re.compile(rf"what is ({'|'.join(map(re.escape, PHRASES.values()))}) the (.+)\?")
_WORD = re.compile(r"[a-z]+(?:-[a-z]+)*")


def questions_of(labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """(question, answer) of all that is asked of a scene with these labels (scenes.py); none of another picture."""
    if "relation" not in labels or "object_count" not in labels:
        return []
    found, names = [], {}
    for part in ("subject", "object"):
        several = labels[f"{part}_count"] != "1"
        names[part] = plural(labels[part]) if several else labels[part]
        verb = "are" if several else "is"
        found.append((f"what colour {verb} the {names[part]}?", labels[f"{part}_colour"]))
        found.append((f"how large {verb} the {names[part]}?", labels[f"{part}_size"]))
        found.append((f"how many {plural(labels[part])} are there?", WORDS_OF_ONE[labels[f"{part}_count"]]))
    return [*found, (f"what is {PHRASES[labels['relation']]} the {names['object']}?", names["subject"])]


def statement(question: str, answer: str) -> str:
    """One line that says the answer and of what it is; "" of a question of another kind."""
    for pattern in (_COLOUR, _SIZE):
        if asked := pattern.fullmatch(question):
            said = f"{answer} {asked[2]}"
            return said if asked[1] == "are" else _with_article(said)
    if asked := _COUNT.fullmatch(question):
        return f"{answer} {asked[1] if answer != 'one' else singular(asked[1])}"
    if asked := _RELATION.fullmatch(question):
        return f"{_with_article(answer)} {asked[1]} the {asked[2]}"
    return ""


def answer_from(question: str, caption: str) -> str:
    """What the caption says to the question, "" if it says nothing."""
    words = _WORD.findall(caption.lower())
    for pattern, values in ((_COLOUR, dict.fromkeys(COLOURS)), (_SIZE, dict.fromkeys(SIZES))):
        if asked := pattern.fullmatch(question):
            return _said_of(words, asked[2], {value: value for value in values})
    if asked := _COUNT.fullmatch(question):
        return _said_of(words, asked[1], COUNTS) or _said_of(words, singular(asked[1]), COUNTS)
    if asked := _RELATION.fullmatch(question):
        return _related(caption.lower(), asked[1], asked[2])
    return ""


def singular(names: str) -> str:
    """What `plural` makes these names of; the names themselves if it makes them of nothing."""
    stems = (f"{names[:-3]}y", names[:-2], names[:-1])
    return next((stem for stem in stems if stem and plural(stem) == names and names != stem), names)


def _with_article(name: str) -> str:
    if singular(name) != name:
        return name
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _said_of(words: list[str], name: str, values: Mapping[str, str]) -> str:
    """The value that stands in the phrase before a name, or after it and "is"."""
    thing = name.split()
    for at in range(len(words) - len(thing) + 1):
        if words[at : at + len(thing)] == thing:
            before = at
            while before and words[before - 1] in ENDS - {"of", "is", "are"}:
                before -= 1
            after = words[at + len(thing) : at + len(thing) + 2]
            phrase = words[before:at] + (after[1:] if after[:1] in (["is"], ["are"]) else [])
            if found := next((values[word] for word in phrase if word in values), ""):
                return found
    return ""


def _related(caption: str, phrase: str, name: str) -> str:
    """What stands on the other side of a relation to `name`, told from either side."""
    relation = next(one for one, words in PHRASES.items() if words == phrase)
    for words, ours in ((phrase, 0), (PHRASES[CONVERSE[relation]] if relation in CONVERSE else "", 1)):
        sides = re.split(rf"\b{re.escape(words)}\b", caption, maxsplit=1) if words else []
        if len(sides) == 2:
            heads = _head(sides[0], last=True), _head(sides[1], last=False)
            if heads[1 - ours] == name:
                return heads[ours]
    return ""


def _head(side: str, last: bool) -> str:
    """The name nearest to a relation: the words without number, size and colour."""
    words: list[str] = _WORD.findall(side)
    name: list[str] = []
    for word in reversed(words) if last else words:
        if word in ENDS:
            if name:
                break
            continue
        name.append(word)
    return " ".join(reversed(name) if last else name)
