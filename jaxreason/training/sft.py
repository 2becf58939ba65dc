"""Supervised fine-tuning on text: examples packed into rows, and a loss on completions only."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from transformers import PreTrainedTokenizerBase

from jaxreason.errors import InputError
from jaxreason.models.decoder import DecoderConfig, Params, forward
from jaxreason.models.tokens import encode_prompts


class Document(NamedTuple):
    """One tokenised document; ``weights[t]`` is the weight of the loss on token t (0 on the
    prompt).
    """

    tokens: np.ndarray  # [T] int32
    weights: np.ndarray  # [T] float32


class Batch(NamedTuple):
    """Documents laid end to end; attention and positions start anew with every document."""

    tokens: jax.Array  # [B, T] int32
    positions: jax.Array  # [B, T] int32
    segment_ids: jax.Array  # [B, T] int32, 0 is padding
    weights: jax.Array  # [B, T] float32


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    completions: Sequence[str],
    max_tokens: int,
) -> list[Document]:
    """Documents of prompts and what should follow them.

    The loss is on the completion and on the end of text behind it. Prompt and completion are
    tokenised apart, as in generation: there the model meets the prompt's tokens and writes its own.

    Args:
      tokenizer: of the model.
      prompts, completions: as many of each.
      max_tokens: of a document.

    Raises:
      InputError: a prompt is empty, or a document has more than ``max_tokens`` tokens, which
        :func:`pack` would pass over.
    """
    if not prompts:
        return []
    heads = encode_prompts(tokenizer, prompts, max_tokens)
    tails = tokenizer(
        [c + tokenizer.eos_token for c in completions], add_special_tokens=False
    ).input_ids
    documents = []
    for head, tail in zip(heads, tails, strict=True):
        weights = np.repeat(np.float32([0, 1]), [len(head), len(tail)])
        documents.append(Document(np.concatenate([head, np.int32(tail)]), weights))
    longest = max(len(document.tokens) for document in documents)
    if longest > max_tokens:
        raise InputError(
            f"an example has {longest} tokens: expected at most {max_tokens}; leave out longer ones"
        )
    return documents


def pack(documents: Iterable[Document], rows: int, length: int, pad_id: int) -> Batch:
    """First-fit packing: documents are taken until one fits into no row.

    Args:
      documents: those longer than ``length`` are passed over.
      rows, length: B and T.
      pad_id: the token of padding.
    """
    tokens = np.full((rows, length), pad_id, np.int32)
    positions = np.zeros((rows, length), np.int32)
    segment_ids = np.zeros((rows, length), np.int32)
    weights = np.zeros((rows, length), np.float32)
    used, count = np.zeros(rows, int), np.zeros(rows, int)  # tokens and documents of each row
    for document in documents:
        n = len(document.tokens)
        if n > length:
            continue
        fitting = np.flatnonzero(used + n <= length)
        if not len(fitting):
            break
        row = fitting[0]
        span = slice(used[row], used[row] + n)
        count[row] += 1
        tokens[row, span], weights[row, span] = document.tokens, document.weights
        positions[row, span], segment_ids[row, span] = np.arange(n), count[row]
        used[row] += n
    return Batch(tokens=tokens, positions=positions, segment_ids=segment_ids, weights=weights)


def sft_loss(
    params: Params, batch: Batch, *, cfg: DecoderConfig
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Weighted mean of -log p(token | document so far) over completion tokens, in nats.

    The weight of a document's first token is ignored: nothing predicts it.

    Returns:
      The loss ``[]``, and the metrics "loss" and "token_accuracy".
    """
    logits, _ = forward(
        params, batch.tokens, batch.positions, cfg=cfg, segment_ids=batch.segment_ids
    )
    targets = batch.tokens[:, 1:]
    weights = batch.weights[:, 1:] * (batch.positions[:, 1:] > 0)
    nll = optax.softmax_cross_entropy_with_integer_labels(logits[:, :-1], targets)
    total = jnp.where(weights.sum() > 0, weights.sum(), 1.0)
    loss = (nll * weights).sum() / total
    hits = (logits[:, :-1].argmax(-1) == targets) * (weights > 0)
    return loss, {"loss": loss, "token_accuracy": hits.sum() / jnp.maximum((weights > 0).sum(), 1)}
