"""GRPO all on the device, for answers that tokens alone can grade.

Rollout, reward, advantages and updates are one compiled step. No text is made, so nothing waits for
the host. A step is a pure function of the state and the step's problems and key: it can be jitted,
scanned over steps, and mapped over seeds. ``grpo_minimal`` is the same algorithm without its
options, and easier to read first.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, PartitionSpec
from transformers import PreTrainedTokenizerBase

from jaxreason.decoding.logprobs import completion_logprobs
from jaxreason.decoding.rollout import Rollout, generate
from jaxreason.decoding.sampling import Sampler
from jaxreason.decoding.stop import Stop
from jaxreason.errors import InputError
from jaxreason.models.decoder import DecoderConfig, Params
from jaxreason.models.tokens import Prompt, encode_prompts, pad_left
from jaxreason.training.grpo import Objective, informative
from jaxreason.training.grpo_batch import grpo_loss, make_batch
from jaxreason.training.loop import TrainState, make_step
from jaxreason.training.padding import cut_grad
from jaxreason.training.token_rewards import RewardFn


class Problems(NamedTuple):
    """K problems on the device."""

    prompt: Prompt  # [K, P]
    # [K, A] int32: the tokens of the answer, -1 behind them; or else any arrays of K rows that a
    # reward reads, in a NamedTuple
    answer: Any


Step = Callable[[TrainState, tuple[Problems, jax.Array]], tuple[TrainState, dict[str, jax.Array]]]


def encode_problems(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    answers: Sequence[str],
    max_tokens: int = 1024,
) -> Problems:
    """Prompts and their answers as tokens.

    Args:
      tokenizer: of the model.
      texts: the prompts.
      answers: what has to stand in the text for the answer, such as ``" 63"`` with its blank.
      max_tokens: longer prompts are left out.

    Raises:
      InputError: a prompt is empty, all are too long, or the numbers of prompts and answers differ.
    """
    if len(texts) != len(answers):
        raise InputError(
            f"{len(texts)} prompts and {len(answers)} answers: expected one answer for each prompt"
        )
    ids = encode_prompts(tokenizer, texts, 10**9)
    fitting = [i for i, row in enumerate(ids) if len(row) <= max_tokens]
    if not fitting:
        raise InputError(
            f"all {len(texts)} prompts have over {max_tokens} tokens: raise max_tokens"
        )
    encoded = tokenizer([answers[i] for i in fitting], add_special_tokens=False).input_ids
    answer = np.full((len(encoded), max(map(len, encoded))), -1, np.int32)
    for row, said in enumerate(encoded):
        answer[row, : len(said)] = said
    return Problems(pad_left([ids[i] for i in fitting], tokenizer.pad_token_id), answer)


def take(problems: Problems, step: int, size: int, parts: int = 1) -> Problems:
    """The problems of a step: ``size`` at a time, around and around.

    For ``parts`` devices they are dealt out by the length of their prompts, so that no device has
    all the long ones while the others wait for it.
    """
    rows = (step * size + np.arange(size)) % len(problems.prompt.tokens)
    if parts > 1:
        lengths = np.asarray(problems.prompt.mask).sum(-1)[rows]
        dealt = np.argsort(lengths, kind="stable").reshape(-1, parts)
        # There and back, or the last would get the longer of every pair.
        dealt[1::2] = dealt[1::2, ::-1]
        # In a part they stand in the order given.
        rows = rows[np.sort(dealt, axis=0).T.reshape(-1)]
    return jax.tree.map(lambda x: x[rows], problems)


class Rewarded(NamedTuple):
    """B problems, the chains written to them, and what these are worth."""

    prompt: Prompt  # [B, P]
    rollout: Rollout  # [B, N, T]
    rewards: jax.Array  # [B, N] float32


class Learner(NamedTuple):
    """What makes a device step GRPO or PPO: how it learns from a rollout."""

    policy: Callable[[Any], Params]  # trained parameters -> those of the decoder that writes
    # (params, chains) -> (batch with B leading in every leaf, metrics)
    make_batch: Callable[[Any, Rewarded], tuple[Any, dict[str, jax.Array]]]
    # (params, batch) -> (loss, metrics)
    loss_fn: Callable[[Any, Any], tuple[jax.Array, dict[str, jax.Array]]]


def make_device_step(
    learner: Learner,
    *,
    cfg: DecoderConfig,
    tx: optax.GradientTransformation,
    stop: Stop,
    reward_fn: RewardFn,
    observe: Callable[[Rollout, Any], dict[str, jax.Array]] | None = None,
    num_samples: int = 8,
    max_new_tokens: int = 64,
    keep: int | None = None,
    epochs: int = 1,
    minibatches: int = 1,
    microbatches: int = 1,
    rollout_parts: int = 1,
    widths: Sequence[tuple[int, int]] = (),
) -> Step:
    """``step(state, (problems, key)) -> (state, metrics)``: one rollout of N chains of each
    problem, and its updates.

    Args:
      learner: of GRPO or PPO.
      cfg: of the policy.
      tx: the optimiser.
      stop, num_samples, max_new_tokens: of the chains.
      reward_fn: such as ``token_rewards.exact_match``.
      observe: what else to log of the chains, ``(rollout, answer) -> {name: [] float32}``; nothing
        is learned from it.
      keep: dynamic sampling (DAPO, section 3.2): learn from so many of the problems only, those
        with different rewards first.
      epochs, minibatches: a rollout is learned from ``epochs`` times, each time in ``minibatches``
        updates of different problems. From the second update on, ratios leave 1.
      microbatches: an update is the mean over so many parts, one after the other: less memory.
      rollout_parts: only for speed. Problems are sorted by length and written to in so many parts,
        one after the other: short problems have short chains, and a part ends with its longest. A
        problem draws from the keys of its place in that order. With minibatches it is refused:
        which problems share an update must not depend on their lengths.
      widths: only for speed. A microbatch, of problems whose chains are of similar length, is cut
        to the first of these widths of prompts and chains that holds it, see ``cut.cut_grad``.

    Raises:
      InputError: ``rollout_parts`` with ``minibatches``; from the step, ``rollout_parts`` that do
        not divide the problems, or prompts and chains that exceed the context.
    """
    if rollout_parts > 1 and minibatches > 1:
        raise InputError(
            f"rollout_parts is {rollout_parts}, minibatches {minibatches}: expected 1 of either"
        )
    update = make_step(learner.loss_fn, tx, microbatches, grad_fn=cut_grad(learner.loss_fn, widths))
    write = functools.partial(
        _write,
        stop=stop,
        cfg=cfg,
        num_samples=num_samples,
        max_new_tokens=max_new_tokens,
        parts=rollout_parts,
    )

    def step(state: TrainState, given: tuple[Problems, jax.Array]):
        problems, key = given
        if rollout_parts > 1:
            problems = _sort(problems, by=problems.prompt.mask.sum(-1))
        rollout = write(learner.policy(state.params), key, problems.prompt)
        drawn = Rewarded(problems.prompt, rollout, reward_fn(rollout, problems.answer))
        metrics = {"solved": drawn.rewards.mean()}
        if observe is not None:
            metrics |= observe(rollout, problems.answer)
        if keep is not None:
            drawn = _keep_informative(drawn, keep)
        if widths and minibatches == 1:  # as with rollout_parts, no minibatches by length
            drawn = _sort(drawn, by=drawn.rollout.mask.any(1).sum(-1))
        batch, of_rollout = learner.make_batch(state.params, drawn)
        learned, of_updates = _learn(update, state, batch, epochs, minibatches)
        return learned._replace(step=state.step + 1), metrics | of_rollout | of_updates

    return step


def _write(
    params: Params,
    key: jax.Array,
    prompt: Prompt,
    *,
    stop: Stop,
    cfg: DecoderConfig,
    num_samples: int,
    max_new_tokens: int,
    parts: int,
) -> Rollout:
    """N chains of each prompt, of one part of the prompts after the other."""
    num_prompts, width = prompt.tokens.shape
    if num_prompts % parts:
        raise InputError(
            f"rollout_parts is {parts}: expected a divisor of {num_prompts}, the problems of a step"
        )
    if width + max_new_tokens > cfg.max_position_embeddings:
        raise InputError(
            f"prompts of {width} tokens and max_new_tokens {max_new_tokens} make "
            f"{width + max_new_tokens}: expected at most {cfg.max_position_embeddings}, the context"
        )

    def write_part(part: tuple[jax.Array, Prompt]) -> Rollout:
        keys, prompt = part
        return generate(
            params,
            keys,
            prompt,
            stop,
            cfg=cfg,
            sampler=Sampler(),
            max_new_tokens=max_new_tokens,
            num_samples=num_samples,
        )

    keys = jax.random.split(key, (num_prompts, num_samples))
    return _merge(jax.lax.map(write_part, _split((keys, prompt), parts)))


def _keep_informative(drawn: Rewarded, keep: int) -> Rewarded:
    """``keep`` of the problems, those with different rewards first, in their order."""
    chosen = jnp.argsort(~informative(drawn.rewards), stable=True)[:keep]
    return jax.tree.map(lambda x: x[chosen], drawn)


def _learn(
    update: Callable, state: TrainState, batch: Any, epochs: int, minibatches: int
) -> tuple[TrainState, dict[str, jax.Array]]:
    """``epochs`` times ``minibatches`` updates; metrics are their means."""
    parts = _split(batch, minibatches)

    def epoch(state: TrainState, _):
        return jax.lax.scan(update, state, parts)

    state, metrics = jax.lax.scan(epoch, state, None, epochs)
    return state, jax.tree.map(lambda x: x.mean((0, 1)), metrics)


def _sort(tree: Any, by: jax.Array) -> Any:
    """The rows of all leaves in ascending order of ``by [B]``."""
    order = jnp.argsort(by, stable=True)
    return jax.tree.map(lambda x: x[order], tree)


def _split(tree: Any, parts: int) -> Any:
    """``[B, ...]`` -> ``[parts, B / parts, ...]``."""
    return jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), tree)


def _merge(tree: Any) -> Any:
    """``[parts, B / parts, ...]`` -> ``[B, ...]``."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)


