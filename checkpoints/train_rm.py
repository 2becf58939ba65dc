"""Trains the reward models that ship with this repository: ``python checkpoints/train_rm.py
tiny-prm`` and ``tiny-orm``, and the same from fewer and from more labelled chains than their 6,000:
``tiny-prm-1200``, ``tiny-orm-1200``, ``tiny-prm-12000`` and ``tiny-orm-12000``.

Both learn from the same chains, sampled from the shipped policy on training problems. The PRM's
labels are Monte Carlo estimates from rollouts of the policy, the ORM's the outcome; the exact step
checker is asked only to measure. Both start from the same base, the policy with two more blocks,
trained on as a language model: a verifier that knows no more than the policy cannot see its errors.
Deterministic; after Ctrl-C the same command goes on where it stopped. Base and labels are kept in
outputs/train, and made anew when the policy or the constants below change.
"""

import functools
import json
import time
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import numpy as np
import optax
import tyro
from tqdm.auto import tqdm
from train import (
    Piece,
    chain,
    depth,
    documents,
    result_rows,
    training_seconds,
    working_folder,
    write_card,
)

from jaxreason.answers.verify import grade
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import complete
from jaxreason.decoding.sampling import GREEDY, Sampler
from jaxreason.errors import InputError, clean_exit
from jaxreason.evaluation.intervals import Interval, accuracy, auc, mean_interval
from jaxreason.models.block_expansion import deepen
from jaxreason.models.hf import LanguageModel, load_model
from jaxreason.rewards import reward_model
from jaxreason.rewards.step_labels import LabelledChain, monte_carlo_labels, split_steps
from jaxreason.tasks import arithmetic
from jaxreason.training import loop, reward_training, sft

POLICY = "tiny"
SHARD_PROBLEMS, CHAINS, ROLLOUTS = (
    100,
    2,
    4,
)  # a shard is what is lost when labelling is interrupted
CHAIN_TEMPERATURE, ROLLOUT_TEMPERATURE = 1.0, 0.7
NEW_LAYERS, BASE_STEPS, BASE_LEARNING_RATE = 2, 5000, 7e-3
BASE_DEPTHS = np.array([0, 2, 2, 3, 3, 3]) / 13  # share of 1..6 operations
ROWS, ROW_LENGTH, LEARNING_RATE = 8, 256, 1e-3
HEAD_LEARNING_RATE = 5e-2  # of a head that starts from nothing, under a backbone that does not


class Recipe(NamedTuple):
    """What differs between the shipped models."""

    kind: Literal["prm", "orm"]
    shards: int
    every: int  # steps between held-out losses
    patience: int  # of them without a new low
    max_steps: int = 600


# From few chains the lowest held-out loss comes early, so it is looked for more often.
RECIPES = {
    "tiny-prm": Recipe("prm", 30, every=100, patience=2),
    "tiny-orm": Recipe("orm", 30, every=100, patience=2),
    "tiny-prm-12000": Recipe("prm", 60, every=100, patience=2, max_steps=1200),
    "tiny-orm-12000": Recipe("orm", 60, every=100, patience=2, max_steps=1200),
    "tiny-prm-1200": Recipe("prm", 6, every=25, patience=4),
    "tiny-orm-1200": Recipe("orm", 6, every=25, patience=4),
}


