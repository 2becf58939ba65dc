"""Compute in floating-point operations: of a forward pass, training, a rollout, a search.

forward_flops    one token
training_flops   the tokens of a batch, forward and backward
rollout_flops    prompts and the chains decoded from them
reading_flops    prompts and the chains that a verifier reads
search_flops     a tree of tokens

numpy, on the host. ``cfg`` is a :class:`jaxreason.models.decoder.DecoderConfig`, or anything with
the Hugging Face names vocab_size, hidden_size, num_hidden_layers, num_attention_heads,
num_key_value_heads, head_dim and intermediate_size.
"""

from typing import Any

import numpy as np

from jaxreason.errors import InputError


def forward_flops(cfg: Any, context: int | np.ndarray) -> float | np.ndarray:
    """FLOPs of the forward pass of one token that attends to ``context`` positions.

    Kaplan et al. 2020, section 2.1: two (a multiply and an add) for each non-embedding weight, plus
    attention, plus the logits. Norms, softmax, rotary embedding and biases are left out, and the
    embedding look-up is free. Weights are counted per projection, because grouped-query attention
    shrinks keys and values and SwiGLU has three matrices. Attention takes 4 * heads * head_dim *
    context in each layer. Kaplan's 2 * n_ctx * d_attn is the same at n_ctx / 2, the mean context of
    a causal model.
    A sliding window is not taken into account: layers that have one are counted like the others.

    Args:
      cfg: of the model.
      context: positions, the token itself included: a number or ``[...]``; the result has its
          shape.
    """
    return _body_flops(cfg, context) + _logits_flops(cfg)


def _body_flops(cfg: Any, context: int | np.ndarray) -> float | np.ndarray:
    queries, keys = cfg.num_attention_heads * cfg.head_dim, cfg.num_key_value_heads * cfg.head_dim
    projections = cfg.hidden_size * (2 * queries + 2 * keys)  # query and output, key and value
    mlp = 3 * cfg.hidden_size * cfg.intermediate_size  # gate, up, down
    context = np.asarray(context, np.float64)[()]  # float64: totals of a large model pass 2^63
    # queries @ keys and probabilities @ values, two each per position
    attention = 4 * queries * context
    return cfg.num_hidden_layers * (2 * (projections + mlp) + attention)


def _logits_flops(cfg: Any) -> int:
    return 2 * cfg.hidden_size * cfg.vocab_size


def training_flops(cfg: Any, context: np.ndarray) -> float:
    """FLOPs to learn from the tokens of a batch.

    The backward pass takes about two forward passes (Kaplan et al. 2020, section 2.1), so all is
    three times :func:`forward_flops`. Norms, the optimiser and padding are not counted.

    Args:
      cfg: of the model.
      context: ``[...]`` the positions that each token attends to, itself included. A packed batch
        has ``(batch.positions + 1)[batch.segment_ids > 0]``.
    """
    return 3 * float(np.sum(forward_flops(cfg, context)))


def rollout_flops(
    cfg: Any, prompt_length: int | np.ndarray, lengths: np.ndarray
) -> float | np.ndarray:
    """FLOPs to prefill each prompt once and decode all its chains from that cache.

    The prefill is a forward pass of every prompt token, with logits at the last one. It gives each
    chain its first token, and each further token costs one pass of :func:`forward_flops`. Padding,
    and finished chains that a batch still computes, are not counted: this is the useful work.

    Args:
      cfg: as for :func:`forward_flops`.
      prompt_length: tokens, a number or ``[...]``.
      lengths: ``[..., N]`` generated tokens of the N chains that share a prompt; ``[G, 1]`` for
        single chains.

    Returns:
      ``[...]`` FLOPs for each prompt with all its chains.

    Raises:
      InputError: a prompt of no tokens, negative lengths, or prompt lengths that do not match.
    """
    prompt, lengths = np.asarray(prompt_length, np.float64), np.asarray(lengths, np.float64)
    if lengths.ndim == 0 or prompt.shape not in ((), lengths.shape[:-1]):
        raise InputError(
            f"prompt_length {list(prompt.shape)}, lengths {list(lengths.shape)}: expected [...] or "
            "a number "
            "and [..., N]; put the N chains of a prompt along the last axis"
        )
    if (prompt < 1).any() or (lengths < 0).any():
        raise InputError(
            f"shortest prompt {prompt.min():g}, shortest chain {lengths.min():g}: expected at "
            "least 1 and 0"
        )
    # FLOPs are affine in the context, so a run of passes costs its number times the cost at its
    # mean context.
    steps = np.maximum(lengths - 1, 0)
    prefill = prompt * _body_flops(cfg, (prompt + 1) / 2) + _logits_flops(cfg)
    decode = steps * forward_flops(cfg, prompt[..., None] + (steps + 1) / 2)
    return (prefill + decode.sum(-1))[()]


def reading_flops(
    cfg: Any, prompt_length: int | np.ndarray, lengths: np.ndarray
) -> float | np.ndarray:
    """FLOPs of a verifier that reads each prompt once, and its chains from that cache.

    It has no logits, and its scalar head is free.

    Args:
      cfg: of its backbone, as for :func:`forward_flops`.
      prompt_length: tokens, a number or ``[...]``.
      lengths: ``[..., N]`` tokens of the chains, 0 for a chain that was read before.

    Returns:
      ``[...]`` FLOPs for each prompt with all its chains.
    """
    prompt, lengths = np.asarray(prompt_length, np.float64), np.asarray(lengths, np.float64)
    of_chains = lengths * _body_flops(cfg, prompt[..., None] + (lengths + 1) / 2)
    return (prompt * _body_flops(cfg, (prompt + 1) / 2) + of_chains.sum(-1))[()]


def search_flops(
    cfg: Any,
    prompt_length: int | np.ndarray,
    tokens: np.ndarray,
    longest: np.ndarray,
    *,
    logits: bool = True,
) -> float | np.ndarray:
    """FLOPs of a tree search that keeps the cache of every node.

    Each prompt and each token of the tree is computed once. A tree counts its tokens and not their
    contexts, so every token is charged the context at the end of the longest path. That is an upper
    bound of the attention term, the smaller part.

    Args:
      cfg: as for :func:`forward_flops`.
      prompt_length: tokens, a number or ``[...]``.
      tokens: ``[...]`` written (or read) in all.
      longest: ``[...]`` tokens of the longest path behind the prompt.
      logits: False for a verifier.
    """
    prompt, tokens = np.asarray(prompt_length, np.float64), np.asarray(tokens, np.float64)
    of_token, head = _body_flops(cfg, prompt + longest), _logits_flops(cfg) if logits else 0
    return (prompt * _body_flops(cfg, (prompt + 1) / 2) + head + tokens * (of_token + head))[()]
