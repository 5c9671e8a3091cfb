"""The training loop: plain torch, one function, the same on one process and on many.

    train(config, rank=0, world_size=1, report=print)

AdamW, linear warm-up and cosine, gradient clipping, logit-scale clamp, bf16 where the hardware has
it. Killed at any moment, the same call goes on from the newest checkpoint and ends with the weights
the uninterrupted run would have had, bit for bit (tests/faults/test_training_resumes.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pairwright.components.component import Objective
from pairwright.components.errors import WorkspaceError
from pairwright.components.finite import require_finite
from pairwright.components.models.contrastive import distributed, same_group
from pairwright.components.models.encoder import DualEncoder
from pairwright.components.models.finite_steps import FiniteSteps
from pairwright.components.models.heads import learning_rate, parameter_groups
from pairwright.components.models.lora import merge, save_adapter, trained_share
from pairwright.components.pretrain.build import build_loader, build_model, build_objective
from pairwright.components.pretrain.checkpoint import (
    Checkpoint,
    newest_checkpoint,
    random_state,
    restore_random,
    restore_training,
    save_checkpoint,
    seed_all,
    training_tensors,
)
from pairwright.components.pretrain.config import TrainConfig
from pairwright.components.pretrain.loader import Batch, Loader
from pairwright.components.pretrain.sampler import Sampler, sampler_for

HISTORY = "metrics.jsonl"
TIMED = ("pairs_per_s",)  # differs from run to run, so it stays out of the model's folder
Report = Callable[[dict[str, Any]], None]


def train(config: Mapping[str, Any], rank: int, world_size: int, report: Report) -> dict[str, Any]:
    """Train one model and, on rank 0, write its folder. Returns the metrics of the last step taken.

    Args:
        config: `TrainConfig` as JSON.
        report: called on every rank with each step's metrics: step, steps, epoch, loss, lr,
            grad_norm, logit_scale, pairs_per_s.

    Raises:
        ModelError: three steps in a row were not finite, or a tower does not load.
        NotFinite: features or weights are not.
        WorkspaceError: the checkpoints are of another run, or cannot be written.
        InvalidRecipe: too few pairs, or a batch that does not divide by the workers.
    """
    run = _Run(TrainConfig.model_validate(config), rank, world_size)
    done = run.resume()
    last = run.last_metrics(done)
    for step, batch in run.batches(done):
        metrics = run.step(step, batch)
        run.note(metrics)
        report(metrics)
        last = metrics if "loss" in metrics else last
        if (step + 1) % run.settings.checkpoint_every == 0 or step + 1 == run.settings.steps:
            run.checkpoint(step + 1)
    run.finish()
    return last


class _Run:
    """The state of one training run on one rank."""

    def __init__(self, config: TrainConfig, rank: int, world_size: int) -> None:
        self.device = pick_device(config.device, rank)
        self.half = wants_bfloat16(config.precision, self.device)
        # `auto` is no precision: a checkpoint of a machine that has bf16 is another run's on one that has not.
        self.config = config.model_copy(update={"precision": "bfloat16" if self.half else "float32"})
        self.settings = config.settings
        self.rank, self.world_size = rank, world_size
        if config.threads:
            torch.set_num_threads(config.threads)
        seed_all(self.settings.seed, rank)
        self.objective: Objective[Any] = build_objective(self.settings, config.objective_module)
        self.model: DualEncoder = build_model(self.settings, self.objective, self.device)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]  # the walk is slow to do at each step
        self.loader: Loader = build_loader(config, self.model)
        self.sampler: Sampler = sampler_for(self.loader.pairs, self.settings.batch_size, self.settings.seed, world_size)
        groups = parameter_groups(self.model, self.settings.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=self.settings.lr, betas=(0.9, self.settings.beta2))
        self.finite = FiniteSteps(f"lower lr ({self.settings.lr}), raise warmup_steps or leave these pairs out")
        self.root = Path(config.checkpoints)
        self.started = time.perf_counter()

    def resume(self) -> int:
        """Restore the newest checkpoint, if any; how many steps are done."""
        found = newest_checkpoint(self.root)
        if found is None:
            self._keep_history(0)
            return 0
        if found.state["run"] != self.config.digest:
            raise WorkspaceError(
                f"{self.root} holds checkpoints of another run (of other settings, data, code or precision; this one "
                f"computes in {self.config.precision}); name another folder or delete it"
            )
        assert list(self.sampler.place(found.step)) == [found.state["epoch"], found.state["position"]]
        self._restore(found)
        self._keep_history(found.step)
        return found.step

    def _restore(self, found: Checkpoint) -> None:
        tensors = found.tensors()
        restore_training(self.model, self.optimizer, tensors)
        self.finite.skipped, self.finite.in_a_row = found.state["skipped"]
        prefix = f"random.{self.rank}."
        streams = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        if streams and found.state["world_size"] == self.world_size:
            restore_random(streams)
        else:  # another number of workers: the same data order, fresh streams
            seed_all(self.settings.seed + found.step, self.rank)

    def batches(self, done: int) -> Iterator[tuple[int, Batch]]:
        """(step, batch) from step `done` on."""
        steps = range(done, self.settings.steps)
        numbers = ((self.sampler.place(s)[0], self.sampler.batch(s, self.rank, self.world_size)) for s in steps)
        yield from zip(steps, self.loader.stream(numbers), strict=True)

    def step(self, step: int, batch: Batch) -> dict[str, Any]:
        """One optimizer step, if it is finite; `step` counts from 0, the metrics' `step` from 1.

        A step that was skipped has no `loss` and no `grad_norm`, but says how many were `skipped`.
        """
        began = time.perf_counter()
        rate = self._set_rate(step)
        loss = self._loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(self.model, self.world_size)
        norm = nn.utils.clip_grad_norm_(self.trained, self.settings.clip_norm)
        value = average(loss.detach(), self.world_size)
        taken = self.finite.allow(value, float(norm), batch["keys"])  # the same on every rank
        if taken:
            self.optimizer.step()
            self.model.clamp_scale()
        measured = {"loss": value, "grad_norm": float(norm)} if taken else {"skipped": self.finite.skipped}
        return {
            "step": step + 1,
            "steps": self.settings.steps,
            "epoch": self.sampler.place(step)[0],
            **measured,
            "lr": rate,
            "logit_scale": float(self.model.scale.detach()),
            "pairs_per_s": self.sampler.batch_size / max(time.perf_counter() - began, 1e-9),
        }

    def _loss(self, batch: Batch) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            image, text = self.loader.embed(self.model, batch)
        extra: dict[str, Any] = {}
        if getattr(self.objective.settings, "positives", "pair") == "group":
            extra["positive"] = same_group(batch["groups"].to(self.device))
        bias = self.model.logit_bias
        named = self.objective.loss(image.float(), text.float(), logit_scale=self.model.scale, logit_bias=bias, **extra)
        return named["loss"]

    def _set_rate(self, step: int) -> float:
        settings = self.settings
        rate = learning_rate(step, peak=settings.lr, warmup_steps=settings.warmup_steps, steps=settings.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def checkpoint(self, step: int) -> None:
        """Commit the state after `step` steps; every rank's random streams are in it."""
        streams: list[Any] = [random_state()]
        if distributed():
            streams = [None] * self.world_size
            dist.all_gather_object(streams, random_state())
        if self.rank == 0:
            require_finite_weights(self.model, f"the weights after step {step}")
            tensors = training_tensors(self.model, self.optimizer)
            for rank, stream in enumerate(streams):
                tensors |= {f"random.{rank}.{name}": value for name, value in stream.items()}
            epoch, position = self.sampler.place(step)
            state = {"run": self.config.digest, "epoch": epoch, "position": position, "world_size": self.world_size}
            state["skipped"] = [self.finite.skipped, self.finite.in_a_row]
            save_checkpoint(self.root, step, state, tensors)
        if distributed():
            dist.barrier()

    def note(self, metrics: Mapping[str, Any]) -> None:
        """Append a step's metrics to the history."""
        if self.rank == 0:
            with open(self.root / HISTORY, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(metrics) + "\n")

    def _keep_history(self, steps: int) -> None:
        """Forget metrics of steps that will be done again."""
        if self.rank == 0:
            self.root.mkdir(parents=True, exist_ok=True)
            kept = [line for line in read_history(self.root / HISTORY) if line["step"] <= steps]
            (self.root / HISTORY).write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def last_metrics(self, done: int) -> dict[str, Any]:
        history = [line for line in read_history(self.root / HISTORY) if "loss" in line] if done else []
        return history[-1] if history else {"step": done, "steps": self.settings.steps}

    def finish(self) -> None:
        """Write the model folder and its curve."""
        if self.rank == 0:
            from pairwright.components.pretrain.card import model_card

            folder = Path(self.config.folder)
            history = read_history(self.root / HISTORY)
            require_finite_weights(self.model, "the trained weights")
            share = trained_share(self.model)
            if self.settings.trainable == "lora":
                save_adapter(self.model, folder)
                merge(self.model)  # the folder's weights are plain layers, adapters folded in
            self.model.save(folder, model_card(self.config, self.loader.pairs, self.loader.excluded, history, share))
            curve = ({k: v for k, v in line.items() if k not in TIMED} for line in history)
            (folder / HISTORY).write_text("".join(json.dumps(line) + "\n" for line in curve), encoding="utf-8")
        if distributed():
            dist.barrier()


