"""GRPO all on the device: rollout, exact-match reward, advantages and updates in one compiled step,
for tokens that say it all.

No text is made, so nothing waits for the host. A step is a pure function of the state and the
step's problems and key: it can be jitted, scanned over steps, and mapped over seeds.
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
from jaxreason.training.grpo import Objective, grpo_loss, informative, make_batch
from jaxreason.training.loop import TrainState, make_step

MARK = "####"


class Problems(NamedTuple):
    """K problems on the device."""

    prompt: Prompt  # [K, P]
    answer: jax.Array  # [K, A] int32: the tokens of the answer, -1 behind them


RewardFn = Callable[[Rollout, jax.Array], jax.Array]  # (rollout, answer [B, A]) -> [B, N] float32
Step = Callable[[TrainState, tuple[Problems, jax.Array]], tuple[TrainState, dict[str, jax.Array]]]


def encode_problems(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    answers: Sequence[str],
    max_tokens: int = 1024,
) -> Problems:
    """Prompts and what has to stand in the text for the answer, such as `` 63``, as tokens; longer
    prompts are left out.

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
    width = max(map(len, encoded))
    answer = np.full((len(encoded), width), -1, np.int32)
    for row, said in enumerate(encoded):
        answer[row, : len(said)] = said
    return Problems(pad_left([ids[i] for i in fitting], tokenizer.pad_token_id), answer)


def take(problems: Problems, step: int, size: int, parts: int = 1) -> Problems:
    """The problems of a step: ``size`` at a time, around and around.

    For so many devices they are dealt out by the length of their prompts, so that none has all the
    long ones and is waited for.
    """
    rows = (step * size + np.arange(size)) % len(problems.answer)
    if parts > 1:
        dealt = np.argsort(np.asarray(problems.prompt.mask).sum(-1)[rows], kind="stable").reshape(
            -1, parts
        )
        dealt[1::2] = dealt[
            1::2, ::-1
        ]  # there and back, or the last would get the longer of every pair
        rows = rows[np.sort(dealt, axis=0).T.reshape(-1)]  # in a part they stand in the order given
    return jax.tree.map(lambda x: x[rows], problems)


def exact_match(tokenizer: PreTrainedTokenizerBase) -> RewardFn:
    """1 where the chain ends, and all that stands behind its last ``####`` is the answer; else 0.

    Raises:
      InputError: to this tokenizer ``####`` is not one token, so that rewards have to read text
        (``grpo_text``).
    """
    marks = tokenizer(MARK, add_special_tokens=False).input_ids
    if len(marks) != 1 or tokenizer.eos_token_id is None:
        raise InputError(
            f"{MARK} is {len(marks)} tokens of {tokenizer.name_or_path!r}: expected 1; use rewards of texts"
        )
    mark, eos = marks[0], tokenizer.eos_token_id

    def reward(rollout: Rollout, answer: jax.Array) -> jax.Array:
        width = rollout.tokens.shape[-1]
        marks = rollout.mask & (rollout.tokens == mark)
        last = jnp.where(marks, jnp.arange(width), -1).max(-1, keepdims=True)  # [B, N, 1]
        places = last + 1 + jnp.arange(answer.shape[1] + 1)
        said = jnp.take_along_axis(rollout.tokens, jnp.minimum(places, width - 1), axis=-1)
        is_said = jnp.take_along_axis(rollout.mask, jnp.minimum(places, width - 1), axis=-1) & (
            places < width
        )
        lengths = (answer >= 0).sum(-1, keepdims=True)
        slots = jnp.arange(answer.shape[1] + 1)
        expected = jnp.where(
            slots == lengths, eos, jnp.pad(answer, ((0, 0), (0, 1)), constant_values=-1)
        )[:, None]
        same = (is_said & (said == expected)) | (slots > lengths)[:, None]
        return (same.all(-1) & (last[..., 0] >= 0) & rollout.finished).astype(jnp.float32)

    return reward


def contains(rollout: Rollout, answer: jax.Array, skip: int = 1) -> jax.Array:
    """1 where the digits of the answer occur anywhere in the chain: the mistake of a substring
    reward, 7 in 17, kept for its lesson.

    ``skip`` tokens of the answer, the blank in front, need not be there.
    """
    width, digits = rollout.tokens.shape[-1], answer[:, skip:]
    places = jnp.arange(width)[:, None] + jnp.arange(digits.shape[1])  # [T, A]
    windows = jnp.where(rollout.mask, rollout.tokens, -2)[..., jnp.minimum(places, width - 1)]
    same = (windows == digits[:, None, None]) & (places < width) | (digits < 0)[:, None, None]
    return same.all(-1).any(-1).astype(jnp.float32)


