"""One decoder-only transformer; the Llama, Qwen2 and Qwen3 families are config flags, not copies.

Modules are flax.nnx; parameters are plain nested dicts of arrays with the layers stacked on a
leading axis ``[L, ...]``, so that one block is compiled however deep the model is. Shapes: B rows,
T new tokens, S cached tokens, P prefix tokens, L layers, H query heads, K key-value heads, G = H /
K, D head_dim, E hidden_size, V vocabulary.
"""

import dataclasses
import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
from flax import nnx

from jaxreason.errors import InputError
from jaxreason.mesh import constrain_rows
from jaxreason.models.cache import KV, Cache, unstack, visible
from jaxreason.models.precision import Linear, matmul, matmul_transposed
from jaxreason.models.rope import RopeScaling, rope, rope_frequencies, rotation

Params = dict  # nested, leaves are jax.Array


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """Hyper-parameters under the names Hugging Face uses. Hashable: it can be a static argument.

    Raises:
      InputError: a size is below 1, or two do not fit together.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    rms_norm_eps: float = 1e-5
    attention_bias: bool = False  # bias on q, k, v (Qwen2)
    qk_norm: bool = False  # RMSNorm on every query and key head (Qwen3)
    tie_word_embeddings: bool = True
    # How it is computed: keep the input of each layer and compute the rest again in the backward
    # pass; products of int8, from jaxreason.models.precision.lower.
    remat: bool = False
    int8: bool = False

    def __post_init__(self) -> None:
        sizes = [f.name for f in dataclasses.fields(self) if f.type is int]
        for name in sizes:
            if not 1 <= getattr(self, name) < 2**31:
                raise InputError(
                    f"{name} is {getattr(self, name)}: expected at least 1 and less than 2^31"
                )
        if self.num_attention_heads % self.num_key_value_heads:
            raise InputError(
                f"num_attention_heads is {self.num_attention_heads}: expected a multiple of "
                f"num_key_value_heads, which is {self.num_key_value_heads}"
            )
        if self.head_dim % 2:
            raise InputError(
                f"head_dim is {self.head_dim}: expected an even number, for RoPE turns pairs"
            )
        rope_type = "default" if self.rope_scaling is None else self.rope_scaling.rope_type
        if rope_type not in ("default", "linear", "llama3"):
            raise InputError(
                f"rope type {rope_type!r} is not supported: "
                "expected 'default', 'linear' or 'llama3'"
            )


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
        if cfg.qk_norm:
            self.q_norm = nnx.RMSNorm(cfg.head_dim, epsilon=cfg.rms_norm_eps, rngs=rngs)
            self.k_norm = nnx.RMSNorm(cfg.head_dim, epsilon=cfg.rms_norm_eps, rngs=rngs)

    def __call__(self, x, turn, mask, prefix: KV | None, own: KV | None, start):
        """Attends from ``x [B, T, E]`` to the prefix, if given, and to the row's own tokens.

        Args:
          x: the block's normalised input.
          turn: from :func:`jaxreason.models.rope.rotation`.
          mask: ``[B, 1, T, P + S]`` bool, which keys a token sees.
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
        if cfg.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = rope(q, *turn) * cfg.head_dim**-0.5, rope(k, *turn)
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
            out = self.softmax(q @ new.k, mask).astype(x.dtype) @ new.v
        else:
            scores = [self.shared_matmul(q, prefix.k), q @ new.k]
            weights = self.softmax(jnp.concatenate(scores, axis=-1), mask).astype(x.dtype)
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
    """SwiGLU (Shazeer 2020): down(silu(gate x) * up x)."""

    def __init__(self, cfg: DecoderConfig, rngs: nnx.Rngs):
        linear = functools.partial(Linear, use_bias=False, int8=cfg.int8, rngs=rngs)
        self.gate = linear(cfg.hidden_size, cfg.intermediate_size)
        self.up = linear(cfg.hidden_size, cfg.intermediate_size)
        self.down = linear(cfg.intermediate_size, cfg.hidden_size, kernel_init=_residual_init(cfg))

    def __call__(self, x):
        return self.down(jax.nn.silu(self.gate(x)) * self.up(x))


