"""The trainer: the one place where an optimizer steps, the same for every task, on one process and on many.

    trainer = Trainer(task, population, checkpoints=root, run="digest"); trainer.train(report); trainer.save(folder)

Killed at any moment, the same call goes on from the newest checkpoint and ends with the weights the
uninterrupted run would have had, bit for bit (tests/faults/test_training_resumes.py).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pairwright.components.errors import ModelError, WorkspaceError
from pairwright.components.finite import require_finite
from pairwright.components.training.average import Average
from pairwright.components.training.batch import Batch
from pairwright.components.training.checkpoint import (
    Checkpoint,
    kept,
    newest_checkpoint,
    random_state,
    restore_random,
    restore_training,
    save_checkpoint,
    seed_all,
    task_state,
    training_tensors,
)
from pairwright.components.training.contract import Seen, TaskBase, Trained
from pairwright.components.training.finite_steps import FiniteSteps
from pairwright.components.training.gradients import accumulated_gradients, joint_batch, joint_gradients
from pairwright.components.training.history import HISTORY, History, read_history, untimed
from pairwright.components.training.loader import Loader
from pairwright.components.training.order import order_of
from pairwright.components.training.parameters import freeze, frozen_hash, parameter_groups, trained
from pairwright.components.training.precision import Precision, resolve_precision
from pairwright.components.training.ranks.parallel import barrier, distributed, gather, gather_objects, total
from pairwright.components.training.ranks.replicated import Replicated
from pairwright.components.training.ranks.sharded import Sharded
from pairwright.components.training.ranks.shares import whole
from pairwright.components.training.schedule import learning_rate
from pairwright.components.training.speed import compiled, dropped_patches, recomputed

Report = Callable[[dict[str, Any]], None]


class Trainer:
    """One training run on one rank.

    Args:
        population: what is trained on.
        checkpoints: a folder that outlives a kill; None keeps none (a fit of seconds).
        run: digest of all that decides the weights; checkpoints of another are refused.

    Raises:
        ModelError: a tower does not load, a pattern fits nothing.
        InvalidRecipe: too few examples, or a batch that does not divide by the workers.
    """

    def __init__(
        self,
        task: TaskBase[Any],
        population: Any,
        *,
        checkpoints: Path | None = None,
        run: str = "",
        device: torch.device | str = "cpu",
        precision: str = "float32",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.task, self.settings, self.population = task, task.settings, population
        self.device = torch.device(device)
        self.precision = Precision(resolve_precision(precision, self.device), self.device)
        self.rank, self.world_size, self.root, self.run = rank, world_size, checkpoints, run
        task.population, task.device = population, self.device
        seed_all(self.settings.seed, 0)  # every rank draws the same weights to begin with
        self.model = self._built()
        seed_all(self.settings.seed, rank)
        self.order = order_of(
            population.sizes,
            self.settings.batch_size,
            self.settings.seed,
            world_size,
            min(self.settings.window or population.window, population.window),
            self._same(self.settings.distinct),
            self._same(self.settings.batches_of, lacking_alike=True),
        )
        self.steps = self._steps()
        self.ranks = self._ranks()
        self.optimizer = self._optimizer()
        self.average = Average(self.model, self.settings.average) if self.settings.average else None
        self.finite = FiniteSteps(f"lower lr ({self.settings.lr}), raise warmup_steps or leave these pairs out")
        self.failed = 0
        self.done = self._resume()

    def _built(self) -> nn.Module:
        model = self.task.build()
        self.task.model = model
        if self.settings.init is not None:
            self.task.start_from(Path(str(self.settings.init.path)))
        freeze(model, self.settings.freeze)
        if not trained(model):
            raise ModelError(f"task {self.task.name} trains nothing; take a pattern out of freeze")
        if not self._is_sharded():  # else it may not fit before it is
            model.to(self.device)
        if self.settings.recompute:
            recomputed(model)
        self.frozen = frozen_hash(model, self.task.moving)
        self.dropping = dropped_patches(model, self.settings.patch_dropout) if self.settings.patch_dropout else []
        if self.settings.compile:
            compiled(model)
        return model

    def _same(self, name: str | None, *, lacking_alike: bool = False) -> np.ndarray | None:
        """Which examples are the same by this fact, for the order; not asked for where the order could not heed it."""
        if name is None:
            return None
        if self.population.window < self.population.size:
            return np.zeros(self.population.size, np.int64)  # the order refuses it, and says why
        found: np.ndarray = self.population.identities(name, lacking_alike=lacking_alike)
        return found

    def _steps(self) -> int:
        if self.settings.epochs is None:
            return self.settings.steps
        return max(1, round(self.settings.epochs * self.order.steps_per_epoch))

    def _is_sharded(self) -> bool:
        return self.settings.parallel == "sharded" and distributed()  # one process holds the only share

    def _ranks(self) -> Replicated:
        return Sharded(self.model, self.device) if self._is_sharded() else Replicated()

    def _optimizer(self) -> torch.optim.Optimizer:
        wish = self.settings
        groups = parameter_groups(self.model, wish.weight_decay, rates=wish.rates, layer_decay=wish.layer_decay)
        groups = [group for group in groups if group["params"]]
        # On a CPU the fused step is one pass over the weights instead of a dozen; elsewhere torch chooses.
        fused = True if self.device.type == "cpu" else None
        return torch.optim.AdamW(groups, lr=wish.lr, betas=(wish.beta1, wish.beta2), fused=fused)

    # -- the loop ------------------------------------------------------------------------------

    def train(self, report: Report = lambda _: None) -> dict[str, Any]:
        """Take the steps that are left; the metrics of the last one taken.

        Raises:
            ModelError: three steps in a row were not finite.
            NotFinite: features or weights are not.
            DatasetError: more examples than the budget allows could not be read.
        """
        history = History(self.root, self.done) if self.root is not None and self.rank == 0 else None
        last = self._last_metrics()
        before = self.population.failures.failed
        loader = self._loader()
        try:
            for step, batch in loader.stream(self.done, self.steps - self.done):
                self._pass_over(step)
                began = time.perf_counter()
                try:
                    metrics = self._step(step, batch)
                except RuntimeError as error:
                    raise self.ranks.explained(error) from error
                metrics["examples_per_s"] = self.order.batch_size / max(time.perf_counter() - began, 1e-9)
                if history is not None:
                    history.note(metrics)
                report(metrics)
                last = metrics if "loss" in metrics else last
                self.done = step + 1
                if self.root is not None and self._is_kept(self.done):
                    self.checkpoint()
            if self.done < self.steps:
                self._pass_over(self.steps)
                if self.root is not None:
                    self.checkpoint()
        finally:
            self.times, self.advice = loader.times, loader.advice()
            self.failed += self.population.failures.failed - before
            if history is not None:
                history.close()
        self._prove_frozen()
        self._gather()
        return last

    def _loader(self) -> Loader:
        return Loader(
            self.population,
            self.order,
            self.task.collate,
            seed=self.settings.seed,
            rank=self.rank,
            world_size=self.world_size,
            ahead=self.settings.ahead,
            threads=self.settings.threads,
            device=self.device,
        )

    def _pass_over(self, step: int) -> None:
        """Steps before `step` that had no batch, since none of its examples could be read: their epochs end, too."""
        for missed in range(self.done, step):
            self._end_epoch(missed)
        self.done = step

    def _end_epoch(self, step: int) -> None:
        if (step + 1) % self.order.steps_per_epoch == 0:
            self.task.after_epoch(self.order.place(step)[0])

    def _is_kept(self, done: int) -> bool:
        return done % self.settings.checkpoint_every == 0 or done == self.steps

    def _step(self, step: int, batch: Batch) -> dict[str, Any]:
        """One optimizer step, if it is finite; `step` counts from 0, the metrics' `step` from 1.

        A step that was skipped has no `loss` and no `grad_norm`, but says how many were `skipped`.
        """
        rate = self._set_rate(step)
        self.optimizer.zero_grad(set_to_none=True)
        batch = batch.to(self.device)
        joint = joint_batch(batch)
        named = self._gradients(batch, joint)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.ranks.settle(parameters)
        self.precision.unscale([p.grad for p in parameters if p.grad is not None])
        norm = self.ranks.clip(parameters, self.settings.clip_norm)
        values = self._agreed({name: float(value.detach()) for name, value in named.items() if value.ndim == 0})
        epoch = self.order.place(step)[0]
        taken = self._allowed(values["loss"], norm, batch.keys)
        if taken:
            self.optimizer.step()
            self.precision.taken()
            if self.average is not None:
                self.average.update()
            self._tell(step, epoch, joint, named)
        self._end_epoch(step)
        measured = values | {"grad_norm": norm} if taken else self._skips()
        return {"step": step + 1, "steps": self.steps, "epoch": epoch, **measured, "lr": rate}

    def _gradients(self, batch: Batch, joint: Batch) -> dict[str, Tensor]:
        if self.task.joint:
            return joint_gradients(
                self.task, self.model, batch, joint, self.settings.micro_batch, self.precision, self.ranks
            )
        return accumulated_gradients(self.task, batch, self.settings.micro_batch, self.precision, self.ranks)

    def _agreed(self, values: Mapping[str, float]) -> dict[str, float]:
        """The same numbers on every rank: means of what each computed of the joint batch."""
        return {name: value / self.world_size for name, value in total(values).items()}

    def _allowed(self, loss: float, norm: float, keys: list[str]) -> bool:
        if math.isfinite(loss) and not math.isfinite(norm) and self.precision.found_infinite():
            return False
        return self.finite.allow(loss, norm, keys)

    def _skips(self) -> dict[str, float]:
        scaled = {"scaled_down": self.precision.scaled_down} if self.precision.name == "float16" else {}
        return {"skipped": self.finite.skipped, **scaled}

    def _tell(self, step: int, epoch: int, joint: Batch, named: Mapping[str, Tensor]) -> None:
        """The task's own bookkeeping, on the whole batch of all ranks."""
        fields = {
            name: joint[name] for name in joint.names if isinstance(joint[name], Tensor) and joint[name].ndim == 1
        }
        rows = {name: value.detach() for name, value in named.items() if value.ndim}
        if not self.task.joint:
            rows = {name: gather(value) for name, value in rows.items()}
        values = {name: value.cpu() for name, value in {**fields, **rows}.items()}
        self.task.after_step(Seen(step, self.steps, epoch, joint.numbers.cpu(), values))

    def _set_rate(self, step: int) -> float:
        wish = self.settings
        rate = learning_rate(
            step,
            peak=wish.lr,
            warmup_steps=wish.warmup_steps,
            steps=self.steps,
            schedule=wish.schedule,
            cycles=wish.cycles,
            final=wish.final_lr,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        return rate

    # -- going on ------------------------------------------------------------------------------

    def _resume(self) -> int:
        """Restore the newest checkpoint, if any; how many steps are done."""
        found = newest_checkpoint(self.root) if self.root is not None else None
        if found is None:
            return 0
        if found.state["run"] != self.run:
            raise WorkspaceError(
                f"{self.root} holds checkpoints of another run (of other settings, data, code or precision; this one "
                f"computes in {self.precision.name}); name another folder or delete it"
            )
        self._restore(found)
        return found.step

    def _restore(self, found: Checkpoint) -> None:
        tensors = found.tensors()
        restore_training(self.model, self.optimizer, tensors, self.task.moving)
        if self.average is not None:
            self.average.restore(_under("average.", tensors))
        self.task.load_state_dict(_under("task.", tensors))
        self.precision.restore(found.state["precision"])
        self.finite.skipped, self.finite.in_a_row = found.state["skipped"]
        self.failed = found.state["failed"]
        streams = _under(f"random.{self.rank}.", tensors)
        if streams and found.state["world_size"] == self.world_size:
            restore_random(streams)
        else:  # another number of workers: the same data order, fresh streams
            seed_all(self.settings.seed + found.step, self.rank)

    def checkpoint(self) -> None:
        """Commit the state after `self.done` steps; every rank's random streams are in it."""
        assert self.root is not None
        streams = gather_objects(random_state())
        failed = int(total({"failed": self.failed + self.population.failures.failed})["failed"])
        require_finite_weights(self.model, f"the weights after step {self.done}")
        tensors = kept(training_tensors(self.model, self.optimizer, self.task.moving), self.rank == 0)
        if self.average is not None:
            tensors |= kept(((f"average.{name}", one) for name, one in self.average.state().items()), self.rank == 0)
        if self.rank == 0:
            told = task_state(self.task.state_dict(), self.task.name)
            tensors |= {f"task.{name}": value for name, value in told.items()}
            for rank, stream in enumerate(streams):
                tensors |= {f"random.{rank}.{name}": value for name, value in stream.items()}
            state = {
                "run": self.run,
                "world_size": self.world_size,
                "skipped": [self.finite.skipped, self.finite.in_a_row],
                "precision": self.precision.state(),
                "failed": failed,
            }
            save_checkpoint(self.root, self.done, state, tensors)
        barrier()

    def _last_metrics(self) -> dict[str, Any]:
        lines = read_history(self.root / HISTORY) if self.root is not None and self.done else []
        taken = [line for line in lines if "loss" in line and line["step"] <= self.done]
        return taken[-1] if taken else {"step": self.done, "steps": self.steps}

    # -- the end -------------------------------------------------------------------------------

    def _gather(self) -> None:
        self.ranks.gather()
        if self.average is not None:
            self.average.gather(self.model, self.rank == 0)

    def _prove_frozen(self) -> None:
        if frozen_hash(self.model, self.task.moving) != self.frozen:
            raise ModelError(
                f"task {self.task.name} changed frozen parameters; name what moves without a gradient in `moving`"
            )

    def save(self, folder: Path) -> Mapping[str, Any]:
        """Write the model folder and its curve, the averaged weights if there are any; the task's own metrics."""
        require_finite_weights(self.model, "the trained weights")
        history = untimed(read_history(self.root / HISTORY)) if self.root is not None else []
        self.model.eval()
        for hook in self.dropping:
            hook.remove()
        with self.average.applied() if self.average is not None else nullcontext():
            metrics = self.task.save(folder, self._trained(history)) or {}
        (folder / HISTORY).write_text("".join(json.dumps(line) + "\n" for line in history), encoding="utf-8")
        return metrics

    def _trained(self, history: list[dict[str, Any]]) -> Trained:
        counts = [(p.numel(), p.requires_grad) for p in self.model.parameters()]
        return Trained(
            pairs=self.population.size,
            excluded=self.population.excluded,
            failed=self.failed,
            shards=len(self.population.sizes),
            history=history,
            share=sum(n for n, moves in counts if moves) / max(1, sum(n for n, _ in counts)),
            skipped=self.finite.skipped,
        )


def require_finite_weights(model: nn.Module, what: str) -> None:
    """Raise NotFinite unless all trained weights are: finite gradients can still overflow a weight."""
    for name, parameter in trained(model).items():
        require_finite(whole(parameter.detach()), f"{what}, {name}", "lower lr")


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
