"""GRPO with rewards of texts: any language model, any Python function of a prompt and a text, all
weights or LoRA.

An update draws chains on the device, reads them as text on the host, and learns on the device. Its
shape is that of ``loop.make_update``, so ``loop.fit`` runs, logs, saves and resumes it.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxreason.decoding.completions import decode
from jaxreason.decoding.logprobs import completion_logprobs
from jaxreason.decoding.rollout import Rollout, generate
from jaxreason.decoding.sampling import Sampler
from jaxreason.decoding.stop import compile_stop
from jaxreason.errors import InputError
from jaxreason.mesh import gather, mesh_of, shard_batch
from jaxreason.models.cache import unstack
from jaxreason.models.decoder import Params
from jaxreason.models.hf import LanguageModel
from jaxreason.models.lora import merge_lora
from jaxreason.models.precision import check_kind, lower
from jaxreason.models.tokens import Prompt, encode_prompts, pad_left
from jaxreason.training.grpo import Objective
from jaxreason.training.grpo_batch import GroupBatch, grpo_loss, make_batch
from jaxreason.training.loop import TrainState, make_update

TextReward = Callable[[str, str], float]  # (prompt, completion) -> reward


def make_text_update(
    model: LanguageModel,
    prompts: Sequence[str],
    reward_fn: TextReward,
    *,
    tx: optax.GradientTransformation,
    objective: Objective,
    num_samples: int,
    max_new_tokens: int,
    stop_strings: Sequence[str] = (),
    epochs: int = 1,
    microbatches: int = 1,
    lora_scale: float | None = None,
    chunk: int = 1024,
    rollout_dtype: str | None = None,
) -> Callable[[TrainState, tuple[np.ndarray, jax.Array]], tuple[TrainState, dict[str, jax.Array]]]:
    """``update(state, (rows, key)) -> (state, metrics)``: chains of the prompts ``rows``, their
    rewards, and the updates.

    A reward often needs the right answer, which a dictionary finds by the prompt::

        golds = dict(zip(prompts, answers))
        reward_fn = lambda prompt, text: float(is_correct(text, golds[prompt]))

    Where the parameters lie on a mesh, the problems of an update are cut among its devices.

    Args:
      model: the start, and the frozen reference where ``objective.kl_coef`` is not 0. An update
        consumes the state it is given: of all weights, begin with a copy of ``model.params``.
      prompts: of all problems; each is padded to the longest, so leave out the few that are much
        longer than the others.
      reward_fn: ``(prompt, completion) -> reward``, a finite number.
      tx, objective: the optimiser, and which variant of GRPO.
      num_samples, max_new_tokens, stop_strings: of the chains.
      epochs: how often a rollout is learned from.
      microbatches: the problems of an update are learned from in so many parts, which bounds
        memory.
      lora_scale: None trains all weights, ``state.params`` being those; else ``state.params`` is an
        adapter of ``init_lora``.
      chunk: tokens whose logits exist at a time.
      rollout_dtype: the arithmetic in which chains are written, as in
        :func:`jaxreason.models.precision.lower`; None is that of the parameters. Of a lower one,
        ``objective.rollout_cap`` corrects what it does to the gradient.

    Raises:
      InputError: ``rollout_dtype`` is unknown; a prompt is empty or too long for the context; from
        the update, a reward that is not finite, or microbatches that do not divide the problems.
    """
    if rollout_dtype is not None:
        check_kind(rollout_dtype)
    encoded = encode_prompts(
        model.tokenizer, prompts, model.cfg.max_position_embeddings, max_new_tokens
    )
    width = max(map(len, encoded))  # of all batches, so that one shape is compiled
    stop = compile_stop(model.tokenizer, stop_strings, model.eos_ids)
    loss_fn = functools.partial(grpo_loss, cfg=model.cfg, objective=objective, chunk=chunk)
    learn = _make_learn(loss_fn, model, tx, microbatches, lora_scale)
    score = functools.partial(
        jax.jit(completion_logprobs, static_argnames=("cfg", "chunk")), cfg=model.cfg, chunk=chunk
    )

    draw = functools.partial(
        generate, sampler=Sampler(), max_new_tokens=max_new_tokens, num_samples=num_samples
    )

    def write(params: Params, key: jax.Array, prompt: Prompt) -> Rollout:
        cfg = model.cfg
        if rollout_dtype is not None:
            params, cfg = lower(params, cfg, rollout_dtype)
        return draw(params, key, prompt, stop, cfg=cfg, layers=unstack(params)["layers"])

    def reward(rows: np.ndarray, rollout: Rollout) -> np.ndarray:
        texts = [
            decode(model.tokenizer, tokens, mask, stop_strings)
            for tokens, mask in zip(rollout.tokens, rollout.mask, strict=True)
        ]
        return _reward_texts(reward_fn, [prompts[i] for i in rows], texts)

    def update(state: TrainState, given: tuple[np.ndarray, jax.Array]):
        rows, key = given
        if len(rows) % microbatches:
            raise InputError(
                f"{len(rows)} problems in {microbatches} microbatches: expected a multiple"
            )
        params = state.params
        if lora_scale is not None:
            params = merge_lora(model.params, state.params, lora_scale)
        mesh = mesh_of(params)
        padded = pad_left([encoded[i] for i in rows], model.tokenizer.pad_token_id, multiple=width)
        prompt = shard_batch(padded, mesh)
        rollout = gather(write(params, key, prompt))
        rewards = reward(rows, rollout)

        short = _trim(rollout)
        reference = logprobs = None
        if objective.kl_coef:
            reference = score(model.params, prompt, shard_batch(short.tokens, mesh))
        if rollout_dtype is not None:
            logprobs = score(params, prompt, shard_batch(short.tokens, mesh))
        batch, metrics = make_batch(
            prompt,
            short,
            jnp.asarray(rewards),
            reference,
            objective=objective,
            limit=max_new_tokens,
            logprobs=logprobs,
        )
        step = state.step + 1  # before an update consumes the state
        if not _can_learn(batch, objective):  # then momentum alone would move the weights
            nothing = {"loss": jnp.float32(0.0), "clip_fraction": jnp.float32(0.0)}
            return state._replace(step=step), metrics | nothing
        of_updates = []
        for _ in range(epochs):
            state, of_update = learn(state, batch)
            of_updates.append(of_update)
        means = jax.tree.map(lambda *x: jnp.stack(x).mean(), *of_updates)
        return state._replace(step=step), metrics | means

    return update


def _make_learn(
    loss_fn: Callable,
    model: LanguageModel,
    tx: optax.GradientTransformation,
    microbatches: int,
    lora_scale: float | None,
) -> Callable:
    """``loop.make_update`` of ``loss_fn(params, batch)``, for all weights or an adapter of them."""
    if lora_scale is None:
        return make_update(loss_fn, tx, microbatches)

    # The weights below the adapter are an argument of every program, and a constant of none.
    def lora_loss(lora: Params, batch: GroupBatch, base: Params):
        return loss_fn(merge_lora(base, lora, lora_scale), batch)

    return make_update(lora_loss, tx, microbatches, model.params)


def _reward_texts(
    reward_fn: TextReward, prompts: Sequence[str], texts: Sequence[Sequence[str]]
) -> np.ndarray:
    """The rewards of N texts of each of B prompts, float32 ``[B, N]``.

    Raises:
      InputError: a reward is not finite.
    """
    rewards = np.array(
        [
            [reward_fn(prompt, text) for text in row]
            for prompt, row in zip(prompts, texts, strict=True)
        ],
        np.float32,
    )
    if not np.isfinite(rewards).all():
        found = rewards[~np.isfinite(rewards)][0]
        raise InputError(f"the reward of a text is {found}: expected a finite number")
    return rewards


def _can_learn(batch: GroupBatch, objective: Objective) -> bool:
    """Whether any gradient may differ from 0."""
    counted = batch.weights > 0
    if not objective.kl_coef:
        counted &= batch.advantages != 0
    return bool(counted.any())


def _trim(rollout: Rollout) -> Rollout:
    """Without the columns behind the longest chain, in steps of 32, so that few shapes are
    compiled.
    """
    longest = int(rollout.mask.any((0, 1)).sum())
    width = min(rollout.mask.shape[-1], -(-longest // 32) * 32)
    return Rollout(
        tokens=rollout.tokens[..., :width],
        logprobs=rollout.logprobs[..., :width],
        mask=rollout.mask[..., :width],
        finished=rollout.finished,
    )


def text_batches(
    num_problems: int, key: jax.Array, size: int
) -> Callable[[int], tuple[np.ndarray, jax.Array]]:
    """``batch_fn`` of ``loop.fit``: the rows of ``size`` problems, and a key.

    Each pass over the problems takes another order; rows and key are functions of the step's number
    alone.
    """

    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng([epoch, num_problems]).permutation(num_problems)

    def batch_fn(step: int) -> tuple[np.ndarray, jax.Array]:
        epochs, places = np.divmod(step * size + np.arange(size), num_problems)
        orders = {int(epoch): order(epoch) for epoch in np.unique(epochs)}
        rows = [orders[epoch][place] for epoch, place in zip(epochs, places, strict=True)]
        return np.array(rows), jax.random.fold_in(key, step)

    return batch_fn