class Block(nnx.Module):
    """Pre-norm attention and MLP, each added to the residual stream."""

    def __init__(self, cfg: DecoderConfig, rngs: nnx.Rngs):
        norm = functools.partial(nnx.RMSNorm, cfg.hidden_size, epsilon=cfg.rms_norm_eps, rngs=rngs)
        self.attention_norm, self.mlp_norm = norm(), norm()
        self.attention, self.mlp = Attention(cfg, rngs), MLP(cfg, rngs)

    def __call__(self, x, turn, mask, prefix=None, own=None, start=None):
        attended, kv = self.attention(self.attention_norm(x), turn, mask, prefix, own, start)
        x = x + attended
        return x + self.mlp(self.mlp_norm(x)), kv


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
    turn, mask = _rotation(positions, cfg), _causal(segment_ids)

    def step(x, layer_params):
        x, kv = nnx.merge(block_def, layer_params)(x, turn, mask)
        return constrain_rows(x), kv

    step = jax.checkpoint(step) if cfg.remat else step
    x, stacked = jax.lax.scan(step, _embed(outer, tokens), params["layers"])
    prefix = tuple(KV(stacked.k[i], stacked.v[i]) for i in range(cfg.num_hidden_layers))
    cache = Cache(prefix=prefix, prefix_mask=segment_ids > 0, own=(), length=jnp.int32(0))
    return outer.norm(x), cache


def _append(
    params: Params, tokens: jax.Array, positions: jax.Array, cache: Cache, cfg: DecoderConfig
) -> tuple[jax.Array, Cache]:
    """T more tokens of rows whose earlier ones are in the cache, one block after the other."""
    block_def, outer = _modules(params, cfg)
    turn, mask = _rotation(positions, cfg), visible(cache, *tokens.shape)

    def step(x, layer_params, prefix, kv):
        x, kv = nnx.merge(block_def, layer_params)(x, turn, mask, prefix, kv, cache.length)
        return constrain_rows(x), kv

    step = jax.checkpoint(step) if cfg.remat else step
    layers = params["layers"] if isinstance(params["layers"], tuple) else unstack(params)["layers"]
    x, own = _embed(outer, tokens), []
    for layer_params, prefix, kv in zip(layers, cache.prefix, cache.own, strict=True):
        x, kv = step(x, layer_params, prefix, kv)
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
    turns = [_rotation(p, cfg) for p in positions]
    before = jnp.repeat(prompt_mask, n, axis=0)[:, None, None]
    before = jnp.broadcast_to(before, (rows, 1, length, before.shape[-1]))
    masks = (
        _causal(prompt_mask),
        jnp.concatenate([before, _causal(jnp.ones_like(branches))], axis=-1),
    )

    def step(states, layer_params):
        block = nnx.merge(block_def, layer_params)
        of_prompt, kv = block(states[0], turns[0], masks[0])
        of_branches, _ = block(states[1], turns[1], masks[1], kv)
        return (constrain_rows(of_prompt), constrain_rows(of_branches)), None

    step = jax.checkpoint(step) if cfg.remat else step
    states = _embed(outer, prompt), _embed(outer, branches)
    # Of few small layers a loop is slower by more than its shorter compilation is worth.
    states, _ = jax.lax.scan(step, states, params["layers"], unroll=cfg.num_hidden_layers <= 4)
    return outer.norm(states[0]), outer.norm(states[1])


def _rotation(positions: jax.Array, cfg: DecoderConfig) -> tuple[jax.Array, jax.Array]:
    return rotation(positions, rope_frequencies(cfg.head_dim, cfg.rope_theta, cfg.rope_scaling))


def _embed(outer: Outer, tokens: jax.Array) -> jax.Array:
    """The residual stream begins in the numbers of the norms' scales."""
    rows = constrain_rows(outer.embed.embedding[...][tokens]).astype(outer.norm.scale.dtype)
    if outer.embed.embedding.dtype == jnp.int8:
        rows *= outer.embed.scale[...][tokens][..., None]
    return rows


def _causal(segment_ids: jax.Array) -> jax.Array:
    """Which tokens see which, of segments ``[B, T]``: bool ``[B, 1, T, T]``."""
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    return (same & jnp.tril(jnp.ones(same.shape[1:], bool)))[:, None]


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
