"""``python tests/training/kill_trainers.py [NAME ...]``: SIGKILL at ten random moments of every
trainer; it reaches the same bits all the same.

It takes some minutes, so the tests have the loop that all of them share, and this the trainers
themselves.
"""

import functools
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxreason.decoding import rollout
from jaxreason.decoding.sampling import Sampler
from jaxreason.decoding.stop import compile_stop
from jaxreason.models import decoder
from jaxreason.models.decoder import DecoderConfig
from jaxreason.models.hf import LanguageModel
from jaxreason.models.lora import init_lora
from jaxreason.models.tokens import build_tokenizer, pad_left
from jaxreason.rewards import reward_model
from jaxreason.training import (
    distill,
    grpo,
    grpo_device,
    grpo_text,
    loop,
    ppo,
    reward_training,
    sft,
)

KILLS, STEPS, EVERY, PAUSE = 10, 48, 4, 0.02
TOKENIZER = build_tokenizer(["Tom", "has", "apples"])
CFG = DecoderConfig(len(TOKENIZER), 16, 16, 1, 2, 2, 8, 64)
TX = optax.adam(1e-2)
PROMPTS, ANSWERS = ["Tom", "has", "apples", "Tom has"] * 2, ["5", "7", "2", "9"] * 2


def params(seed: int = 0):
    return decoder.init(jax.random.key(seed), CFG)


def model() -> LanguageModel:
    return LanguageModel(params(), CFG, TOKENIZER, "small", "")


def documents(step: int) -> sft.Batch:
    rng = np.random.default_rng([7, step])
    texts = (rng.integers(2, len(TOKENIZER), n).astype(np.int32) for n in rng.integers(4, 14, 100))
    return sft.pack(
        (sft.Document(text, np.ones(len(text), np.float32)) for text in texts), 4, 32, 0
    )


def by_sft():
    return params(), loop.make_update(functools.partial(sft.sft_loss, cfg=CFG), TX), documents


def by_kd():
    loss_fn = functools.partial(distill.kd_loss, cfg=CFG, teacher_cfg=CFG)
    return params(), loop.make_update(loss_fn, TX, 1, params(1)), documents


def by_on_policy_distillation():
    loss_fn = functools.partial(distill.on_policy_loss, cfg=CFG, teacher_cfg=CFG)
    prompt, update = (
        pad_left(TOKENIZER(PROMPTS).input_ids, 0),
        loop.make_update(loss_fn, TX, 1, params(1)),
    )
    stop = compile_stop(TOKENIZER)

    def step(state, key):
        written = rollout.generate(
            state.params, key, prompt, stop, cfg=CFG, sampler=Sampler(), max_new_tokens=6
        )
        return update(state, distill.Samples(prompt, written.tokens, written.mask))

    return params(), step, lambda step: jax.random.fold_in(jax.random.key(0), step)


def on_device(start, make_step, **options):
    def reward(written, answer):
        return jnp.exp(-0.5 * jnp.abs(written.tokens[..., 0] - answer[:, None, 0]))

    problems = grpo_device.encode_problems(TOKENIZER, PROMPTS, ANSWERS)
    step = make_step(
        cfg=CFG, tx=TX, stop=compile_stop(TOKENIZER), reward_fn=reward, max_new_tokens=3, **options
    )
    return start, jax.jit(step), grpo_device.problem_batches(problems, jax.random.key(0), 8)


def by_grpo():
    return on_device(params(), grpo_device.make_grpo_step, objective=grpo.DAPO)


def by_ppo():
    return on_device(ppo.init_critic(params()), ppo.make_ppo_step)


def by_grpo_of_texts():
    update = grpo_text.make_text_update(
        model(),
        PROMPTS,
        lambda prompt, text: float(len(text) + len(prompt) % 2),
        tx=TX,
        objective=grpo.Objective(),
        num_samples=4,
        max_new_tokens=4,
        lora_scale=2.0,
    )
    return (
        init_lora(jax.random.key(1), params(), 2),
        update,
        grpo_text.text_batches(len(PROMPTS), jax.random.key(0), 4),
    )


def by_reward_model():
    def batch_fn(step: int) -> reward_training.StepBatch:
        batch, rng = documents(step), np.random.default_rng([8, step])
        targets = rng.integers(0, 2, batch.tokens.shape).astype(np.float32)
        return reward_training.StepBatch(*batch[:3], targets, batch.weights, batch.segment_ids > 0)

    update = loop.make_update(functools.partial(reward_training.reward_loss, cfg=CFG), TX)
    return reward_model.from_policy(model(), "prm").params, update, batch_fn


TRAINERS = {
    name.removeprefix("by_").replace("_", " "): make
    for name, make in list(globals().items())
    if name.startswith("by_")
}


def run(name: str, directory: Path):
    """Trains, or goes on; the final state, or what the loop around it keeps."""
    start, update, batch_fn = TRAINERS[name]()

    def slow(step: int):
        time.sleep(PAUSE)
        return batch_fn(step)

    state = loop.init_state(start, TX)
    if name == "reward model":  # with early stopping, which never comes
        return reward_training.fit_early_stopping(
            state,
            update,
            slow,
            lambda found: float(jnp.abs(jax.tree.leaves(found)[0]).sum()),
            directory,
            max_steps=STEPS,
            every=EVERY,
            patience=STEPS,
        )[0]
    if name == "grpo":  # and the best by validation
        return loop.fit_best(
            state,
            update,
            slow,
            STEPS,
            directory,
            every=EVERY,
            validate=lambda found: float(jnp.abs(jax.tree.leaves(found)[0]).sum()),
        )[:2]
    return loop.fit(state, update, slow, STEPS, directory, save_every=EVERY)


def saved(directory: Path) -> int:
    """The last step of which a whole checkpoint is there."""
    found = [
        *directory.glob("*"),
        *directory.glob("state/*"),
    ]  # and none that is being deleted below them
    return max((int(path.name) for path in found if path.name.isdecimal()), default=0)


def kill(name: str, folder: Path, rng: np.random.Generator) -> None:
    """Raises AssertionError if a run that was killed ends elsewhere than one that was not."""
    directory, done = folder / "killed", 0
    for _ in range(KILLS):
        command = [sys.executable, __file__, "--train", name, str(directory)]
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            while process.poll() is None and saved(directory) <= done:
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 4 * PAUSE))
            process.kill()
        assert process.returncode == -signal.SIGKILL, process.stderr.read().decode()[-2000:]
        done = saved(directory)
    killed, whole = run(name, directory), run(name, folder / "whole")
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(killed), jax.device_get(whole))
    print(f"{name}: killed {KILLS} times, by step {done} of {STEPS}; the same bits", flush=True)


def main(names: list[str]) -> None:
    rng = np.random.default_rng(0)
    for name in names or TRAINERS:
        with tempfile.TemporaryDirectory() as folder:
            kill(name, Path(folder), rng)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        run(sys.argv[2], Path(sys.argv[3]))
    else:
        main(sys.argv[1:])