def make_grpo_step(
    *,
    cfg: DecoderConfig,
    objective: Objective,
    reference: Params | None = None,
    chunk: int = 256,
    **options,
) -> Step:
    """:func:`make_device_step` of GRPO and its variants.

    Args:
      cfg, options: as there.
      objective: GRPO or a variant of it.
      reference: parameters of the frozen reference; numpy arrays lie on no device, and so they go
        with :func:`data_parallel`.
      chunk: tokens whose logits exist at a time; few of them stay in a CPU's cache.

    Raises:
      InputError: ``objective.kl_coef`` is not 0, and there is no reference.
    """
    if objective.kl_coef and reference is None:
        raise InputError(
            f"kl_coef is {objective.kl_coef} and there is no reference: expected its parameters"
        )

    def batch_of(params: Params, drawn: Rewarded):
        scores = None
        if objective.kl_coef:
            frozen = jax.tree.map(jnp.asarray, reference)
            scores = completion_logprobs(frozen, drawn.prompt, drawn.rollout.tokens, cfg=cfg)
        return make_batch(drawn.prompt, drawn.rollout, drawn.rewards, scores, objective=objective)

    loss_fn = functools.partial(grpo_loss, cfg=cfg, objective=objective, chunk=chunk)
    learner = Learner(policy=lambda params: params, make_batch=batch_of, loss_fn=loss_fn)
    return make_device_step(learner, cfg=cfg, **options)


