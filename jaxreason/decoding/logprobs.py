"""Teacher-forced log-probabilities: what a model thinks of a text it did not have to write."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.errors import InputError
from jaxreason.mesh import map_rows, mesh_of, round_to_mesh, shard_batch
from jaxreason.models.decoder import (
    DecoderConfig,
    Params,
    branch_states,
    hidden_states,
    output_head,
)
from jaxreason.models.heads import score_tokens
from jaxreason.models.hf import LanguageModel
from jaxreason.models.tokens import Prompt, encode_prompts, pad_left
from jaxreason.progress import progress_bar


@functools.partial(jax.jit, static_argnames=("cfg", "chunk"))
def token_logprobs(
    params: Params,
    tokens: jax.Array,
    positions: jax.Array,
    segment_ids: jax.Array,
    *,
    cfg: DecoderConfig,
    chunk: int = 1024,
) -> jax.Array:
    """log p(token t | tokens before it in its segment), float32 ``[B, T]``, in nats.

    Column 0 is 0. Logits are formed for ``chunk`` tokens at a time and formed again in the backward
    pass, so the ``[B, T, V]`` array never exists (at B=8, T=512, V=152k it would take 2.5 GB).

    Args:
      params, cfg: the model.
      tokens, positions, segment_ids: ``[B, T]`` int32, as for
        :func:`jaxreason.models.decoder.forward`.
      chunk: tokens whose logits are formed together.
    """
    states, _ = hidden_states(params, tokens, positions, cfg=cfg, segment_ids=segment_ids)
    return jnp.pad(score_tokens(params, states[:, :-1], tokens[:, 1:], chunk), ((0, 0), (1, 0)))


def completion_states(
    params: Params, prompt: Prompt, tokens: jax.Array, *, cfg: DecoderConfig
) -> jax.Array:
    """The states before each token of N completions ``[B, N, T]`` of B prompts: ``[B, N, T, E]``.

    A prompt is read once, as in generation, and its completions attend to the same keys and values.
    """
    b, n, t = tokens.shape
    written = tokens.reshape(b * n, t)[:, : max(t - 1, 1)]  # not the last, but not nothing
    of_prompt, later = branch_states(params, prompt.tokens, prompt.mask, written, cfg=cfg)
    first = jnp.repeat(of_prompt[:, -1:], n, axis=0)
    return jnp.concatenate([first, later[:, : t - 1]], axis=1).reshape(b, n, t, -1)


def completion_logprobs(
    params: Params, prompt: Prompt, tokens: jax.Array, *, cfg: DecoderConfig, chunk: int = 1024
) -> jax.Array:
    """log p(token | prompt, tokens before it), float32 ``[B, N, T]``, in nats; differentiable.

    Tokens behind the end of a completion are scored like all others: mask them.

    Args:
      params, cfg: the model.
      prompt: B prompts, padded on the left.
      tokens: ``[B, N, T]`` int32.
      chunk: tokens whose logits are formed together.
    """
    return score_tokens(params, completion_states(params, prompt, tokens, cfg=cfg), tokens, chunk)


def text_logprobs(
    model: LanguageModel, prompts: list[str], completions: list[str], description: str | None = None
) -> np.ndarray:
    """log p(completion, end of text | prompt) of each of G pairs, float32 ``[G]``, in nats.

    Args:
      model: whose probabilities they are.
      prompts, completions: G of each.
      description: shows a progress bar with this text.

    Raises:
      InputError: a prompt is empty or longer than the context.
    """
    tokenizer = model.tokenizer
    encoded = encode_prompts(tokenizer, prompts, model.cfg.max_position_embeddings)
    heads = [ids.tolist() for ids in encoded]
    tails = tokenizer(
        [c + tokenizer.eos_token for c in completions], add_special_tokens=False
    ).input_ids
    width = -(-max(len(h) + len(t) for h, t in zip(heads, tails, strict=True)) // 32) * 32
    tokens = np.full((len(heads), width), tokenizer.pad_token_id, np.int32)
    scored, real = np.zeros(tokens.shape, bool), np.zeros(tokens.shape, np.int32)
    for row, (head, tail) in enumerate(zip(heads, tails, strict=True)):
        tokens[row, : len(head) + len(tail)] = head + tail
        real[row, : len(head) + len(tail)] = 1
        scored[row, len(head) : len(head) + len(tail)] = True
    positions = np.broadcast_to(np.arange(width, dtype=np.int32), tokens.shape)
    found = np.zeros(len(heads), np.float32)
    starts = progress_bar(range(0, len(heads), 64), description=description, unit="batch")
    for start in starts:
        chosen = slice(start, start + 64)
        scores = token_logprobs(
            model.params, tokens[chosen], positions[chosen], real[chosen], cfg=model.cfg
        )
        found[chosen] = (np.asarray(scores) * scored[chosen]).sum(-1)
    return found


def choice_logprobs(
    model: LanguageModel, prompts: list[str], words: list[str], batch_size: int = 512
) -> np.ndarray:
    """Which of K words the model would write next: log p(first token of word | prompt), in nats.

    One forward pass for each prompt, whatever K.

    Args:
      model: whose probabilities they are.
      prompts: G texts.
      words: K texts that begin with different tokens.
      batch_size: prompts at a time; 64 if these are enough, so that few shapes are compiled.

    Returns:
      float32 ``[G, K]``.

    Raises:
      InputError: two words begin with the same token, so that it does not tell them apart.
    """
    first = [ids[0] for ids in model.tokenizer(words, add_special_tokens=False).input_ids]
    if len(set(first)) < len(first):
        raise InputError(
            f"words {words}: two begin with the same token of {model.name}; "
            "choose words that differ there"
        )
    encoded = encode_prompts(model.tokenizer, prompts, model.cfg.max_position_embeddings)
    mesh = mesh_of(model.params)
    size = min(64, batch_size) if len(encoded) <= 64 else batch_size

    def read(chosen: np.ndarray) -> jax.Array:
        prompt = pad_left([encoded[i] for i in chosen], model.tokenizer.pad_token_id)
        prompt = shard_batch(prompt, mesh)
        return _next_logprobs(model.params, prompt, jnp.array(first), cfg=model.cfg)

    found = np.zeros((len(encoded), len(words)), np.float32)
    for chosen, logprobs in map_rows(read, np.arange(len(encoded)), round_to_mesh(size, mesh)):
        found[chosen] = logprobs
    return found


@functools.partial(jax.jit, static_argnames="cfg")
def _next_logprobs(
    params: Params, prompt: Prompt, chosen: jax.Array, *, cfg: DecoderConfig
) -> jax.Array:
    """log p(token | prompt) of the chosen tokens, ``[B, K]``."""
    positions = jnp.maximum(jnp.cumsum(prompt.mask, axis=-1) - 1, 0)
    states, _ = hidden_states(
        params, prompt.tokens, positions, cfg=cfg, segment_ids=prompt.mask.astype(jnp.int32)
    )
    logits = output_head(params)(states[:, -1])
    return jax.nn.log_softmax(logits)[:, chosen]
