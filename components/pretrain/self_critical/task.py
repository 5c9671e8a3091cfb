"""Self-critical tuning: a captioner says what is rewarded, by policy gradient, and what it loses for it is watched.

    tuned:
      uses: self_critical
      with:
        init: "step:captioner"
        weighting: code
        rewards:
          - {uses: clip_s, with: {model: "step:retriever"}}
          - {uses: grammar, with: {model: "step:grammar"}}

    L = -mean_k (r(c_k) - b) log p(c_k | I) + beta sum_t KL(p || p_start),    c_k ~ p, k = 1..K

with b the reward of the greedy caption (Rennie et al., 2017; CLIP Reward, Cho et al., 2022), of the other samples
(RLOO) or the running mean (DiscriTune, Dessi et al., 2023). Rewards are files of `components/pretrain/caption_rewards`;
none of them is reached by a gradient. Captions are drawn in training mode and greedy ones said in evaluation mode; a
sample depends on (seed, epoch, key) alone. Beside the reward, guards that it does not contain go to the metrics of
each step and stop the training where they say so (`guards.py`); after that, steps change nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pairwright.components.component import Reward
from pairwright.components.dataset.examples.example import Examples
from pairwright.components.dataset.examples.wish import ImageWish, Reads
from pairwright.components.pretrain.self_critical.guards import StopRule, guarded
from pairwright.components.pretrain.self_critical.settings import SelfCriticalSettings
from pairwright.components.registry import named_component, task
from pairwright.components.settings import ModelFolder
from pairwright.components.training.batch import Batch, own_names
from pairwright.components.training.task import Seen, Task, Trained

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pairwright.components.dataset.examples.population import Population
    from pairwright.components.models.captioner.captioner import Captioner
    from pairwright.components.pretrain.self_critical.looks import Looks

SHOWN_SIDE = 64  # pixels
LAST = 50  # steps of either end that the card compares


@task("self_critical")
class SelfCritical(Task[SelfCriticalSettings]):
    """Writes a captioner's folder, and figures: the reward beside its guards, captions by step.

    Metrics: `reward` and each guard over the last steps, and `stopped_at`, the steps taken where a guard stopped it.
    """

    libraries = ("torch", "transformers")
    speaks = ("captioner",)
    joint = True
    captioner: Captioner
    start: Captioner
    looks: Looks

    def __init__(self, settings: SelfCriticalSettings) -> None:
        super().__init__(settings)
        self.rule = StopRule(settings.stop, settings.late)
        self.progress = 0.0
        self.paid = [0.0, 0.0]  # rewards of samples so far: their sum and how many

    @cached_property
    def rewards(self) -> dict[str, Reward[Any]]:
        """The rewards that count, by name."""
        found: dict[str, Reward[Any]] = {}
        for choice in self.settings.rewards:
            if self.settings.weights[choice.name]:
                made = named_component(choice)
                assert isinstance(made, Reward)
                found[choice.name] = made
        return found

    def column_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.reads().columns, *self.settings.order_columns)))

    def caption_sources(self) -> tuple[str, ...]:
        return self.reads().texts

    def reads(self) -> Reads:
        wish = self.settings
        own = () if wish.source is None else (wish.source,)
        found = Reads(columns=(wish.features,), texts=own, optional=frozenset(own))
        for one in self.rewards.values():
            found = found + one.reads()
        return found

    def build(self) -> nn.Module:
        import torch
        from torch import nn

        from pairwright.components.models.captioner.folder import load_captioner
        from pairwright.components.models.captioner.pretrained import PretrainedDecoder
        from pairwright.components.pretrain.self_critical.looks import Looks

        assert self.settings.init is not None
        self.captioner = load_captioner(str(self.settings.init.path)).requires_grad_(True)
        frozen = isinstance(self.captioner.decoder, PretrainedDecoder)
        if frozen:  # as it was trained; both captioners speak by the same one
            self.captioner.decoder.requires_grad_(False)
        shared = {id(self.captioner.decoder): self.captioner.decoder} if frozen else {}
        self.start = copy.deepcopy(self.captioner, shared).requires_grad_(False)
        self.captioner.train()
        judges = {}
        for name, one in self.rewards.items():
            one.population, one.device = self.population, torch.device(self.device)
            if (made := one.modules()) is not None:
                judges[name] = made.requires_grad_(False).eval()
        self.looks = Looks(
            self.population.size, self.settings.shown, self.settings.looks, self.captioner.longest, self._told_of
        )
        return nn.ModuleDict({"captioner": self.captioner, "start": self.start, "rewards": nn.ModuleDict(judges)})

    def start_from(self, folder: Path) -> None:
        """`build` did: the captioner's words and sizes are its folder's."""

    def collate(self, examples: Examples) -> Mapping[str, Any]:
        import torch

        drawn = examples.draw("samples", (self.settings.samples,)) * 2.0**53
        fields = {"image": self._image(examples), "seeds": torch.from_numpy(drawn.astype(np.int64))}
        if self.settings.source is not None:
            own = self.captioner.tokens.encode(examples.texts(self.settings.source), self.captioner.longest)
            fields["reference"] = self._padded(own)
        for name, one in self.rewards.items():
            fields |= {f"{name}.{field}": value for field, value in one.collate(examples).items()}
        return fields

    def _image(self, examples: Examples) -> Tensor:
        import torch

        return torch.from_numpy(np.asarray(examples.column(self.settings.features), np.float32))

    def _padded(self, tokens: Tensor) -> Tensor:
        from torch.nn import functional as F  # noqa: N812

        return F.pad(tokens, (0, 2 + self.captioner.longest - tokens.shape[1]), value=self.captioner.tokens.end)

    def _told(self, image: Tensor) -> dict[str, Tensor]:
        import torch

        n, device = len(image), image.device
        return {"image": image} | {name: torch.full((n,), at, device=device) for name, at in self.settings.tell.items()}

    def _told_of(self, numbers: np.ndarray) -> dict[str, Tensor]:
        return self._told(self._image(self.population.read(numbers, 0, 0)).to(self.device))

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Captions of each pair, K drawn and the greedy one last: what they cost, and what rewards say of them."""
        import torch

        from pairwright.components.pretrain.self_critical.policy import spoken, texts_of

        if self.rule.reason is not None:
            return {"idle": torch.zeros(len(batch), device=batch["image"].device)}
        model, count = self.captioner, self.settings.samples
        once = self._told(batch["image"])
        many = {name: value.repeat_interleave(count, dim=0) for name, value in once.items()}
        drawn, greedy = spoken(model, many, batch["seeds"].flatten().tolist()), spoken(model, once)
        found = self._costs(many, drawn) | {"fluency": self._fluency(once, greedy), "greedy": greedy}
        if self.settings.source is not None:
            found["reference"] = batch["reference"]
        said, likeliest = texts_of(model, drawn), texts_of(model, greedy)
        captions = [[*said[row * count :][:count], likeliest[row]] for row in range(len(batch))]
        with torch.no_grad():
            for name, one in self.rewards.items():
                own = one.encode(batch.of(name), captions)
                found |= {f"{name}.{field}": value for field, value in own.items()}
        return found

    def _costs(self, told: Mapping[str, Tensor], drawn: Tensor) -> dict[str, Tensor]:
        """`log_p` and `kl` of the samples, (n, K); the KL has a gradient where it has a weight."""
        import torch

        from pairwright.components.pretrain.self_critical.policy import costs, divergence

        logs, nats = costs(self.captioner, told, drawn)
        with torch.no_grad():
            before, _ = costs(self.start, told, drawn)
        kl = divergence(logs if self.settings.kl else logs.detach(), before, self.captioner.counted(drawn))
        shape = (-1, self.settings.samples)
        return {"log_p": -nats.sum(1).view(shape), "kl": kl.view(shape)}

    def _fluency(self, told: Mapping[str, Tensor], greedy: Tensor) -> Tensor:
        """Nats a word, the end among them, that greedy captions cost the start model: (n,)."""
        import torch

        from pairwright.components.pretrain.self_critical.policy import costs

        with torch.no_grad():
            _, nats = costs(self.start, told, greedy)
        return nats.sum(1) / self.start.counted(greedy).sum(1)

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """`loss`, `reward`, each reward's own mean before its weight, and the guards."""
        import torch

        from pairwright.components.pretrain.self_critical.policy import advantages, policy_loss

        if self.rule.reason is not None:
            return {"loss": torch.zeros(()), "stopped": torch.ones(())}
        log_p, named = outputs["log_p"], {}
        with torch.no_grad():
            paid = torch.zeros(len(log_p), self.settings.samples + 1, device=log_p.device)
            for name, one in self.rewards.items():
                each = one.score(own_names(outputs, name), batch.of(name), self.progress).float()
                named[f"reward_{name}"] = each[:, :-1].mean()
                paid = paid + self.settings.weights[name] * each
            advantage = advantages(paid, self.settings.baseline, self.paid[0] / max(self.paid[1], 1.0))
            named |= {"reward": paid[:, :-1].mean(), "reward_greedy": paid[:, -1].mean()}
        loss = policy_loss(log_p, advantage)
        if self.settings.kl:
            loss = loss + self.settings.kl * outputs["kl"].mean()
        rows = {name: outputs[name].detach() for name in ("kl", "fluency", "greedy", "reference") if name in outputs}
        found = self._guarded(rows)
        named |= {name: torch.tensor(value) for name, value in found.items()}
        return {"loss": loss, **named, "paid": paid[:, :-1]} | {f"of_{name}": value for name, value in rows.items()}

    def _guarded(self, rows: Mapping[str, Tensor]) -> dict[Any, float]:
        end = self.captioner.tokens.end
        return guarded(rows["greedy"], end, rows["kl"], rows["fluency"], rows.get("reference"))

    def after_step(self, seen: Seen) -> None:
        if self.rule.reason is not None:
            return
        self.progress = (seen.step + 1) / seen.steps
        paid = seen.values["paid"]
        self.paid = [self.paid[0] + float(paid.double().sum()), self.paid[1] + paid.numel()]
        rows = {name.removeprefix("of_"): value for name, value in seen.values.items() if name.startswith("of_")}
        self.rule.note(self._guarded(rows))
        self.looks.note(self.captioner, seen.step + 1, seen.steps)

    def state_dict(self) -> dict[str, Tensor]:
        import torch

        own = {"progress": torch.tensor([self.progress, *self.paid], dtype=torch.float64)}
        return own | self.rule.state_dict() | self.looks.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.progress, *self.paid = state["progress"].tolist()
        self.rule.load_state_dict(state)
        self.looks.load_state_dict(state)

    def save(self, folder: Path, trained: Trained) -> Mapping[str, Any]:
        from pairwright.components.models.captioner.folder import save_captioner, taught_on
        from pairwright.components.models.captioner.pictures import note_tuned_on
        from pairwright.components.models.figures import save_figures
        from pairwright.components.pretrain.self_critical.figures import guard_figure, look_figure

        assert self.settings.init is not None
        last, first = _last(trained.history), Path(str(self.settings.init.path))
        save_captioner(self.captioner, folder, _card(self.settings, last, self._ended(), trained), taught_on(first))
        note_tuned_on(folder, self._judges(first))
        keys = [self.population.key(int(number)) for number in self.looks.numbers]
        captions = look_figure(self.looks.captions(self.start), keys, pictures_of(self.population, self.looks.numbers))
        curves = [guard_figure(trained.history, self.settings.stop, self._ended())] if last else []
        save_figures(folder, [*curves, captions])
        return last | ({} if self.rule.stopped is None else {"stopped_at": float(self.rule.stopped)})

    def _judges(self, first: Path) -> set[str]:
        """Weights' hashes of all models that rewarded it, those of the captioner it started from among them."""
        from pairwright.components.models.captioner.pictures import tuned_on
        from pairwright.components.models.resolve import hash_folder

        named = [value for one in self.rewards.values() for _, value in one.settings if isinstance(value, ModelFolder)]
        return {hash_folder(Path(str(one.path))) for one in named} | set(tuned_on(first))

    def _ended(self) -> str:
        if self.rule.reason is None:
            return "No guard stopped it."
        limit = self.settings.stop[self.rule.reason]
        return f"It was stopped after {self.rule.stopped} steps: {self.rule.reason} went beyond {limit:g}."


