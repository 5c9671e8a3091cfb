"""Our recalls against those of CLIP_benchmark and of ranx on the same vectors, each in an environment of their own.

    python -m benchmarks.oracle_recalls                                    # 1,000 pictures of five captions each
    python -m benchmarks.oracle_recalls --model FOLDER --data data/test    # a model's own vectors of a split

Both packages are installed by pip into a virtual environment under a temporary folder, without anything that is already
here (torch among it, which is read from this environment); nothing of this project runs in it, and nothing of theirs
here. CLIP_benchmark's `evaluate` is given our vectors for what a model would say, and its `recall_at_k` besides, for
the share of right answers; ranx says `hit_rate@k` and `recall@k` of runs made of the same scores. All differences have
to be below 1e-6, or it ends with 1.
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
from benchmarks.retrieval_blocks import vectors
from pairwright.components.evaluate.metrics.positives import Positives
from pairwright.components.evaluate.metrics.ranks import retrieval_shares

KS = (1, 5, 10)
ORACLES = ("clip_benchmark==1.6.2", "ranx==0.3.21")
NEAR = 1e-6

THEIRS = """
import json, sys
import numpy as np, torch
from clip_benchmark.metrics.zeroshot_retrieval import batchify, evaluate, recall_at_k
from ranx import Qrels, Run, evaluate as ranx_evaluate

given = np.load(sys.argv[1])
ks = json.loads(sys.argv[2])
image, text, right = torch.from_numpy(given["image"]), torch.from_numpy(given["text"]), given["right"]
own = [np.flatnonzero(given["picture"] == i) for i in range(len(image))]
found = {"clip_benchmark": {}, "ranx": {}}

class Model:  # which says what ours said
    def encode_image(self, images): return images
    def encode_text(self, texts): return text[texts]

if (right == (given["picture"][None, :] == np.arange(len(image))[:, None])).all():  # it knows a picture's own alone
    batches = [(image[i : i + 100], [list(map(str, own[j])) for j in range(i, min(i + 100, len(image)))])
               for i in range(0, len(image), 100)]
    said = evaluate(Model(), batches, lambda texts: torch.tensor([int(t) for t in texts]), "cpu", amp=False,
                    recall_k_list=ks)
    for k in ks:
        found["clip_benchmark"][f"i2t_r{k}"] = said[f"text_retrieval_recall@{k}"]
        found["clip_benchmark"][f"t2i_r{k}"] = said[f"image_retrieval_recall@{k}"]
scores, positive = image @ text.T, torch.from_numpy(right)
for side, s, p in (("i2t", scores, positive), ("t2i", scores.T, positive.T)):
    for k in ks:
        each = batchify(recall_at_k, s, p, 64, "cpu", k=k)
        found["clip_benchmark"].setdefault(f"{side}_r{k}", float((each > 0).double().mean()))
        found["clip_benchmark"][f"{side}_share{k}"] = float(each.double().mean())
    best = s.topk(min(50, s.shape[1]), dim=1)
    run = Run({f"q{i}": {f"d{j}": float(v) for j, v in zip(best.indices[i].tolist(), best.values[i].tolist())}
               for i in range(len(s))})
    qrels = Qrels({f"q{i}": {f"d{j}": 1 for j in np.flatnonzero(p[i].numpy())} for i in range(len(s))})
    names = [f"hit_rate@{k}" for k in ks] + [f"recall@{k}" for k in ks]
    said = ranx_evaluate(qrels, run, names)
    for k in ks:
        found["ranx"] |= {f"{side}_r{k}": float(said[f"hit_rate@{k}"]), f"{side}_share{k}": float(said[f"recall@{k}"])}
print(json.dumps(found))
"""


def ours(image: np.ndarray, text: np.ndarray, right: Positives) -> dict[str, float]:
    """Both conventions of recall, both ways."""
    found: dict[str, float] = {}
    for side, one in zip(("i2t", "t2i"), retrieval_shares(image, text, right, KS), strict=True):
        for at, k in enumerate(KS):
            found |= {f"{side}_r{k}": float((one.ranks <= k).mean()), f"{side}_share{k}": float(one.shares[at].mean())}
    return found


def theirs(python: Path, image: np.ndarray, text: np.ndarray, right: Positives) -> dict[str, dict[str, float]]:
    """Each oracle's figures on the same vectors and right answers."""
    positive = np.zeros((len(image), len(text)), bool)
    positive[right.pairs(0, len(image))] = True
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/given.npz", image=image, text=text, right=positive, picture=right.picture)
        command = [str(python), "-c", THEIRS, f"{folder}/given.npz", json.dumps(KS)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the oracles failed:\n{done.stderr[-2000:]}")
    said: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return said


def of_a_model(folder: str, data: str) -> tuple[np.ndarray, np.ndarray, Positives]:
    """Vectors of a split by a model, and its right answers."""
    from pairwright.components.dataset.dataset import open_dataset
    from pairwright.components.evaluate.split import features_of
    from pairwright.components.models.formats import load_model

    model = load_model(folder, "dual_encoder")
    split = features_of(model, open_dataset(data))
    image, text = model.encode_image_features(split.image), model.encode_text_features(split.text)
    return image.float().cpu().numpy(), text.float().cpu().numpy(), split.positives()


def compared(python: Path, image: np.ndarray, text: np.ndarray, right: Positives) -> dict[str, Any]:
    """Our figures, and how far each oracle is from them at most."""
    mine = ours(image, text, right)
    far = {
        name: max(abs(mine[key] - said[key]) for key in mine)
        for name, said in theirs(python, image, text, right).items()
    }
    return {"pictures": len(image), "captions": len(text), "ours": mine, "largest_difference": far}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--model", help="a dual encoder's folder; made vectors without one")
    parser.add_argument("--data", default="data/test")
    add_output_option(parser)
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # Of CLIP_benchmark its metrics alone are asked: what it would fetch of models and data sets stays away.
        python = environment(Path(folder) / "oracles", ORACLES[1:], alone=ORACLES[:1])
        if wish.model:
            sets = {"model": of_a_model(wish.model, wish.data)}
        else:
            image, text, recurring = vectors(wish.pictures, 64)
            own = Positives(recurring.picture, np.arange(len(text)), recurring.group)
            sets = {"own captions": (image, text, own), "captions that recur": (image, text, recurring)}
        found = {name: compared(python, *one) for name, one in sets.items()}
    publish({"oracles": ORACLES, "sets": found, "near": NEAR}, wish.json, ("numpy", "torch"))
    if any(far >= NEAR for one in found.values() for far in one["largest_difference"].values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