def data_parallel(step: Step, mesh: Mesh) -> Step:
    """``step`` on all devices along the "data" axis of a mesh, each with its part of the problems;
    to be jitted.

    The optimiser has to begin with :func:`mean_over_devices`. A step's token weights and ``keep``
    are those of a device's part.
    """
    everywhere, cut = PartitionSpec(), PartitionSpec("data")

    def of_device(state: TrainState, given: tuple[Problems, jax.Array]):
        problems, key = given
        own_key = jax.random.fold_in(key, jax.lax.axis_index("data"))
        state, metrics = step(state, (problems, own_key))
        return state, jax.lax.pmean(metrics, "data")

    return jax.shard_map(
        of_device,
        mesh=mesh,
        in_specs=(everywhere, (cut, everywhere)),
        out_specs=(everywhere, everywhere),
        check_vma=False,
    )


def mean_over_devices() -> optax.GradientTransformation:
    """Gradients become their mean over all devices along "data", inside :func:`data_parallel`."""
    return optax.stateless(lambda grads, _: jax.lax.pmean(grads, "data"))


def run_steps(
    step: Step,
    state: TrainState,
    problems: Problems,
    key: jax.Array,
    *,
    num_steps: int,
    size: int,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """``num_steps`` steps of ``size`` problems in one scan, and their metrics ``[num_steps]``.

    To be jitted, or mapped over states and keys: several seeds at once. Step s draws from
    ``fold_in(key, s)``, as in :func:`problem_batches`.
    """

    def body(state: TrainState, _):
        rows = (state.step * size + jnp.arange(size)) % len(problems.prompt.tokens)
        drawn = jax.tree.map(lambda x: jnp.asarray(x)[rows], problems)
        return step(state, (drawn, jax.random.fold_in(key, state.step)))

    return jax.lax.scan(body, state, None, num_steps)


def problem_batches(
    problems: Problems, key: jax.Array, size: int, parts: int = 1
) -> Callable[[int], tuple[Problems, jax.Array]]:
    """``batch_fn`` of ``loop.fit`` for a jitted step: ``size`` problems, and a key.

    Both are functions of the step's number, so training resumes exactly. ``parts`` is the number of
    devices of a :func:`data_parallel` step, see :func:`take`.
    """
    return lambda step: (take(problems, step, size, parts), jax.random.fold_in(key, step))
