"""GRPO with rewards of texts: any language model, any Python function of a text, all weights or
LoRA.

An update draws chains on the device, reads them as text on the host, and learns on the device. Its
shape is that of ``train.make_update``, so ``train.fit`` runs, logs, saves and resumes it.
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
from jaxreason.models.decoder import Params, unstack
from jaxreason.models.hf import LanguageModel
from jaxreason.models.lora import merge_lora
from jaxreason.models.tokens import encode_prompts, pad_left
from jaxreason.training.grpo import GroupBatch, Objective, grpo_loss, make_batch
from jaxreason.training.loop import TrainState, make_update

TextReward = Callable[[int, str], float]  # (index of the problem, completion) -> reward


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
) -> Callable[[TrainState, tuple[np.ndarray, jax.Array]], tuple[TrainState, dict[str, jax.Array]]]:
    """``update(state, (rows, key)) -> (state, metrics)``: chains of the problems ``rows``, their
    rewards, and the updates.

    Where the parameters lie on a mesh, the problems of an update are cut among its devices.

    Args:
      model: the start, and the frozen reference where ``objective.kl_coef`` is not 0. An update
        consumes the state it is given: of all weights, begin with a copy of ``model.params``.
      prompts: of all problems; each is padded to the longest, so leave out the few that are much
        longer than the others.
      reward_fn: of one text, for instance ``lambda i, text: is_correct(text, golds[i])``.
      tx, objective, epochs: a rollout is learned from ``epochs`` times.
      num_samples, max_new_tokens, stop_strings: of the chains.
      microbatches: the problems of an update are learned from in so many parts, which bounds
        memory.
      lora_scale: None trains all weights, ``state.params`` being those; else ``state.params`` is an
        adapter of ``init_lora``.
      chunk: tokens whose logits exist at a time.

    Raises:
      InputError: in the update, if its problems do not divide among the microbatches.
    """
    encoded = encode_prompts(
        model.tokenizer, prompts, model.cfg.max_position_embeddings, max_new_tokens
    )
    width = max(map(len, encoded))  # of all batches, so that one shape is compiled
    stop = compile_stop(model.tokenizer, stop_strings, model.eos_ids)

    score_batch = functools.partial(grpo_loss, cfg=model.cfg, objective=objective, chunk=chunk)
    if lora_scale is None:
        learn = make_update(score_batch, tx, microbatches)
    else:  # the weights below the adapter are an argument of every program, and a constant of none

        def loss_fn(lora: Params, batch: GroupBatch, base: Params):
            return score_batch(merge_lora(base, lora, lora_scale), batch)

        learn = make_update(loss_fn, tx, microbatches, model.params)
    score = functools.partial(
        jax.jit(completion_logprobs, static_argnames=("cfg", "chunk")), cfg=model.cfg, chunk=chunk
    )

    def update(state: TrainState, given: tuple[np.ndarray, jax.Array]):
        rows, key = given
        if len(rows) % microbatches:
            raise InputError(
                f"{len(rows)} problems in {microbatches} microbatches: expected a multiple"
            )
        params = (
            state.params
            if lora_scale is None
            else merge_lora(model.params, state.params, lora_scale)
        )
        mesh = mesh_of(params)
        prompt = shard_batch(
            pad_left([encoded[i] for i in rows], model.tokenizer.pad_token_id, multiple=width), mesh
        )
        rollout = gather(
            generate(
                params,
                key,
                prompt,
                stop,
                cfg=model.cfg,
                sampler=Sampler(),
                max_new_tokens=max_new_tokens,
                num_samples=num_samples,
                layers=unstack(params)["layers"],
            )
        )
        texts = [
            decode(model.tokenizer, tokens, mask, stop_strings)
            for tokens, mask in zip(rollout.tokens, rollout.mask, strict=True)
        ]
        rewards = np.array(
            [[reward_fn(int(i), text) for text in row] for i, row in zip(rows, texts, strict=True)],
            np.float32,
        )
        if not np.isfinite(rewards).all():
            raise InputError(
                f"the reward of a text is {rewards[~np.isfinite(rewards)][0]}: expected a finite number"
            )
        short = _trim(rollout)
        reference = (
            score(model.params, prompt, shard_batch(short.tokens, mesh))
            if objective.kl_coef
            else None
        )
        batch, metrics = make_batch(
            prompt,
            short,
            jnp.asarray(rewards),
            reference,
            objective=objective,
            limit=max_new_tokens,
        )
        step, of_updates = state.step + 1, []
        learnable = (
            batch.weights > 0
            if objective.kl_coef
            else (batch.weights > 0) & (batch.advantages != 0)
        )
        if learnable.any():
            for _ in range(epochs):
                state, of_update = learn(state, batch)
                of_updates.append(of_update)
            metrics |= jax.tree.map(lambda *x: jnp.stack(x).mean(), *of_updates)
        else:  # every gradient is 0: momentum alone would move the weights
            metrics |= {"loss": jnp.float32(0.0), "clip_fraction": jnp.float32(0.0)}
        return state._replace(step=step), metrics

    return update


def _trim(rollout: Rollout) -> Rollout:
    """Without the columns behind the longest chain, in steps of 32, so that few shapes are
    compiled.
    """
    longest = int(rollout.mask.any((0, 1)).sum())
    width = min(rollout.mask.shape[-1], -(-longest // 32) * 32)
    return Rollout(*(x[..., :width] for x in rollout[:3]), rollout.finished)


def text_batches(
    num_problems: int, key: jax.Array, size: int
) -> Callable[[int], tuple[np.ndarray, jax.Array]]:
    """``batch_fn`` of ``train.fit``: each pass over the problems in another order; a function of
    the step alone.
    """

    def batch_fn(step: int) -> tuple[np.ndarray, jax.Array]:
        places = step * size + np.arange(size)
        orders = {
            p: np.random.default_rng([p, num_problems]).permutation(num_problems)
            for p in {*(places // num_problems)}
        }
        return np.array(
            [orders[i // num_problems][i % num_problems] for i in places]
        ), jax.random.fold_in(key, step)

    return batch_fn
