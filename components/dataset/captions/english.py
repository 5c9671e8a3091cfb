"""English by its closed classes: a small lexicon and a rule-based tagger, no trained parser.

    tagged("A black cat is chasing a small bird")   # [("a", DET), ("black", ADJ), ("cat", NOUN), ...]

Determiners, prepositions, conjunctions, pronouns and auxiliaries are finite lists, so they are looked
up; what stands around them tells most of the rest. An open-class word is a noun unless it is a known
attribute or a known verb in a verb's place. It is right on captions far more often than on prose,
and knows English only: columns made with it say so.
"""

from __future__ import annotations

import re

DET, NUM, ADJ, NOUN, VERB, AUX, PREP, CONJ, PRON, ADV, STOP = (
    "det", "num", "adj", "noun", "verb", "aux", "prep", "conj", "pron", "adv", "stop",
)  # fmt: skip
TOKEN = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*|[,.;:!?()\[\]|/•—–&+]")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.split("/") for pair in text.split())


DETERMINERS = _words(
    "a an the this these those each every either neither some any no all both half several many few another "
    "other such what my your his her its our their whose various"
)
NUMBERS = _words(
    "one two three four five six seven eight nine ten eleven twelve dozen hundred thousand first second third "
    "fourth fifth last pair"
)
PREPOSITIONS = _words(
    "about above across after against along alongside amid among around as at atop before behind below beneath "
    "beside besides between beyond by despite down during except for from in inside into like near next of off on "
    "onto opposite out outside over past per through throughout to toward towards under underneath until up "
    "upon via with within without"
)
CONJUNCTIONS = _words("and or but nor so yet while when where because if although though than that which who whom")
PRONOUNS = _words(
    "i you he she it we they me him us them himself herself itself themselves someone something anyone "
    "everyone everything nobody nothing"
)
AUXILIARIES = _words(
    "am is are was were be been being has have had having do does did can could will would shall should may "
    "might must isn't aren't wasn't weren't doesn't don't didn't can't won't"
)
ADVERBS = _words(
    "not very too also just only even still again already always never often now then here there together away "
    "back forward quickly slowly almost quite rather really so well once twice outdoors indoors"
)
ATTRIBUTES = _words(
    "red orange yellow green blue purple violet pink brown black white grey gray golden gold silver beige tan "
    "teal navy turquoise colorful colourful dark bright pale light big small large little tiny huge giant tall "
    "short long wide narrow thick thin high low deep old young new ancient modern vintage antique fresh ripe "
    "raw round square flat curved straight triangular rectangular circular oval pointed spiral wooden wood "
    "metal metallic plastic glass stone brick leather cotton woolen wool silk paper ceramic clay steel iron "
    "bronze copper marble concrete hot cold warm cool wet dry dirty clean open closed empty full broken soft "
    "hard smooth rough shiny striped spotted dotted plaid furry fluffy hairy bald fat slim happy sad angry "
    "smiling sleepy beautiful pretty ugly nice cute lovely good bad best great main single double triple whole "
    "male female wild domestic tropical rural urban sunny cloudy rainy snowy foggy grassy sandy rocky leafy "
    "lush busy quiet lonely heavy strong weak fast slow electric digital traditional classic french english "
    "german italian spanish american chinese japanese indian african european australian left right front "
    "upper lower top bottom different same common plain simple fancy decorative ornate abstract transparent "
    "asian"
)
# Attributes that are things, too: "an orange", "a glass", "on the left".
THINGS_TOO = _words(
    "orange gold silver light stone glass paper clay iron copper marble leather cotton wool silk wood metal "
    "plastic brick steel bronze concrete square oval spiral left right front top bottom female male tan violet "
    "pink best great double"
)
VERBS = _words(
    "bake bark bathe bite bloom blow bounce brush build burn buy carry carve catch celebrate chase chew climb "
    "close collect cook cover crawl cross cry cut dance decorate dig dive drag drink drive eat enter explode "
    "face fall feed fight fill fish fix float flow fly fold follow gallop gather gaze give glide graze grill "
    "grow guard hang hatch help hide hit hold hop hover howl hug hunt jog jump kick kiss kneel knit land laugh "
    "launch lead lean leap lick lie lift listen look make march move open overlook paddle paint park peek "
    "perch perform pet pick plant play plow point pour prepare pull push race raise reach read rest ride rise "
    "roar roll row run sail sell serve sew shine shoot sing sit skate ski skip sleep slice slide smell smile "
    "snowboard soar splash spray spread sprout stack stand stare steer step stretch strike stroke support surf "
    "surround swim swing take talk teach throw tie touch tow trot turn use wade wait walk wash watch water "
    "wave wear weave whistle win wink work wrap write yawn"
)
IRREGULAR = _pairs(
    "ate/eat bit/bite blew/blow bought/buy built/build burnt/burn came/come caught/catch dove/dive drank/drink "
    "drove/drive dug/dig eaten/eat fallen/fall fed/feed fell/fall felt/feel flew/fly flown/fly fought/fight "
    "gave/give given/give grew/grow grown/grow held/hold hid/hide hung/hang knelt/kneel laid/lie lain/lie "
    "led/lead leapt/leap made/make ran/run rang/ring rode/ride rose/rise sang/sing sat/sit sewn/sew "
    "shone/shine shot/shoot slept/sleep slid/slide sold/sell stood/stand struck/strike sung/sing swam/swim "
    "swept/sweep swung/swing taken/take thrown/throw threw/throw took/take torn/tear went/go woke/wake won/win "
    "wore/wear worn/wear wove/weave woven/weave written/write wrote/write goes/go going/go coming/come "
    "comes/come"
)
NOUNS_IN_ING = _words(
    "building painting ring king wing string ceiling evening morning thing nothing something anything "
    "everything spring clothing wedding drawing swing earring sling being sibling duckling railing awning "
    "lightning pudding icing stocking sting herring dressing filling clothing bedding wrapping opening "
    "crossing fencing icing pudding viking dumpling"
)
PHRASAL = _words("out up down off over around away on in back")  # may stand after a verb with nothing behind them
_ADJECTIVE_ENDING = re.compile(r".{2,}(ful|less|ous|ish|able|ible|shaped|colou?red|haired|sleeved|sized|like)$")
_CLOSED: dict[str, str] = {
    word: tag
    for tag, words in (
        (ADV, ADVERBS), (CONJ, CONJUNCTIONS), (PRON, PRONOUNS), (AUX, AUXILIARIES), (PREP, PREPOSITIONS),
        (NUM, NUMBERS), (DET, DETERMINERS),
    )
    for word in words
}  # fmt: skip


