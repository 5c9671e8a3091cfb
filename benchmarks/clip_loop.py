"""A CLIP trained by our trainer against the loop of `transformers`' own example, in one run, from the same weights.

    python -m benchmarks.clip_loop    # a CLIP of 6 and 6 layers, 64 pairs a step, the demo corpus's captions

Three loops take the same pairs in the same order, `--rounds` times, on tensors in memory (no pictures are decoded):

- the example's (examples/pytorch/contrastive-image-text/run_clip.py): `CLIPModel(..., return_loss=True)`, captions
  padded to the text tower's full length when they are tokenized;
- the same loop by someone careful, who pads to the longest caption of the batch;
- ours: the task `dual_encoder` with `trainable: all` and the objective `clip`.

Before anything is timed, the first step's loss of all three is held against one another to 1e-4: it is the same work.
Goal: at least 1.2 of the example's loop. Ratios are within a round; least, median and greatest are told.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.machine import ROOT, add_output_option, publish
from pairwright.components.dataset.dataset import open_dataset
from pairwright.components.dataset.examples.population import ArrayPopulation
from pairwright.components.dataset.pairs import caption_of
from pairwright.components.models.resolve import resolve_model
from pairwright.components.pretrain.dual_encoder import FitDualEncoder
from pairwright.components.pretrain.settings import DualEncoderSettings
from pairwright.components.training.batch import Batch
from pairwright.components.training.trainer import Trainer

GOAL, SAME = 1.2, 1e-4
SIDE, PATCH, LONGEST, VOCABULARY = 96, 16, 77, 4000
IMAGE = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 6}
TEXT = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 4}
OPTIMIZER = {"lr": 1e-4, "betas": (0.9, 0.98)}


def made_folder(folder: Path, captions: Sequence[str]) -> Path:
    """A CLIP of random weights with a tokenizer learnt from the captions, as `transformers` keeps one."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

    words = Tokenizer(models.BPE(unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["<unk>", "<pad>", "<start>", "<end>"]
    words.train_from_iterator(captions, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special))
    words.post_processor = processors.TemplateProcessing(
        "<start> $A <end>", special_tokens=[("<start>", 2), ("<end>", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", pad_token="<pad>", bos_token="<start>", eos_token="<end>"
    )
    ids = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 1}
    text = {**TEXT, "vocab_size": len(tokenizer), "max_position_embeddings": LONGEST, **ids}
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config=text, vision_config={**IMAGE, "image_size": SIDE, "patch_size": PATCH}, projection_dim=256
    )
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Pairs:
    """The batches: uint8 pictures (n, side, side, 3) of noise, and real captions."""

    def __init__(self, captions: Sequence[str], batch: int, steps: int) -> None:
        random = np.random.default_rng(0)
        shape = (steps, batch, SIDE, SIDE, 3)
        self.images = torch.from_numpy(random.integers(0, 256, shape, dtype=np.uint8))
        chosen = random.choice(len(captions), (steps, batch), replace=False)
        self.captions = [[captions[index] for index in row] for row in chosen]


def of_transformers(folder: Path, pairs: Pairs, padding: str | bool) -> tuple[float, float]:
    """Seconds of the example's loop, and its first loss."""
    from transformers import AutoTokenizer, CLIPModel

    model, tokenizer = CLIPModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    model.train()
    mean, deviation = (
        torch.tensor([0.48145466, 0.4578275, 0.40821073]),
        torch.tensor([0.26862954, 0.26130258, 0.27577711]),
    )
    coded = [
        tokenizer(texts, padding=padding, truncation=True, max_length=LONGEST, return_tensors="pt")
        for texts in pairs.captions
    ]
    pixels = [((images.float() / 255 - mean) / deviation).permute(0, 3, 1, 2).contiguous() for images in pairs.images]
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.2, **OPTIMIZER)  # type: ignore[arg-type]
    losses, start = [], time.perf_counter()
    for images, texts in zip(pixels, coded, strict=True):
        optimizer.zero_grad()
        loss = model(
            pixel_values=images,
            input_ids=texts["input_ids"],
            attention_mask=texts["attention_mask"],
            return_loss=True,
        ).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return time.perf_counter() - start, losses[0]


def of_ours(folder: Path, pairs: Pairs) -> tuple[float, float]:
    """Seconds of the trainer's steps on the same batches, and its first loss."""
    count, batch = len(pairs.captions), len(pairs.captions[0])
    settings = DualEncoderSettings.parse(
        {
            "tower": resolve_model(str(folder)).model_dump(mode="json"),
            "trainable": "all",
            "objective": {"uses": "clip"},
            "captions": {"alt": 1.0},
            "steps": count,
            "batch_size": batch,
            "lr": OPTIMIZER["lr"],
            "warmup_steps": 0,
            "schedule": "constant",
        },
        "pretrain",
    )
    task = FitDualEncoder(settings)
    task.device = torch.device("cpu")
    task.prepare()
    trainer = Trainer(task, ArrayPopulation({"nothing": np.zeros(count * batch)}))
    fields: list[Mapping[str, Any]] = [
        {"image": images, "text": task.towers.tokens(texts), "groups": torch.arange(batch)}
        for images, texts in zip(pairs.images, pairs.captions, strict=True)
    ]
    numbers, keys = torch.arange(batch), [str(number) for number in range(batch)]
    losses, start = [], time.perf_counter()
    for step, held in enumerate(fields):
        losses.append(trainer._step(step, Batch(held, numbers, keys))["loss"])
    return time.perf_counter() - start, losses[0]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    add_output_option(parser)
    options = parser.parse_args(argv)
    tables = (table for _, table in open_dataset(str(ROOT / "data" / "raw")).iter_sidecars(["captions"]))
    captions = sorted({caption_of(said, "alt") or "" for table in tables for said in table["captions"].to_pylist()})
    with tempfile.TemporaryDirectory() as place:
        folder, pairs = made_folder(Path(place), captions), Pairs(captions, options.batch, options.steps)
        loops = {
            "ours": lambda: of_ours(folder, pairs),
            "example": lambda: of_transformers(folder, pairs, "max_length"),
            "careful": lambda: of_transformers(folder, pairs, True),
        }
        rounds: list[dict[str, float]] = []
        for _ in range(options.rounds):
            timed = {name: loop() for name, loop in loops.items()}
            first = [loss for _, loss in timed.values()]
            if max(first) - min(first) > SAME:
                print(f"the loops do not compute the same: first losses {first}", file=sys.stderr)
                return 1
            rounds.append({name: seconds for name, (seconds, _) in timed.items()})
    ratios = {name: sorted(one[name] / one["ours"] for one in rounds) for name in ("example", "careful")}
    said = {name: (statistics.median(of), of[0], of[-1]) for name, of in ratios.items()}
    for name, (median, least, most) in said.items():
        print(f"{median:.2f} [{least:.2f}, {most:.2f}] times the {name} loop of transformers")
    publish(
        {"benchmark": "clip_loop", "ratios": said, "rounds": rounds, "goal": GOAL},
        options.json,
        ["torch", "transformers"],
    )
    return 0 if said["example"][0] >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
