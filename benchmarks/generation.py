"""Captions by our decoding against `transformers.generate`, and a batch over the cache against one by one without it.

    python -m benchmarks.generation                 # a GPT-2 of 6 layers, width 128, 64 captions of 16 tokens

Four ways to say the same tokens are timed in turn, `--rounds` times; ratios are medians within a round.

- GPT-2 by transformers' own `generate`, greedily, over its cache;
- the same GPT-2 object by our decoding (`decoder: FOLDER`): at least 0.9 of its speed;
- our own decoder with the same weights, which is what a captioner from nothing runs: at least 0.9 likewise;
- that decoder one caption after another without a cache: the batch with cache is at least 5 times as fast.

All four say the same tokens, or nothing is reported.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import add_output_option, publish
from pairwright.components.models.captioner.captioner import CaptionSession
from pairwright.components.models.captioner.decoder import Decoder, SmallDecoder
from pairwright.components.models.captioner.pretrained import PretrainedDecoder
from pairwright.components.models.decoding.sampling import greedy

VOCABULARY, WIDTH, LAYERS, HEADS, PREFIX = 4000, 128, 6, 4, 5
BATCHED, AGAINST_THEIRS = 5.0, 0.9
NO_END = VOCABULARY - 1  # whose logit is never the highest here: all captions are as long


def gpt2(length: int) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    shape = {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_positions": length}
    ids = {"bos_token_id": 0, "eos_token_id": NO_END, "pad_token_id": NO_END}
    config = GPT2Config(vocab_size=VOCABULARY, activation_function="gelu", initializer_range=0.2, **shape, **ids)
    return GPT2LMHeadModel(config).eval()


def with_weights_of(theirs: Any, length: int) -> SmallDecoder:
    """Our decoder with a GPT-2's weights."""
    body, names = theirs.transformer, {"norm": "ln_1", "mix": "attn.c_attn", "out": "attn.c_proj"}
    names |= {"then.0": "ln_2", "then.1": "mlp.c_fc", "then.3": "mlp.c_proj"}
    state = {"words.weight": body.wte.weight, "place": body.wpe.weight}
    state |= {"norm.weight": body.ln_f.weight, "norm.bias": body.ln_f.bias}
    for number, block in enumerate(body.h):
        for mine, yours in names.items():
            of = block.get_submodule(yours)
            state[f"layers.{number}.{mine}.weight"] = of.weight.T if of.weight.ndim == 2 else of.weight
            state[f"layers.{number}.{mine}.bias"] = of.bias
    ours = SmallDecoder(VOCABULARY, length, WIDTH, LAYERS, HEADS)
    ours.load_state_dict(state)
    return ours.eval()


@torch.no_grad()
def by_ours(decoder: Decoder, x: Tensor, longest: int) -> Tensor:
    session = CaptionSession(decoder, decoder.cache(len(x), x.shape[1] + longest), x, None, None)
    return greedy(session, NO_END, longest)


@torch.no_grad()
def one_by_one(decoder: Decoder, x: Tensor, longest: int) -> Tensor:
    """Without a cache: all tokens again for each new one."""
    rows = []
    for row in x.split(1):
        said: list[int] = []
        for _ in range(longest):
            said.append(int(decoder(row, None, last=True)[0, -1].argmax()))
            row = torch.cat([row, decoder.embed(torch.tensor([[said[-1]]]))], dim=1)
        rows.append(said)
    return torch.tensor(rows)


def timed(say: Callable[[], Tensor]) -> tuple[float, Tensor]:
    start = time.perf_counter()
    found = say()
    return time.perf_counter() - start, found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    add_output_option(parser)
    options = parser.parse_args(argv)
    longest, length = options.tokens, PREFIX + options.tokens
    theirs = gpt2(length)
    ours, wrapped = with_weights_of(theirs, length), PretrainedDecoder(theirs)
    x = 0.2 * torch.randn(options.captions, PREFIX, WIDTH, generator=torch.Generator().manual_seed(1))
    wish = {"max_new_tokens": longest, "do_sample": False, "attention_mask": torch.ones(x.shape[:2], dtype=torch.long)}
    ways: dict[str, Callable[[], Tensor]] = {
        "transformers": lambda: theirs.generate(inputs_embeds=x, **wish),
        "transformers, our decoding": lambda: by_ours(wrapped, x, longest),
        "ours": lambda: by_ours(ours, x, longest),
        "ours, one by one without cache": lambda: one_by_one(ours, x, longest),
    }
    said = {name: say() for name, say in ways.items()}  # the first time pays for loading code
    unlike = [name for name, tokens in said.items() if not torch.equal(tokens, said["transformers"])]
    if unlike:
        print(f"not the tokens of transformers: {', '.join(unlike)}")
        return 1
    rounds = [{name: timed(say)[0] for name, say in ways.items()} for _ in range(options.rounds)]

    def ratio(slow: str, fast: str) -> float:
        return statistics.median(one[slow] / one[fast] for one in rounds)

    batched = ratio("ours, one by one without cache", "ours")
    same = ratio("transformers", "transformers, our decoding")
    own = ratio("transformers", "ours")
    print(f"a batch over the cache is {batched:.1f} times as fast as one by one without (goal {BATCHED:g})")
    print(f"our decoding of transformers' own model runs at {same:.2f} of its generate (goal {AGAINST_THEIRS})")
    print(f"our decoder with the same weights runs at {own:.2f} of it (goal {AGAINST_THEIRS})")
    result = {"benchmark": "generation", "batched": batched, "same_model": same, "own_decoder": own, "rounds": rounds}
    publish(result, options.json, ["torch", "transformers"])
    return 0 if batched >= BATCHED and min(same, own) >= AGAINST_THEIRS else 1


if __name__ == "__main__":
    sys.exit(main())