def schedule(peak: float, steps: int) -> optax.Schedule:
    """One cosine."""
    return optax.warmup_cosine_decay_schedule(
        0.0, peak, min(100, steps // 4), steps, end_value=peak / 50
    )


def train_base(policy: LanguageModel, seed: int, steps: int, work: Path) -> LanguageModel:
    """The policy with more blocks, trained on as a language model on reasoning for training
    problems of 2 to 6 operations.
    """
    params, cfg = deepen(
        policy.params, jax.random.key(1 + seed), cfg=policy.cfg, num_new_layers=NEW_LAYERS
    )

    def draw(rng: np.random.Generator) -> list[Piece]:
        problem = arithmetic.sample_problem(rng, depth(rng, BASE_DEPTHS))
        answer = prompts.chain(chain(rng, problem), problem.answer)
        return [Piece(prompts.zero_shot_cot(problem.question), 0.0), Piece(answer, 1.0)]

    def batch_fn(step: int) -> sft.Batch:
        rng = np.random.default_rng([77 + seed, step])
        return sft.pack(
            documents(policy.tokenizer, functools.partial(draw, rng)),
            ROWS,
            ROW_LENGTH,
            policy.tokenizer.pad_token_id,
        )

    tx = loop.muon(schedule(BASE_LEARNING_RATE, steps))
    update = loop.make_update(
        functools.partial(sft.sft_loss, cfg=cfg), tx, num_microbatches=ROWS // 2
    )
    state = loop.fit(loop.init_state(params, tx), update, batch_fn, steps, work, description="base")
    return policy._replace(
        params=state.params, cfg=cfg, name=f"{policy.name} + {NEW_LAYERS} blocks"
    )


def make_labels(
    policy: LanguageModel, seed: int, shards: int, work: Path
) -> tuple[list[list[LabelledChain]], dict[str, float]]:
    """The labelled chains of every shard, and what they cost; shards that an earlier run finished
    are read.
    """
    problems = arithmetic.problems("train", shards * SHARD_PROBLEMS, seed=1000 + seed)
    work.mkdir(parents=True, exist_ok=True)
    made, total = [], {"steps": 0, "states": 0, "rollouts": 0, "tokens": 0, "seconds": 0.0}
    for n in tqdm(range(shards), desc="labels", unit="shard"):
        path = work / f"{n:02}.json"
        if not path.exists():
            began = time.perf_counter()
            key = jax.random.fold_in(jax.random.key(seed), n)
            some = problems[n * SHARD_PROBLEMS : (n + 1) * SHARD_PROBLEMS]
            texts, golds = (
                [prompts.zero_shot_cot(p.question) for p in some],
                [p.answer for p in some],
            )
            chains = complete(
                policy,
                key,
                texts,
                sampler=Sampler(CHAIN_TEMPERATURE),
                max_new_tokens=72,
                num_samples=CHAINS,
            ).texts
            labelled, cost = monte_carlo_labels(
                policy,
                jax.random.fold_in(key, 1),
                texts,
                chains,
                golds,
                num_rollouts=ROLLOUTS,
                sampler=Sampler(ROLLOUT_TEMPERATURE),
                max_new_tokens=72,
            )
            record = cost._asdict() | {"seconds": time.perf_counter() - began}
            rows = [[c.prompt, c.text, c.success.tolist(), c.correct] for c in labelled]
            path.with_suffix(".part").write_text(json.dumps([record, rows]))
            path.with_suffix(".part").rename(path)
        record, rows = json.loads(path.read_text())
        made.append([LabelledChain(p, t, np.float32(s), c) for p, t, s, c in rows])
        total = {name: total[name] + record[name] for name in total}
    return made, total


def held_out_shards(shards) -> int:
    """A tenth, at least one."""
    return -(-len(shards) // 10)


def train_model(
    name: str, base: LanguageModel, shards, seed: int, steps: int, work: Path
) -> tuple[reward_model.RewardModel, list]:
    """The reward model at its lowest held-out loss."""
    recipe = RECIPES[name]
    reward = reward_model.from_policy(base, recipe.kind)
    pad_id, held_out = base.tokenizer.pad_token_id, held_out_shards(shards)
    known, unseen = (
        reward_training.examples(
            base.tokenizer, [chain for shard in part for chain in shard], reward.kind
        )
        for part in (shards[held_out:], shards[:held_out])
    )
    per_batch = ROWS * ROW_LENGTH // 60  # more than fit: the last ones are left for another step

    def batch_fn(step: int) -> reward_training.StepBatch:
        rng = np.random.default_rng([seed, step])
        chosen = rng.choice(len(known), min(per_batch, len(known)), replace=False)
        return reward_training.pack_examples([known[i] for i in chosen], ROWS, ROW_LENGTH, pad_id)

    loss = functools.partial(reward_training.reward_loss, cfg=reward.cfg)
    measured = jax.jit(lambda params, batch: loss(params, batch)[0])
    kept = [
        reward_training.pack_examples(unseen[i : i + 12], ROWS, ROW_LENGTH, pad_id)
        for i in range(0, len(unseen), 12)
    ]
    counts = [float(batch.weights.sum()) for batch in kept]

    def held_out_loss(params) -> float:
        return float(np.average([float(measured(params, batch)) for batch in kept], weights=counts))

    tx = optax.multi_transform(
        {
            "backbone": loop.muon(schedule(LEARNING_RATE, steps)),
            "head": optax.adam(schedule(HEAD_LEARNING_RATE, steps)),
        },
        lambda params: {
            part: jax.tree.map(lambda _, part=part: part, leaves) for part, leaves in params.items()
        },
    )
    params, losses = reward_training.fit_early_stopping(
        loop.init_state(reward.params, tx),
        loop.make_update(loss, tx, num_microbatches=ROWS // 2),
        batch_fn,
        held_out_loss,
        work,
        max_steps=steps,
        every=min(recipe.every, -(-steps // 4)),
        patience=recipe.patience,
        description=name,
    )
    return reward._replace(params=params), losses


def measure(
    reward: reward_model.RewardModel, policy: LanguageModel, n: int = 500
) -> dict[str, Interval]:
    """Against the exact step checker, on chains at the training temperature for test problems; 4 of
    each.
    """
    problems = arithmetic.problems("test", n)
    texts = [prompts.zero_shot_cot(p.question) for p in problems]
    chains = complete(
        policy,
        jax.random.key(0),
        texts,
        sampler=Sampler(CHAIN_TEMPERATURE),
        max_new_tokens=96,
        num_samples=4,
        description="test chains",
    ).texts
    scores = reward_model.step_scores(reward, texts, chains, description="scores")
    correct = grade(chains, [p.answer for p in problems])
    results, by_step, truth, found = {}, [], [], []
    guesses = reward_model.first_error(scores)
    for g, problem in enumerate(problems):
        for i, text in enumerate(chains[g]):
            exact = arithmetic.check_steps(problem, "".join(split_steps(text)))
            if len(split_steps(text)) <= len(exact):  # no answer line
                continue
            by_step += scores[g, i, : len(exact)].tolist()
            truth += exact
            if not all(exact):
                found.append(guesses[g, i] == exact.index(False))
    results["step AUC"] = auc(np.array(by_step), np.array(truth))
    results["first error found"] = accuracy(np.array(found))
    how = "last" if reward.kind == "orm" else "min"
    results[f"outcome AUC, {how}"] = auc(
        reward_model.aggregate(scores, how).ravel(), correct.ravel()
    )
    results["policy, T=1/pass@1"] = mean_interval(correct.mean(1))
    return results


def accuracy_of(model: LanguageModel, n: int = 500) -> Interval:
    """Greedy, on test problems."""
    problems = arithmetic.problems("test", n)
    texts = complete(
        model,
        jax.random.key(0),
        [prompts.zero_shot_cot(p.question) for p in problems],
        sampler=GREEDY,
        max_new_tokens=96,
    ).texts
    return accuracy(grade(texts, [p.answer for p in problems])[:, 0])


def card(
    name: str,
    seed: int,
    steps: int,
    shards,
    policy: LanguageModel,
    sha256: str,
    results,
    cost,
    losses,
    seconds: float,
) -> str:
    """The model card, in Markdown."""
    recipe = RECIPES[name]
    every = min(recipe.every, -(-steps // 4))
    rows = result_rows(results)
    target = (
        f"hard Monte Carlo labels: 1 if any of {ROLLOUTS} rollouts from behind the step "
        f"(temperature {ROLLOUT_TEMPERATURE}) is right"
        if recipe.kind == "prm"
        else "the outcome of the chain, at its last step"
    )
    return f"""# {name}

A reward model for `{policy.name}`: its weights with {NEW_LAYERS} more blocks and a scalar head,
trained by

    python checkpoints/train_rm.py {name} --seed {seed} --shards {len(shards)} --steps {steps}

It reads word problems and reasoning lines of this course, and nothing else. The exact step checker
had no part in its training.

| recipe | |
| --- | --- |
| seed | {seed} |
| policy | `{policy.name}`, sha256 `{policy.sha256}` |
| base | the policy with {NEW_LAYERS} new blocks on top, trained on for {BASE_STEPS} steps of \
{ROWS * ROW_LENGTH} tokens as a language model on reasoning for training problems (Muon, peak \
learning rate {BASE_LEARNING_RATE:g}): a verifier that knows no more than the policy cannot see \
its errors. As a policy it would be right more often (below) |
| chains | {len(shards) * SHARD_PROBLEMS * CHAINS} of {len(shards) * SHARD_PROBLEMS} training \
problems of 2 to 6 operations, temperature {CHAIN_TEMPERATURE}; those of \
{held_out_shards(shards) * SHARD_PROBLEMS} problems held out to stop early |
| labels | {target} |
| cost of the Monte Carlo labels | {cost["steps"]} steps, {cost["states"]} different states, \
{cost["rollouts"]} rollouts, {cost["tokens"]} tokens, {cost["seconds"] / 60:.1f} minutes on a \
two-core CPU shared with other work |
| training | Muon, {ROWS * ROW_LENGTH} tokens a step, peak learning rate {LEARNING_RATE:g} (of the \
head {HEAD_LEARNING_RATE:g}, Adam); {len(losses) * every} steps, stopped after {recipe.patience} \
held-out losses without a new low or at {steps}; lowest {min(losses):.4f} nats at step \
{every * (1 + int(np.argmin(losses)))}; {seconds / 60:.0f} minutes |
| weights | float32, sha256 of backbone and head `{sha256}` |

Held-out results (500 test problems of 2 to 6 operations, 4 chains each at temperature 1; 95%
intervals). Step AUC: does a step that the exact checker accepts outscore one that it refuses? First
error: of the chains with one, in how many the first step that scores below 1/2 is the first wrong
one. The interval of a quantity with several chains of a problem treats them as independent.

| measurement | value | 95% interval | n |
| --- | --- | --- | --- |
{rows}
"""


def main(
    name: tyro.conf.Positional[Literal[tuple(RECIPES)]],
    seed: int = 0,
    shards: int | None = None,
    steps: int | None = None,
    out: Path | None = None,
) -> None:
    """Label steps, train a shipped reward model, write it with its card.

    Args:
      name: which one. Labels are kept, and those that have been made are not made again for
        another.
      seed: of the problems, the chains and the batches.
      shards: of 100 problems each, 2 chains of a problem; by default what the name says.
      steps: of training at most; by default what the recipe says.
      out: directory; by default checkpoints/NAME for seed 0 and what the recipe says, else
        outputs/train/NAME-SEED-.../model.
    """
    policy, shards, steps = (
        load_model(POLICY),
        shards or RECIPES[name].shards,
        steps or RECIPES[name].max_steps,
    )
    if shards < 2:
        raise InputError(f"shards is {shards}: expected at least 2, since one is held out")
    folder, version = (
        functools.partial(working_folder, script=globals()),
        f"{seed}-{policy.sha256[:8]}",
    )
    labelled, cost = make_labels(policy, seed, shards, folder(f"{POLICY}-labels-{version}"))
    print(", ".join(f"{key} {value:.0f}" for key, value in cost.items()))
    base = train_base(policy, seed, BASE_STEPS, folder(f"{POLICY}-verifier-base-{version}"))
    work = folder(f"{name}-{version}-{shards}-{steps}")
    reward, losses = train_model(name, base, labelled, seed, steps, work)
    seconds = training_seconds(work / "state")
    print("held-out loss", " ".join(f"{loss:.4f}" for loss in losses))
    is_shipped = (seed, shards, steps) == (0, RECIPES[name].shards, RECIPES[name].max_steps)
    out = out or (Path(__file__).parent / name if is_shipped else work / "model")
    reward_model.save_reward_model(out, reward)
    reward = reward_model.load_reward_model(str(out), policy)
    results = measure(reward, policy) | {
        "policy, greedy": accuracy_of(policy),
        "base as a policy, greedy": accuracy_of(base),
    }
    write_card(
        out,
        card(name, seed, steps, labelled, policy, reward.sha256, results, cost, losses, seconds),
        results,
    )


if __name__ == "__main__":
    with clean_exit():
        tyro.cli(main)
