"""Our caption metrics against pycocoevalcap's and NLTK's on the same tokens, in an environment of their own.

    python -m benchmarks.oracle_captions                    # 1,000 made captions of one to five references
    python -m benchmarks.oracle_captions --tokens data/dev  # and our tokens against PTBTokenizer's, where there is Java

BLEU, ROUGE-L and CIDEr-D are pycocoevalcap's (whose own package asks for pycocotools, which its scorers do not use: it
is installed without); METEOR is NLTK's, with Porter's stemmer as its author has it and no WordNet. All differences have
to be below 1e-6, or it ends with 1. `--freeze` writes what they say of the captions of
tests/unit/caption_metrics/frozen.json into that file, which the quick tests hold ours against.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import add_output_option, publish
from benchmarks.oracle_environment import environment
from pairwright.components.caption_metrics.bleu import bleu
from pairwright.components.caption_metrics.cider import cider_d
from pairwright.components.caption_metrics.meteor import meteor
from pairwright.components.caption_metrics.porter import stem
from pairwright.components.caption_metrics.rouge import rouge_l
from pairwright.components.caption_metrics.tokens import tokens_of

ORACLES = ("pycocoevalcap==1.2", "nltk==3.10.4")
FROZEN = Path(__file__).parents[1] / "tests" / "unit" / "caption_metrics" / "frozen.json"
NEAR = 1e-6
WORDS = "a the red blue small large dog cat boat tree running runs ran runner sits sitting on under near relational"

THEIRS = """
import json, sys
from nltk.stem.porter import PorterStemmer
from nltk.translate.meteor_score import meteor_score
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

class NoWordNet:
    def synsets(self, word): return []

given = json.load(open(sys.argv[1]))
res = {i: [said] for i, said in enumerate(given["captions"])}
gts = dict(enumerate(given["references"]))
stemmer = PorterStemmer(mode=PorterStemmer.MARTIN_EXTENSIONS)
corpus, each = Bleu(4).compute_score(gts, res, verbose=0)
found = {"bleu": list(map(float, corpus)), "bleu_each": [list(map(float, row)) for row in zip(*each)]}
found["rouge_l"] = list(map(float, Rouge().compute_score(gts, res)[1]))
found["cider_d"] = list(map(float, Cider().compute_score(gts, res)[1]))
found["meteor"] = [meteor_score([one.split() for one in held], said.split(), stemmer=stemmer, wordnet=NoWordNet())
                   for said, held in zip(given["captions"], given["references"])]
words = sorted({word for text in [*given["captions"], *sum(given["references"], [])] for word in text.split()})
found["stems"] = {word: stemmer.stem(word) for word in words}
print(json.dumps(found))
"""

PTB = """
import json, sys
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
texts = json.load(open(sys.argv[1]))
found = PTBTokenizer().tokenize({i: [{"caption": text}] for i, text in enumerate(texts)})
print(json.dumps([found[i][0].split() for i in range(len(texts))]))
"""


def made(captions: int, seed: int = 0) -> dict[str, Any]:
    """Captions of no to twelve words, and of each one to five references, of which some are like it."""
    draw = np.random.default_rng(seed)

    def text(least: int) -> list[str]:
        return list(draw.choice(WORDS.split(), int(draw.integers(least, 13))))

    said, held = [], []
    for _ in range(captions):
        own = text(0)
        some = [text(1) for _ in range(int(draw.integers(1, 6)))]
        if own and draw.random() < 0.5:
            some[0] = [word for word in own if draw.random() < 0.8] or own
        said.append(" ".join(own))
        held.append([" ".join(one) for one in some])
    return {"captions": said, "references": held}


def ours(given: dict[str, Any]) -> dict[str, Any]:
    """Our figures of captions that are tokens with spaces between."""
    said = [text.split() for text in given["captions"]]
    held = [[text.split() for text in some] for some in given["references"]]
    counts = bleu(said, held)
    words = {word for text in [*said, *(one for some in held for one in some)] for word in text}
    return {
        "bleu": counts.corpus().tolist(),
        "bleu_each": counts.each().tolist(),
        "rouge_l": rouge_l(said, held).tolist(),
        "cider_d": cider_d(said, held).tolist(),
        "meteor": meteor(said, held).tolist(),
        "stems": {word: stem(word) for word in sorted(words)},
    }


def asked(python: Path, script: str, given: Any) -> Any:
    """What a script says of a JSON file in the oracles' environment."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(given, file)
        file.flush()
        done = subprocess.run([str(python), "-c", script, file.name], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the oracles failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compared(mine: dict[str, Any], said: dict[str, Any]) -> dict[str, float]:
    """By metric how far they are apart at most; of stems how many differ."""
    far = {name: float(np.abs(np.array(mine[name]) - np.array(said[name])).max()) for name in mine if name != "stems"}
    return far | {"stems": float(sum(mine["stems"][word] != said["stems"][word] for word in mine["stems"]))}


def tokens_against(python: Path, data: str) -> dict[str, Any]:
    """How often our tokens of a dataset's English captions are PTBTokenizer's, and some that are not."""
    from pairwright.components.dataset.dataset import open_dataset

    captions = (row["captions"] or () for _, part in open_dataset(data).iter_sidecars() for row in part.to_pylist())
    texts = sorted({one["text"] for some in captions for one in some if one["text"] and one["lang"] in ("en", None)})
    theirs = asked(python, PTB, texts)
    other = [i for i, text in enumerate(texts) if tokens_of(text) != theirs[i]]
    shown = [{"text": texts[i], "ours": tokens_of(texts[i]), "theirs": theirs[i]} for i in other[:40]]
    return {"texts": len(texts), "equal": 1 - len(other) / max(len(texts), 1), "others": shown}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=1000)
    parser.add_argument("--tokens", metavar="DATA", help="a dataset whose captions are tokenized by both")
    parser.add_argument("--freeze", action="store_true", help="write their figures into the tests' file")
    add_output_option(parser)
    wish = parser.parse_args()
    frozen = json.loads(FROZEN.read_text(encoding="utf-8"))
    given = {"made": made(wish.captions), "frozen": {name: frozen[name] for name in ("captions", "references")}}
    with tempfile.TemporaryDirectory() as folder:
        python = environment(Path(folder) / "oracles", ORACLES[1:], alone=ORACLES[:1])
        said = {name: asked(python, THEIRS, one) for name, one in given.items()}
        tokens = {"tokens": tokens_against(python, wish.tokens)} if wish.tokens else {}
    if wish.freeze:
        told = given["frozen"] | {"oracles": list(ORACLES), "found": said["frozen"]}
        FROZEN.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    far = {name: compared(ours(one), said[name]) for name, one in given.items()}
    publish({"oracles": ORACLES, "largest_difference": far, "near": NEAR} | tokens, wish.json, ("numpy",))
    if any(value >= NEAR for one in far.values() for value in one.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