def make_device_step(
    *,
    cfg: DecoderConfig,
    tx: optax.GradientTransformation,
    stop: Stop,
    reward_fn: RewardFn,
    learn_fn: Callable[[Any, Prompt, Rollout, jax.Array], tuple[Any, dict[str, jax.Array]]],
    loss_fn: Callable[[Any, Any], tuple[jax.Array, dict[str, jax.Array]]],
    policy: Callable[[Any], Params] = lambda params: params,
    num_samples: int = 8,
    max_new_tokens: int = 64,
    epochs: int = 1,
    minibatches: int = 1,
    microbatches: int = 1,
    rollout_parts: int = 1,
    widths: Sequence[tuple[int, int]] = (),
    keep: int | None = None,
) -> Step:
    """``step(state, (problems, key)) -> (state, metrics)``: one rollout of N chains of each
    problem, and its updates.

    Args:
      cfg: of the policy, which is ``policy(state.params)``.
      tx, epochs, minibatches, microbatches: a rollout is learned from ``epochs`` times, each time
        in ``minibatches`` updates of different problems, each the mean over ``microbatches`` one
        after the other. From the second update on, ratios leave 1.
      stop, max_new_tokens, num_samples: of the chains.
      rollout_parts: problems are sorted by length and written to in so many parts, one after the
        other: short problems have short chains, and a part ends with its longest. A problem draws
        from the keys of its place in that order. With minibatches it is refused: which problems
        share an update must not depend on their lengths.
      widths: of prompts and chains, ascending; a microbatch, of problems whose chains are of
        similar length, is cut to the first pair that holds its longest ones, if there is one.
        Gradients are the same, and there is less padding.
      reward_fn: such as :func:`exact_match`.
      learn_fn: ``(params, prompt, rollout, rewards [B, N]) -> (batch, metrics)``, the batch with B
        leading in every leaf.
      loss_fn: ``(params, batch) -> (loss, metrics)``.
      keep: dynamic sampling (DAPO, section 3.2): of the problems given, learn from so many only,
        those with different rewards first.
    """
    if rollout_parts > 1 and minibatches > 1:
        raise InputError(
            f"rollout_parts is {rollout_parts}, minibatches {minibatches}: expected 1 of either"
        )
    update = make_step(loss_fn, tx, microbatches, grad_fn=_cut_grad(loss_fn, widths))

    def write(params: Params, key: jax.Array, prompt: Prompt) -> Rollout:
        if len(prompt.tokens) % rollout_parts:
            raise InputError(
                f"rollout_parts is {rollout_parts}: expected a divisor of {len(prompt.tokens)}, the problems of a step"
            )
        if (room := prompt.tokens.shape[1] + max_new_tokens) > cfg.max_position_embeddings:
            raise InputError(
                f"prompts of {prompt.tokens.shape[1]} tokens and max_new_tokens {max_new_tokens} make {room}: "
                f"expected at most {cfg.max_position_embeddings}, the context"
            )
        keys = jax.random.split(key, (len(prompt.tokens), num_samples))
        write_part = functools.partial(
            generate,
            stop=stop,
            cfg=cfg,
            sampler=Sampler(),
            max_new_tokens=max_new_tokens,
            num_samples=num_samples,
        )
        parts = jax.tree.map(lambda x: x.reshape(rollout_parts, -1, *x.shape[1:]), (keys, prompt))
        written = jax.lax.map(lambda part: write_part(params, part[0], part[1]), parts)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), written)

    def step(state: TrainState, given: tuple[Problems, jax.Array]):
        problems, key = given
        if rollout_parts > 1:
            by_length = jnp.argsort(problems.prompt.mask.sum(-1), stable=True)
            problems = jax.tree.map(lambda x: x[by_length], problems)
        rollout = write(policy(state.params), key, problems.prompt)
        prompt, rewards = problems.prompt, reward_fn(rollout, problems.answer)
        metrics = {"solved": rewards.mean()}
        if keep is not None:
            chosen = jnp.argsort(~informative(rewards), stable=True)[:keep]
            prompt, rollout, rewards = jax.tree.map(lambda x: x[chosen], (prompt, rollout, rewards))
        if (
            widths and minibatches == 1
        ):  # which problems share an update must not depend on their lengths
            by_length = jnp.argsort(rollout.mask.any(1).sum(-1))
            prompt, rollout, rewards = jax.tree.map(
                lambda x: x[by_length], (prompt, rollout, rewards)
            )
        batch, of_rollout = learn_fn(state.params, prompt, rollout, rewards)
        parts = jax.tree.map(lambda x: x.reshape(minibatches, -1, *x.shape[1:]), batch)
        learned, of_updates = jax.lax.scan(
            lambda s, _: jax.lax.scan(update, s, parts), state, None, epochs
        )
        metrics |= of_rollout | jax.tree.map(lambda x: x.mean((0, 1)), of_updates)
        return learned._replace(step=state.step + 1), metrics

    return step