def pictures_of(population: Population, numbers: np.ndarray) -> list[np.ndarray | None]:
    """RGB pictures of these examples, about 64 pixels a side; None where there is none, or none that can be read."""
    whole = population.beside(Reads(media={"image": ImageWish(SHOWN_SIDE)}))
    if "image" not in whole.reads.media:
        return [None] * len(numbers)
    seen = whole.read(numbers, 0, 0)
    found = dict(zip(seen.numbers.tolist(), seen.media("image"), strict=True))
    return [found.get(number) for number in numbers.tolist()]


def _last(history: list[dict[str, Any]]) -> dict[str, float]:
    """Means of what was named, over the last steps that were taken."""
    taken = [line for line in history if "reward" in line][-LAST:]
    whose = set(taken[0]) - {"step", "steps", "epoch", "lr", "loss", "grad_norm"} if taken else set()
    return {name: float(np.mean([line[name] for line in taken])) for name in sorted(whose)}


def _card(wish: SelfCriticalSettings, last: Mapping[str, float], ended: str, trained: Trained) -> str:
    assert wish.init is not None
    rewards = ", ".join(f"{weight:g} x `{name}`" for name, weight in wish.weights.items() if weight)
    rows = "\n".join(f"| {name}, last steps | {value:.4g} |" for name, value in last.items())
    return f"""# Captioner, tuned by rewards

A captioner (`{wish.init.reference}`) that learnt to say what is rewarded, by policy gradient.

| | |
|---|---|
| rewards | {rewards} |
| baseline | {wish.baseline}; {wish.samples} captions drawn of each picture |
| KL to where it started | costs {wish.kl:g} a nat |
| pairs | {trained.pairs}, {trained.excluded} lacked what it reads |
| training | batches of {wish.batch_size}, AdamW, peak lr {wish.lr:g}, seed {wish.seed} |
{rows}

{ended} A reward that rises says that captions please what rewards them; look at the guards and at the captions.
"""