def tokens(text: str) -> list[str]:
    """Words and the marks that end phrases, in lower case."""
    return [token.lower().replace("’", "'") for token in TOKEN.findall(text)]


def closed_class(word: str) -> str | None:
    """The word's tag if it is of a closed class, a number or a mark; None for an open-class word."""
    if word[0].isdigit():
        return NUM
    if word[0].isalpha():
        return _CLOSED.get(word)
    return CONJ if word in "&+" else STOP


def tagged(text: str) -> list[tuple[str, str]]:
    """Each token with its tag, left to right."""
    words = tokens(text)
    found: list[tuple[str, str]] = []
    for i, word in enumerate(words):
        before = found[-1][1] if found else STOP
        after = words[i + 1] if i + 1 < len(words) else "."
        tag = closed_class(word)
        if tag is None:
            tag = _open_class(word, before, found[-1][0] if found else "", after)
        elif word == "her" and closed_class(after) is not None and after not in ATTRIBUTES:
            tag = PRON
        found.append((word, tag))
    return found


def _open_class(word: str, before: str, previous: str, after: str) -> str:
    """A noun, an attribute or a verb, by the word's form and its neighbours."""
    noun_follows = closed_class(after) is None
    if word in ATTRIBUTES or _ADJECTIVE_ENDING.fullmatch(word):
        if noun_follows or before in (AUX, ADV):
            return ADJ
        if word in THINGS_TOO or before == PREP:
            return NOUN
        return ADJ
    form = verb_form(word)
    if form is None:
        return NOUN
    if form == "ing":
        if word in NOUNS_IN_ING or before == PREP:
            return NOUN
        if before in (DET, ADJ, NUM):
            return ADJ if noun_follows else NOUN
        return ADJ if before == STOP and noun_follows and verb_form(after) is None else VERB
    if form == "past":
        return ADJ if before in (DET, ADJ, NUM, STOP, CONJ, PREP) and noun_follows else VERB
    if form == "s":
        return VERB if before in (NOUN, PRON, ADV, CONJ) else NOUN
    plural = before == NOUN and previous.endswith("s") and not noun_follows
    return VERB if before in (PRON, AUX) or plural or previous == "to" else NOUN


def verb_form(word: str) -> str | None:
    """`base`, `s`, `ing` or `past` if the word may be a form of a verb; None otherwise.

    -ing of an unknown verb counts ("gleaming"), the other endings only of a known one.
    """
    if word in VERBS:
        return "base"
    if word in IRREGULAR:
        return {"goes": "s", "comes": "s", "going": "ing", "coming": "ing"}.get(word, "past")
    if word.endswith("ing") and len(word) > 5:
        return "ing"
    if word.endswith("ed") and len(word) > 4 and _stems(word[:-2]) & VERBS:
        return "past"
    if word.endswith("s") and _stems(word[:-1]) & VERBS:
        return "s"
    return None


def _stems(rest: str) -> set[str]:
    """Base forms that a form without its ending may come from: "chas" "chase", "runn" "run", "carri" "carry"."""
    stems = {rest, rest + "e", rest.removesuffix("e")}
    if len(rest) > 2 and rest[-1] == rest[-2]:
        stems.add(rest[:-1])
    if rest.endswith(("i", "ie")):
        stems.add(rest.removesuffix("e")[:-1] + "y")
    return stems
