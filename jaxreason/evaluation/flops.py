"""Compute in floating-point operations: of a forward pass, training, a rollout, a search."""

from typing import Any

import numpy as np

from jaxreason.errors import InputError

# --- compute
# ------------------------------------------------------------------------------------------------


def forward_flops(cfg: Any, context: int | np.ndarray) -> float | np.ndarray:
    """FLOPs of one token's forward pass that attends to ``context`` positions, itself included.

    Kaplan et al. 2020, section 2.1: two (a multiply and an add) for each non-embedding weight, plus
    attention, plus the logits; norms, softmax, rotary embedding and biases are left out, the
    embedding look-up is free. Weights are counted per projection, because grouped-query attention
    shrinks keys and values and SwiGLU has three matrices. Attention is 4 * heads * head_dim *
    context in each layer; Kaplan's 2 * n_ctx * d_attn is that at the mean context n_ctx / 2 of a
    causal model.

    Args:
        cfg: anything with the Hugging Face names vocab_size, hidden_size, num_hidden_layers,
            num_attention_heads, num_key_value_heads, head_dim and intermediate_size.
        context: positions, a number or an array; the result has its shape.
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
    """FLOPs to learn from tokens that attend to ``context`` positions each, themselves included.

    The backward pass takes about two forward passes (Kaplan et al. 2020, section 2.1), so three in
    all; norms, the optimiser and padding are not counted. A packed batch has the contexts
    ``(batch.positions + 1)[batch.segment_ids > 0]``.
    """
    return 3 * float(np.sum(forward_flops(cfg, context)))


def rollout_flops(
    cfg: Any, prompt_length: int | np.ndarray, lengths: np.ndarray
) -> float | np.ndarray:
    """FLOPs to prefill each prompt once and decode all its chains from that cache.

    The prefill is a forward pass of every prompt token with logits at the last; it gives each chain
    its first token, and each further token costs one pass of :func:`forward_flops`. Padding and
    finished chains that a batch still computes are not counted: this is the useful work.

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
    """FLOPs of a verifier that reads each prompt once, and its chains from that cache; no logits,
    and a scalar head is free.

    Args:
        cfg: of its backbone, as for :func:`forward_flops`.
        prompt_length: tokens, a number or ``[...]``.
        lengths: ``[..., N]`` tokens of the chains, 0 for one that needs no reading because it was
          read before.

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
    """FLOPs of a tree search that keeps the cache of every node: each prompt once, and each token
    of the tree once.

    A tree counts its tokens and not their contexts, so all are charged that of the end of the
    longest path: an upper bound of the attention term, the smaller part.

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
