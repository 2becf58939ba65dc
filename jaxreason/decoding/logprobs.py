"""Teacher-forced log-probabilities: what a model thinks of a text it did not have to write."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

from jaxreason.errors import InputError
from jaxreason.mesh import gather, mesh_of, num_row_parts, shard_batch
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
    """log p(token t | tokens before it in its segment), in nats; ``[B, T]`` each -> float32 ``[B,
    T]``.

    Column 0 is 0. Logits are formed for ``chunk`` tokens at a time and formed again in the backward
    pass, so the ``[B, T, V]`` array never exists (at B=8, T=512, V=152k it would take 2.5 GB).
    """
    states, _ = hidden_states(params, tokens, positions, cfg=cfg, segment_ids=segment_ids)
    return jnp.pad(score_tokens(params, states[:, :-1], tokens[:, 1:], chunk), ((0, 0), (1, 0)))


def completion_states(
    params: Params, prompt: Prompt, tokens: jax.Array, *, cfg: DecoderConfig
) -> jax.Array:
    """The states before each token of N completions of B prompts, ``[B, N, T]`` -> ``[B, N, T,
    E]``.

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
    """log p(token | prompt, tokens before it), float32 ``[B, N, T]``, in nats; differentiable, what
    follows the end included.
    """
    return score_tokens(params, completion_states(params, prompt, tokens, cfg=cfg), tokens, chunk)


def text_logprobs(
    model: LanguageModel, prompts: list[str], completions: list[str], description: str | None = None
) -> np.ndarray:
    """log p(completion, end of text | prompt) of each pair, float32 ``[G]``, in nats; a description
    shows a progress bar.
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
    scores = np.concatenate(
        [
            token_logprobs(
                model.params,
                tokens[i : i + 64],
                positions[i : i + 64],
                real[i : i + 64],
                cfg=model.cfg,
            )
            for i in tqdm(range(0, len(tokens), 64), desc=description, disable=description is None)
        ]
    )
    return (scores * scored).sum(-1)


def choice_logprobs(
    model: LanguageModel, prompts: list[str], words: list[str], batch_size: int = 512
) -> np.ndarray:
    """log p(first token of word | prompt), float32 ``[G, K]``, in nats: which of K words the model
    would write next.

    One forward pass for each prompt, whatever K; in batches of ``batch_size``, or of 64 if these
    are enough, so that few shapes are compiled.

    Raises:
      InputError: two words begin with the same token, so that it does not tell them apart.
    """
    first = [ids[0] for ids in model.tokenizer(words, add_special_tokens=False).input_ids]
    if len(set(first)) < len(first):
        raise InputError(
            f"words {words}: two begin with the same token of {model.name}; choose words that differ there"
        )
    encoded, mesh = (
        encode_prompts(model.tokenizer, prompts, model.cfg.max_position_embeddings),
        mesh_of(model.params),
    )
    size = min(64, batch_size) if len(encoded) <= 64 else batch_size
    size = -(-size // num_row_parts(mesh)) * num_row_parts(
        mesh
    )  # each device reads as many as the others
    found = []
    for i in range(0, len(encoded), size):
        real = encoded[i : i + size]
        rows = real + real[:1] * (size - len(real))
        prompt = shard_batch(pad_left(rows, model.tokenizer.pad_token_id), mesh)
        found.append(
            gather(_next_logprobs(model.params, prompt, jnp.array(first), cfg=model.cfg))[
                : len(real)
            ]
        )
    return np.concatenate(found)


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