def read_history(path: Path) -> list[dict[str, Any]]:
    """Metrics by step; a last line cut short by a kill is left out."""
    found: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def require_finite_weights(model: nn.Module, what: str) -> None:
    """Raise NotFinite unless all trained weights are: finite gradients can still overflow a weight."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            require_finite(parameter, f"{what}, {name}", "lower lr")


def pick_device(device: str, rank: int) -> torch.device:
    """`auto` is a GPU where there is one; ranks of one machine take turns over its GPUs."""
    if device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", rank % torch.cuda.device_count())


def wants_bfloat16(precision: str, device: torch.device) -> bool:
    """`auto` means bf16 on a GPU that has it; a CPU computes in float32 unless told otherwise."""
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return precision == "bfloat16"


def average_gradients(model: nn.Module, world_size: int) -> None:
    """The mean of every rank's gradients, in one flat exchange."""
    if not distributed():
        return
    gradients = [p.grad for p in model.parameters() if p.requires_grad and p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    dist.all_reduce(flat)
    flat /= world_size
    at = 0
    for gradient in gradients:
        gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient))
        at += gradient.numel()


def average(value: Tensor, world_size: int) -> float:
    if distributed():
        value = value.clone()
        dist.all_reduce(value)
        value /= world_size
    return float(value)