def _cut_grad(loss_fn: Callable, widths: Sequence[tuple[int, int]]) -> Callable:
    """The gradient of ``loss_fn(params, batch)``, of a batch cut to the first of ``widths`` that
    holds its longest prompt and chain.
    """
    grad_fn = jax.grad(loss_fn, has_aux=True)

    def is_prompt(x: Any) -> bool:
        return isinstance(x, Prompt)

    def cut(
        batch: Any, of_prompts: int, of_chains: int
    ) -> Any:  # prompts are padded on the left, chains on the right
        def cut_leaf(x):
            if is_prompt(x):
                return Prompt(x.tokens[:, -of_prompts:], x.mask[:, -of_prompts:])
            return x[..., :of_chains] if x.ndim == 3 else x

        return jax.tree.map(cut_leaf, batch, is_leaf=is_prompt)

    # The branches are gradients, not losses: of a loss with branches, the backward pass would keep
    # what all of them need.
    branches = [
        lambda params, batch, pair=pair: grad_fn(params, cut(batch, *pair)) for pair in widths
    ]

    def cut_grad_fn(params: Any, batch: Any):
        leaves = jax.tree.leaves(batch, is_leaf=is_prompt)
        prompt = next(x for x in leaves if is_prompt(x))
        mask = next(x for x in leaves if not is_prompt(x) and x.dtype == bool)  # of the chains
        longest = jnp.stack([prompt.mask.any(0).sum(), mask.any((0, 1)).sum()])
        too_short = (longest > jnp.array(widths)).any(-1).sum()
        return jax.lax.switch(too_short, [*branches, grad_fn], params, batch)

    return cut_grad_fn if widths else grad_fn


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
      reference: parameters of the frozen reference.
      chunk: tokens whose logits exist at a time; few of them stay in a CPU's cache.

    Raises:
      InputError: ``objective.kl_coef`` is not 0, and there is no reference.
    """
    if objective.kl_coef and reference is None:
        raise InputError(
            f"kl_coef is {objective.kl_coef} and there is no reference: expected its parameters"
        )

    def learn_fn(params: Params, prompt: Prompt, rollout: Rollout, rewards: jax.Array):
        scores = None
        if objective.kl_coef:
            scores = completion_logprobs(reference, prompt, rollout.tokens, cfg=cfg)
        return make_batch(prompt, rollout, rewards, scores, objective=objective)

    loss_fn = functools.partial(grpo_loss, cfg=cfg, objective=objective, chunk=chunk)
    return make_device_step(cfg=cfg, learn_fn=learn_fn, loss_fn=loss_fn, **options)


def data_parallel(step: Step, mesh: Mesh) -> Step:
    """``step`` on all devices along the "data" axis of a mesh, each with its part of the problems;
    to be jitted.

    The optimiser has to begin with :func:`mean_over_devices`. A step's token weights and ``keep``
    are those of a device's part.
    """
    everywhere, cut = PartitionSpec(), PartitionSpec("data")

    def of_device(state: TrainState, given: tuple[Problems, jax.Array]):
        problems, key = given
        state, metrics = step(
            state, (problems, jax.random.fold_in(key, jax.lax.axis_index("data")))
        )
        return state, jax.lax.pmean(metrics, "data")

    in_specs, out_specs = (everywhere, (cut, everywhere)), (everywhere, everywhere)
    return jax.shard_map(
        of_device, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )


def mean_over_devices() -> optax.GradientTransformation:
    """Gradients of all devices along "data", inside :func:`data_parallel`."""
    return optax.stateless(lambda grads, _: jax.lax.pmean(grads, "data"))


def run_steps(
    step: Callable,
    state: TrainState,
    problems: Problems,
    key: jax.Array,
    *,
    num_steps: int,
    size: int,
):
    """``num_steps`` steps of ``size`` problems in one scan; to be jitted, or mapped over states and
    keys: several seeds at once.

    Step s draws from ``fold_in(key, s)``, as :func:`problem_batches` does. Returns the state and
    metrics ``[num_steps]``.
    """

    def body(state: TrainState, _):
        rows = (state.step * size + jnp.arange(size)) % len(problems.answer)
        drawn = jax.tree.map(lambda x: jnp.asarray(x)[rows], problems)
        return step(state, (drawn, jax.random.fold_in(key, state.step)))

    return jax.lax.scan(body, state, None, num_steps)


def problem_batches(
    problems: Problems, key: jax.Array, size: int, parts: int = 1
) -> Callable[[int], tuple[Problems, jax.Array]]:
    """``batch_fn`` of ``train.fit`` for a jitted step: problems and key are functions of the step,
    so training resumes exactly.

    ``parts`` is the number of devices of a :func:`data_parallel` step, see :func:`take`.
    """
    return lambda step: (take(problems, step, size, parts), jax.random.fold_in(key, step))
