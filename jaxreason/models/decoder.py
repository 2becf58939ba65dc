"""One decoder-only transformer; families such as Llama, Qwen and Gemma are flags, not copies.

Modules are flax.nnx; parameters are plain nested dicts of arrays with the layers stacked on a
leading axis ``[L, ...]``, so that one block is compiled however deep the model is. Shapes: B rows,
T new tokens, S cached tokens, P prefix tokens, L layers, H query heads, K key-value heads, G = H /
K, D head_dim, E hidden_size, V vocabulary.
"""

import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
from flax import nnx

from jaxreason.mesh import constrain_rows
from jaxreason.models.cache import KV, Cache, unstack, visible
from jaxreason.models.config import ACTIVATIONS, DecoderConfig
from jaxreason.models.precision import Linear, matmul, matmul_transposed
from jaxreason.models.rope import rope
from jaxreason.models.views import (
    View,
    causal,
    kind_of_layers,
    make_views,
    scanned_kinds,
    select_view,
)

Params = dict  # nested, leaves are jax.Array


class Attention(nnx.Module):
    """Grouped-query attention (Ainslie et al. 2023) to a shared prefix and the row's own tokens."""

    def __init__(self, cfg: DecoderConfig, rngs: nnx.Rngs):
        self.cfg = cfg
        heads, kv = cfg.num_attention_heads * cfg.head_dim, cfg.num_key_value_heads * cfg.head_dim
        linear = functools.partial(Linear, int8=cfg.int8, rngs=rngs)
        self.q = linear(cfg.hidden_size, heads, use_bias=cfg.attention_bias)
        self.k = linear(cfg.hidden_size, kv, use_bias=cfg.attention_bias)
        self.v = linear(cfg.hidden_size, kv, use_bias=cfg.attention_bias)
        self.o = linear(heads, cfg.hidden_size, use_bias=False, kernel_init=_residual_init(cfg))
        norm = functools.partial(nnx.RMSNorm, epsilon=cfg.rms_norm_eps, rngs=rngs)
        if cfg.qk_norm_whole:
            self.q_norm, self.k_norm = norm(heads), norm(kv)
        elif cfg.qk_norm:
            self.q_norm, self.k_norm = norm(cfg.head_dim), norm(cfg.head_dim)
        self.query_scale = (cfg.query_pre_attn_scalar or cfg.head_dim) ** -0.5

    def __call__(self, x, view: View, prefix: KV | None, own: KV | None, start):
        """Attends from ``x [B, T, E]`` to the prefix, if given, and to the row's own tokens.

        Args:
          x: the block's normalised input.
          view: how queries and keys turn, and which of the P + S keys a token sees.
          prefix: of b prompts, P slots.
          own: S slots, into which the new keys and values are written at ``start``; None: the row's
            own tokens are those of ``x``, and S = T.
          start: int32 ``[]``, with ``own`` only.

        Returns:
          What is added to the residual stream ``[B, T, E]``, and the row's keys and values.
        """
        cfg, (rows, length, _) = self.cfg, x.shape
        q = self.q(x).reshape(rows, length, cfg.num_attention_heads, cfg.head_dim)
        k = self.k(x).reshape(rows, length, cfg.num_key_value_heads, cfg.head_dim)
        v = self.v(x).reshape(rows, length, cfg.num_key_value_heads, cfg.head_dim)
        if cfg.qk_norm_whole:
            q = self.q_norm(q.reshape(rows, length, -1)).reshape(q.shape)
            k = self.k_norm(k.reshape(rows, length, -1)).reshape(k.shape)
        elif cfg.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = rope(q, *view.turn) * self.query_scale, rope(k, *view.turn)
        heads = rows * cfg.num_key_value_heads
        # The G query heads of a key head are rows of one matrix product against its keys.
        q = q.reshape(rows, length, cfg.num_key_value_heads, -1, cfg.head_dim)
        q = q.transpose(0, 2, 3, 1, 4).reshape(heads, -1, cfg.head_dim)  # [B * K, G * T, D]
        new = KV(
            k=k.transpose(0, 2, 3, 1).reshape(heads, cfg.head_dim, length),
            v=v.transpose(0, 2, 1, 3).reshape(heads, length, cfg.head_dim),
        )
        if own is not None:
            new = KV(
                k=jax.lax.dynamic_update_slice(own.k, new.k.astype(own.k.dtype), (0, 0, start)),
                v=jax.lax.dynamic_update_slice(own.v, new.v.astype(own.v.dtype), (0, start, 0)),
            )
        if prefix is None:
            out = self.softmax(q @ new.k, view.mask).astype(x.dtype) @ new.v
        else:
            scores = [self.shared_matmul(q, prefix.k), q @ new.k]
            weights = self.softmax(jnp.concatenate(scores, axis=-1), view.mask).astype(x.dtype)
            on_prefix, on_new = jnp.split(weights, [prefix.k.shape[-1]], axis=-1)
            out = self.shared_matmul(on_prefix, prefix.v) + on_new @ new.v
        out = out.reshape(rows, -1, length, cfg.head_dim).swapaxes(1, 2).reshape(rows, length, -1)
        return self.o(out), new

    def softmax(self, scores: jax.Array, mask: jax.Array) -> jax.Array:
        """Float32 weights of ``scores [B * K, G * T, S]``, 0 unless ``mask [B, 1, T, S]``."""
        by_head = scores.astype(jnp.float32)
        by_head = by_head.reshape(mask.shape[0], -1, *mask.shape[2:])  # [B, H, T, S]
        return jax.nn.softmax(jnp.where(mask, by_head, -1e30), axis=-1).reshape(scores.shape)

    def shared_matmul(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """``x [B * K, M, _] @ y [b * K, ...]``; the N rows that share a y are one product."""
        kv, (_, m, _) = self.cfg.num_key_value_heads, x.shape
        prompts = y.shape[0] // kv
        x = x.reshape(prompts, -1, kv, m, x.shape[-1]).swapaxes(1, 2)  # [b, K, N, M, _]
        out = x.reshape(prompts * kv, -1, x.shape[-1]) @ y
        return out.reshape(*x.shape[:-1], -1).swapaxes(1, 2).reshape(-1, m, out.shape[-1])


def _residual_init(cfg: DecoderConfig):
    # Smaller where a block writes to the residual stream: its variance then does not grow (GPT-2).
    return nnx.initializers.variance_scaling(1.0 / (2 * cfg.num_hidden_layers), "fan_in", "normal")


class MLP(nnx.Module):
    """SwiGLU or GeGLU (Shazeer 2020): down(act(gate x) * up x)."""

    def __init__(self, cfg: DecoderConfig, rngs: nnx.Rngs):
        linear = functools.partial(Linear, use_bias=False, int8=cfg.int8, rngs=rngs)
        self.gate = linear(cfg.hidden_size, cfg.intermediate_size)
        self.up = linear(cfg.hidden_size, cfg.intermediate_size)
        self.down = linear(cfg.intermediate_size, cfg.hidden_size, kernel_init=_residual_init(cfg))
        self.act = ACTIVATIONS[cfg.hidden_act]

    def __call__(self, x):
        return self.down(self.act(self.gate(x)) * self.up(x))


class Block(nnx.Module):
    """Attention and MLP, each added to the residual stream; normalised before, after, or both."""

    def __init__(self, cfg: DecoderConfig, rngs: nnx.Rngs):
        norm = functools.partial(nnx.RMSNorm, cfg.hidden_size, epsilon=cfg.rms_norm_eps, rngs=rngs)
        before = norm if cfg.pre_norm else lambda: _identity
        after = norm if cfg.post_norm else lambda: _identity
        self.attention_norm, self.mlp_norm = before(), before()
        self.attention_out_norm, self.mlp_out_norm = after(), after()
        self.attention, self.mlp = Attention(cfg, rngs), MLP(cfg, rngs)

    def __call__(self, x, view, prefix=None, own=None, start=None):
        attended, kv = self.attention(self.attention_norm(x), view, prefix, own, start)
        x = x + self.attention_out_norm(attended)
        return x + self.mlp_out_norm(self.mlp(self.mlp_norm(x))), kv


def _identity(x: jax.Array) -> jax.Array:
    return x


class Outer(nnx.Module):
    """What surrounds the blocks: token embedding, final norm and, unless tied, the output head."""

    def __init__(self, cfg: DecoderConfig, rngs: nnx.Rngs):
        init_fn = nnx.initializers.normal(cfg.hidden_size**-0.5)
        self.embed = nnx.Embed(cfg.vocab_size, cfg.hidden_size, embedding_init=init_fn, rngs=rngs)
        if cfg.int8:
            self.embed.scale = nnx.Param(jnp.ones(cfg.vocab_size))
        self.norm = nnx.RMSNorm(cfg.hidden_size, epsilon=cfg.rms_norm_eps, rngs=rngs)
        if not cfg.tie_word_embeddings:
            options = {"use_bias": False, "int8": cfg.int8, "rngs": rngs}
            self.head = Linear(cfg.hidden_size, cfg.vocab_size, **options)


@functools.lru_cache
def _graphdefs(cfg: DecoderConfig):
    """The structure of the modules, without arrays; built once per config."""
    block = nnx.eval_shape(lambda: Block(cfg, nnx.Rngs(0)))
    outer = nnx.eval_shape(lambda: Outer(cfg, nnx.Rngs(0)))
    return nnx.split(block)[0], nnx.split(outer)[0]


@functools.partial(jax.jit, static_argnames="cfg")
def init(key: jax.Array, cfg: DecoderConfig) -> Params:
    """Fresh float32 parameters ``{"embed", "norm", "layers"}``, and "head" unless it is tied.

    Every leaf of "layers" is ``[L, ...]``.
    """

    def pure(module):
        return nnx.to_pure_dict(nnx.split(module)[1])

    outer_key, layers_key = jax.random.split(key)
    layer_keys = jax.random.split(layers_key, cfg.num_hidden_layers)
    layers = jax.vmap(lambda k: pure(Block(cfg, nnx.Rngs(k))))(layer_keys)
    return {**pure(Outer(cfg, nnx.Rngs(outer_key))), "layers": layers}


def hidden_states(
    params: Params,
    tokens: jax.Array,
    positions: jax.Array,
    cache: Cache | None = None,
    *,
    cfg: DecoderConfig,
    segment_ids: jax.Array | None = None,
) -> tuple[jax.Array, Cache]:
    """The final normalised states ``[B, T, E]`` and the cache; arguments as in :func:`forward`."""
    chex.assert_equal_shape([tokens, positions])
    if cache is None:
        segment_ids = jnp.ones_like(tokens) if segment_ids is None else segment_ids
        return _read(params, tokens, positions, segment_ids, cfg)
    return _append(params, tokens, positions, cache, cfg)


def _read(
    params: Params,
    tokens: jax.Array,
    positions: jax.Array,
    segment_ids: jax.Array,
    cfg: DecoderConfig,
) -> tuple[jax.Array, Cache]:
    """Whole rows, one block after the other in one scan; the cache is a prefix of all T tokens."""
    block_def, outer = _modules(params, cfg)
    views = make_views(positions, causal(segment_ids), cfg)

    def step(x, layer):
        layer_params, kind = layer
        x, kv = nnx.merge(block_def, layer_params)(x, select_view(views, kind))
        return constrain_rows(x), kv

    step = jax.checkpoint(step) if cfg.remat else step
    layers = params["layers"], scanned_kinds(cfg)
    x, stacked = jax.lax.scan(step, _embed(outer, tokens, cfg), layers)
    prefix = tuple(KV(stacked.k[i], stacked.v[i]) for i in range(cfg.num_hidden_layers))
    cache = Cache(prefix=prefix, prefix_mask=segment_ids > 0, own=(), length=jnp.int32(0))
    return outer.norm(x), cache


def _append(
    params: Params, tokens: jax.Array, positions: jax.Array, cache: Cache, cfg: DecoderConfig
) -> tuple[jax.Array, Cache]:
    """T more tokens of rows whose earlier ones are in the cache, one block after the other."""
    block_def, outer = _modules(params, cfg)
    views = make_views(positions, visible(cache, *tokens.shape), cfg)

    def step(x, layer_params, view, prefix, kv):
        x, kv = nnx.merge(block_def, layer_params)(x, view, prefix, kv, cache.length)
        return constrain_rows(x), kv

    step = jax.checkpoint(step) if cfg.remat else step
    layers = params["layers"] if isinstance(params["layers"], tuple) else unstack(params)["layers"]
    x, own = _embed(outer, tokens, cfg), []
    kinds = kind_of_layers(cfg)
    for layer_params, kind, prefix, kv in zip(layers, kinds, cache.prefix, cache.own, strict=True):
        x, kv = step(x, layer_params, views[kind], prefix, kv)
        own.append(kv)
    length = cache.length + tokens.shape[1]
    return outer.norm(x), cache._replace(own=tuple(own), length=length)


def _modules(params: Params, cfg: DecoderConfig) -> tuple[nnx.GraphDef, Outer]:
    """The structure of a block, and what surrounds the blocks, with its parameters."""
    block_def, outer_def = _graphdefs(cfg)
    around = {name: leaf for name, leaf in params.items() if name != "layers"}
    return block_def, nnx.merge(outer_def, around)


def branch_states(
    params: Params,
    prompt: jax.Array,
    prompt_mask: jax.Array,
    branches: jax.Array,
    *,
    cfg: DecoderConfig,
) -> tuple[jax.Array, jax.Array]:
    """The final states of prompts and of N continuations of each, in one pass over the layers.

    For training: the gradient of a layer's weights is the sum of two products, and not of two whole
    stacks.

    Args:
      params: from :func:`init` or a checkpoint.
      prompt, prompt_mask: ``[b, P]`` int32 and bool, padded on the left.
      branches: ``[b * N, T]`` int32; those of a prompt attend to its keys and values, which are
        computed once.
      cfg: static.

    Returns:
      States ``[b, P, E]`` and ``[b * N, T, E]``.
    """
    block_def, outer = _modules(params, cfg)
    (rows, length), n = branches.shape, len(branches) // len(prompt)
    begin = jnp.repeat(prompt_mask.sum(-1), n)[:, None]
    positions = jnp.maximum(jnp.cumsum(prompt_mask, axis=-1) - 1, 0), begin + jnp.arange(length)
    before = jnp.repeat(prompt_mask, n, axis=0)[:, None, None]
    before = jnp.broadcast_to(before, (rows, 1, length, before.shape[-1]))
    masks = (
        causal(prompt_mask),
        jnp.concatenate([before, causal(jnp.ones_like(branches))], axis=-1),
    )
    of_prompt, of_branches = (make_views(p, m, cfg) for p, m in zip(positions, masks, strict=True))

    def step(states, layer):
        layer_params, kind = layer
        block = nnx.merge(block_def, layer_params)
        first, kv = block(states[0], select_view(of_prompt, kind))
        later, _ = block(states[1], select_view(of_branches, kind), kv)
        return (constrain_rows(first), constrain_rows(later)), None

    step = jax.checkpoint(step) if cfg.remat else step
    states = _embed(outer, prompt, cfg), _embed(outer, branches, cfg)
    layers = params["layers"], scanned_kinds(cfg)
    # Of few small layers a loop is slower by more than its shorter compilation is worth.
    states, _ = jax.lax.scan(step, states, layers, unroll=cfg.num_hidden_layers <= 4)
    return outer.norm(states[0]), outer.norm(states[1])


def _embed(outer: Outer, tokens: jax.Array, cfg: DecoderConfig) -> jax.Array:
    """The residual stream begins in the numbers of the norms' scales."""
    rows = constrain_rows(outer.embed.embedding[...][tokens]).astype(outer.norm.scale.dtype)
    if outer.embed.embedding.dtype == jnp.int8:
        rows *= outer.embed.scale[...][tokens][..., None]
    return rows * cfg.hidden_size**0.5 if cfg.scale_embeddings else rows


def output_head(
    params: Params, tokens: slice | jax.Array = slice(None)
) -> Callable[[jax.Array], jax.Array]:
    """The last layer: a function from states ``[..., E]`` to float32 logits ``[..., V]``.

    Args:
      params: of the decoder.
      tokens: which tokens' logits are wanted, by default those of all V.
    """
    tied = "head" not in params
    of_head = params["embed" if tied else "head"]
    scale = of_head["scale"][tokens] if "scale" in of_head else None
    weights = of_head["embedding"][tokens] if tied else of_head["kernel"][:, tokens]
    product = matmul_transposed if tied else matmul
    return lambda states: product(states, weights, scale).astype(jnp.float32)


def forward(
    params: Params,
    tokens: jax.Array,
    positions: jax.Array,
    cache: Cache | None = None,
    *,
    cfg: DecoderConfig,
    segment_ids: jax.Array | None = None,
) -> tuple[jax.Array, Cache]:
    """Next-token logits.

    Args:
      params: from :func:`init` or a checkpoint.
      tokens: ``[B, T]`` int32.
      positions: ``[B, T]`` int32, counted from 0 at the first real token of a row or packed
        document.
      cache: None to attend within the rows only (training, prefill); else a cache from
        :func:`fork`, and the T tokens are appended to it.
      cfg: static.
      segment_ids: ``[B, T]`` int32, only without a cache; tokens attend to earlier tokens of the
        same segment, and 0 marks padding. None means one segment.

    Returns:
      Logits ``[B, T, V]`` in float32, and the cache: without one given, a prefix cache of all T
      tokens.
    """
    x, cache = hidden_states(params, tokens, positions, cache, cfg=cfg, segment_ids=segment_ids)
    return output_head(params)(x), cache
