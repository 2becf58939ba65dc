"""The transformer: against a plain numpy implementation, and against itself cached, padded, packed
and unrolled.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_params

from jaxreason.decoding import logprobs, rollout
from jaxreason.decoding.sampling import Sampler
from jaxreason.decoding.stop import compile_stop
from jaxreason.models import cache as kv_cache
from jaxreason.models import decoder
from jaxreason.models.block_expansion import deepen
from jaxreason.models.cache import unstack
from jaxreason.models.decoder import DecoderConfig
from jaxreason.models.tokens import Prompt
from jaxreason.models.views import within_window

LLAMA = DecoderConfig(
    vocab_size=29,
    hidden_size=32,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=64,
)
QWEN2 = dataclasses.replace(
    LLAMA, num_key_value_heads=4, attention_bias=True, tie_word_embeddings=False
)
QWEN3 = dataclasses.replace(
    LLAMA, num_key_value_heads=1, head_dim=12, qk_norm=True, rope_theta=500.0, rms_norm_eps=1e-2
)
# All other flags but those of OLMo 2: Gemma 3 with a layer of SmolLM3, and heads of Phi-4-mini.
MIXED = dataclasses.replace(
    LLAMA,
    num_hidden_layers=3,
    qk_norm=True,
    post_norm=True,
    hidden_act="gelu_pytorch_tanh",
    scale_embeddings=True,
    query_pre_attn_scalar=3,
    partial_rotary_factor=0.5,
    layer_types=("sliding_attention", "full_attention", "nope_attention"),
    sliding_window=3,
    sliding_rope_theta=50.0,
)
OLMO2 = dataclasses.replace(LLAMA, qk_norm_whole=True, pre_norm=False, post_norm=True)

forward = jax.jit(decoder.forward, static_argnames="cfg")
fork = jax.jit(kv_cache.fork, static_argnums=(1, 2))


def one_layer(cfg):
    """Where depth is not the fact."""
    return dataclasses.replace(cfg, num_hidden_layers=1, layer_types=cfg.layer_types[:1])


MODELS = {"llama": LLAMA, "qwen2": QWEN2, "qwen3": QWEN3, "mixed": MIXED}


@pytest.fixture(scope="module", params=MODELS.values(), ids=MODELS)
def model(request):
    return request.param, random_params(request.param)


@pytest.fixture(scope="module")
def one_model():
    cfg = one_layer(QWEN3)
    return cfg, random_params(cfg)


def ids(seed, *shape):
    return np.random.default_rng(seed).integers(0, LLAMA.vocab_size, shape).astype(np.int32)


def arange_like(tokens):
    return np.broadcast_to(np.arange(tokens.shape[1], dtype=np.int32), tokens.shape)


def logits_of(params, cfg, tokens):
    """Logits [T, V] of one row; what follows it, to a fixed length that compiles once, cannot
    matter: causal.
    """
    row = np.zeros((1, 12), np.int32)
    row[0, : len(tokens)] = tokens
    return np.asarray(forward(params, row, arange_like(row), cfg=cfg)[0][0, : len(tokens)])


def padded(rows, width):
    """Tokens padded on the left with 3, not 0; positions and segment ids; each [B, width]."""
    tokens, positions, segments = (
        np.full((len(rows), width), 3, np.int32),
        *np.zeros((2, len(rows), width), np.int32),
    )
    for i, row in enumerate(rows):
        tokens[i, width - len(row) :], segments[i, width - len(row) :] = row, 1
        positions[i, width - len(row) :] = np.arange(len(row))
    return tokens, positions, segments


def numpy_forward(params, cfg, tokens):
    """Logits [T, V] of one row, token by token and head by head, in float64."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)

    def norm(x, scale):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + cfg.rms_norm_eps) * scale

    def maybe_norm(x, weights, name):
        return norm(x, weights[name]["scale"]) if name in weights else x

    def rotate(x, position, theta):
        half = int(cfg.head_dim * cfg.partial_rotary_factor) // 2
        out = x.copy()
        for i in range(half):
            angle = position * theta ** (-i / half)
            c, s = np.cos(angle), np.sin(angle)
            out[i], out[i + half] = x[i] * c - x[i + half] * s, x[i + half] * c + x[i] * s
        return out

    def act(x):
        if cfg.hidden_act == "silu":
            return x / (1 + np.exp(-x))
        return x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2

    x = p["embed"]["embedding"][tokens]
    if cfg.scale_embeddings:
        x = x * np.sqrt(cfg.hidden_size)
    for layer in range(cfg.num_hidden_layers):
        w = jax.tree.map(lambda leaf, layer=layer: leaf[layer], p["layers"])
        attention = w["attention"]
        kind = cfg.layer_types[layer] if cfg.layer_types else "full_attention"
        window, theta = len(x), cfg.rope_theta
        if kind == "sliding_attention":
            window, theta = cfg.sliding_window, cfg.sliding_rope_theta

        def heads(name, count, x, attention=attention, kind=kind, theta=theta):
            y = x @ attention[name]["kernel"] + attention[name].get("bias", 0.0)
            if cfg.qk_norm_whole:
                y = maybe_norm(y, attention, f"{name}_norm")
            y = y.reshape(len(x), count, cfg.head_dim)
            if cfg.qk_norm:
                y = maybe_norm(y, attention, f"{name}_norm")
            if name == "v" or kind == "nope_attention":
                return y
            return np.array([[rotate(h, t, theta) for h in row] for t, row in enumerate(y)])

        y = maybe_norm(x, w, "attention_norm")
        q = heads("q", cfg.num_attention_heads, y)
        k, v = heads("k", cfg.num_key_value_heads, y), heads("v", cfg.num_key_value_heads, y)
        out = np.zeros_like(q)
        for t in range(len(x)):
            seen = slice(max(0, t + 1 - window), t + 1)
            for h in range(cfg.num_attention_heads):
                kv = h // (cfg.num_attention_heads // cfg.num_key_value_heads)
                scale = np.sqrt(cfg.query_pre_attn_scalar or cfg.head_dim)
                weights = np.exp(k[seen, kv] @ q[t, h] / scale)
                out[t, h] = weights / weights.sum() @ v[seen, kv]
        out = out.reshape(len(x), -1) @ attention["o"]["kernel"]
        x = x + maybe_norm(out, w, "attention_out_norm")
        y, mlp = maybe_norm(x, w, "mlp_norm"), w["mlp"]
        out = act(y @ mlp["gate"]["kernel"]) * (y @ mlp["up"]["kernel"]) @ mlp["down"]["kernel"]
        x = x + maybe_norm(out, w, "mlp_out_norm")
    head = p["embed"]["embedding"].T if cfg.tie_word_embeddings else p["head"]["kernel"]
    return norm(x, p["norm"]["scale"]) @ head


@pytest.mark.parametrize("cfg", [*MODELS.values(), OLMO2], ids=[*MODELS, "olmo2"])
def test_forward_equals_a_plain_numpy_transformer(cfg):
    params = random_params(cfg)
    tokens = ids(0, 11)
    np.testing.assert_allclose(
        logits_of(params, cfg, tokens), numpy_forward(params, cfg, tokens), atol=2e-4
    )


def test_cached_equals_uncached_with_forks_of_padded_prompts(model):
    """Prefill of two left-padded prompts, three continuations of each, decoded token by token from
    the shared cache.
    """
    cfg, params = model
    prompts, new = [ids(1, 6), ids(2, 3)], ids(3, 6, 4)
    tokens, positions, segments = padded(prompts, 6)
    logits, cache = forward(params, tokens, positions, cfg=cfg, segment_ids=segments)
    assert logits.dtype == jnp.float32
    cache = fork(cache, 3, 5)
    heads = cfg.num_key_value_heads
    assert cache.prefix[0].k.shape[0] == 2 * heads  # the prompts' keys are stored once
    assert cache.own[0].k.shape[0] == 6 * heads
    lengths = np.repeat([6, 3], 3).astype(np.int32)
    steps = []
    for t in range(4):
        step, cache = forward(params, new[:, t : t + 1], (lengths + t)[:, None], cache, cfg=cfg)
        steps.append(np.asarray(step[:, 0]))
    assert cache.length == 4
    for row in range(6):
        whole = logits_of(params, cfg, [*prompts[row // 3], *new[row]])
        np.testing.assert_allclose(logits[row // 3, -1], whole[-5], atol=1e-5)
        np.testing.assert_allclose([step[row] for step in steps], whole[-4:], atol=1e-5)


@pytest.mark.parametrize(
    ("cfg", "num_layers", "remat"),
    [
        (LLAMA, 1, False),
        (QWEN2, 1, True),
        (QWEN3, 5, False),
        (QWEN3, 5, True),
        (MIXED, MIXED.num_hidden_layers, False),
    ],
    ids=["llama", "qwen2-recomputed", "qwen3-scanned", "qwen3-scanned-recomputed", "mixed"],
)
def test_branches_have_the_states_and_the_gradient_of_whole_rows(cfg, num_layers, remat):
    """Two left-padded prompts with three continuations each, in one pass; rows of prompt and
    continuation. More than four layers are scanned, and any may be recomputed.
    """
    cfg = dataclasses.replace(cfg, num_hidden_layers=num_layers, remat=remat)
    prompts, new = [ids(1, 6), ids(2, 3)], ids(3, 6, 4)
    tokens, _, segments = padded(prompts, 6)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def of_branches(params):
        first, later = decoder.branch_states(params, tokens, segments > 0, new, cfg=cfg)
        last = jnp.repeat(first[:, -1:], 3, axis=0)
        chosen = jnp.concatenate([last, later], axis=1)
        return jnp.square(chosen).mean(), chosen

    whole = of_rows(dataclasses.replace(cfg, remat=False))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5),
        of_branches(random_params(cfg)),
        whole,
    )


@functools.cache
def of_rows(cfg):
    """The gradient and the states of the last five tokens of the rows, padded on the right."""
    prompts, new = [ids(1, 6), ids(2, 3)], ids(3, 6, 4)
    lengths = np.repeat([10, 7], 3)
    rows = np.zeros((6, 10), np.int32)
    for i, length in enumerate(lengths):
        rows[i, :length] = [*prompts[i // 3], *new[i]]
    last = lengths[:, None] + np.arange(-5, 0)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def grad(params):
        states, _ = decoder.hidden_states(params, rows, arange_like(rows), cfg=cfg)
        chosen = jnp.take_along_axis(states, last[..., None], axis=1)
        return jnp.square(chosen).mean(), chosen

    return grad(random_params(cfg))


def test_several_tokens_appended_to_a_cache_are_causal(one_model):
    cfg, params = one_model
    prompt, new = ids(4, 1, 5), ids(5, 2, 4)
    _, cache = forward(params, prompt, arange_like(prompt), cfg=cfg)
    cache = fork(cache, 2, 6)
    positions = 5 + arange_like(new)
    first, half = forward(params, new[:, :2], positions[:, :2], cache, cfg=cfg)
    second, _ = forward(params, new[:, 2:], positions[:, 2:], half, cfg=cfg)
    at_once, _ = forward(params, new, positions, cache, cfg=cfg)
    for row in range(2):
        whole = logits_of(params, cfg, [*prompt[0], *new[row]])[5:]
        np.testing.assert_allclose(at_once[row], whole, atol=1e-5)
        np.testing.assert_allclose(np.concatenate([first[row], second[row]]), whole, atol=1e-5)


def test_left_padding_is_invisible(one_model):
    cfg, params = one_model
    rows = [ids(6, 7), ids(7, 4), ids(8, 1)]
    for width in (7, 12):
        tokens, positions, segments = padded(rows, width)
        logits, _ = forward(params, tokens, positions, cfg=cfg, segment_ids=segments)
        for row, one in zip(rows, logits, strict=True):
            np.testing.assert_allclose(one[-len(row) :], logits_of(params, cfg, row), atol=1e-5)


def test_a_window_counts_only_the_keys_that_are_seen():
    seen = np.array([[1, 1, 0, 1, 1, 0], [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]], bool)
    expected = np.array([[0, 1, 0, 1, 1, 0], [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]], bool)
    np.testing.assert_array_equal(within_window(jnp.asarray(seen), 3), expected)


def test_packed_documents_keep_their_own_logits(one_model):
    cfg, params = one_model
    documents = [ids(9, 5), ids(10, 1), ids(11, 4)]
    tokens = np.concatenate([*documents, ids(12, 2)])[None]
    positions = np.concatenate([*map(np.arange, (5, 1, 4)), np.zeros(2, int)])[None].astype(
        np.int32
    )
    segments = np.repeat([1, 2, 3, 0], [5, 1, 4, 2])[None].astype(np.int32)
    logits, _ = forward(params, tokens, positions, cfg=cfg, segment_ids=segments)
    for start, document in zip((0, 5, 6), documents, strict=True):
        np.testing.assert_allclose(
            logits[0, start : start + len(document)], logits_of(params, cfg, document), atol=1e-5
        )


def test_jit_equals_eager(one_model):
    cfg, params = one_model
    tokens = ids(13, 1, 5)
    compiled, cache = forward(params, tokens, arange_like(tokens), cfg=cfg)
    with jax.disable_jit():
        eager, eager_cache = decoder.forward(params, tokens, arange_like(tokens), cfg=cfg)
    np.testing.assert_allclose(compiled, eager, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), cache, eager_cache)

    args = tokens, 5 + arange_like(tokens), fork(cache, 1, 5)
    compiled, _ = forward(params, *args, cfg=cfg)
    with jax.disable_jit():
        eager, _ = decoder.forward(params, *args, cfg=cfg)
    np.testing.assert_allclose(compiled, eager, atol=1e-5)


def test_scanned_layers_equal_unrolled_layers():
    """The scan over the stack, and the tuple of layers run one after the other behind a cache of
    another's one token.
    """
    cfg, params = QWEN3, random_params(QWEN3)
    layers = unstack(params)["layers"]
    assert len(layers) == cfg.num_hidden_layers
    jax.tree.map(
        lambda stack, *each: np.testing.assert_array_equal(stack, np.stack(each)),
        params["layers"],
        *layers,
    )

    tokens = ids(14, 1, 6)
    _, cache = forward(params, tokens[:, :1], np.zeros((1, 1), np.int32), cfg=cfg)
    cache = fork(cache, 1, 5)
    stacked, _ = forward(params, tokens[:, 1:], arange_like(tokens)[:, 1:], cache, cfg=cfg)
    unrolled, _ = forward(
        unstack(params), tokens[:, 1:], arange_like(tokens)[:, 1:], cache, cfg=cfg
    )
    np.testing.assert_allclose(unrolled, stacked, atol=1e-6)
    np.testing.assert_allclose(unrolled[0], logits_of(params, cfg, tokens[0])[1:], atol=1e-5)


def test_layers_outside_of_jit_are_views_that_outlive_their_stack():
    """On CPU: the same memory; and XLA does not write into it while a view is alive, although the
    stack is donated.
    """
    stack = jax.jit(lambda: jnp.arange(3.0 * 16 * 64).reshape(3, 16, 64))()
    layers = unstack({"layers": {"w": stack}})["layers"]
    start, size = stack.unsafe_buffer_pointer(), stack.nbytes // 3
    assert [layer["w"].unsafe_buffer_pointer() - start for layer in layers] == [0, size, 2 * size]
    jax.jit(lambda x: -x, donate_argnums=0)(stack).block_until_ready()
    for i, layer in enumerate(layers):
        np.testing.assert_array_equal(layer["w"], np.arange(1024.0).reshape(16, 64) + 1024 * i)


def test_a_row_of_nothing_but_padding_has_finite_gradients():
    cfg = one_layer(LLAMA)
    params = random_params(cfg)
    tokens, zeros = ids(15, 2, 6), np.zeros((2, 6), np.int32)
    segments = np.array([[0] * 6, [0, 0, 1, 1, 1, 1]], np.int32)

    def loss(params):
        return decoder.forward(params, tokens, zeros, cfg=cfg, segment_ids=segments)[0].sum()

    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(params)))


def num_params(cfg) -> int:
    shapes = jax.eval_shape(lambda: decoder.init(jax.random.key(0), cfg))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def test_number_of_parameters_by_hand():
    # Embedding; per layer q, k, v, o, two norms, gate, up, down; final norm.
    assert (
        num_params(LLAMA) == 29 * 32 + 2 * (2 * 32 * 32 + 2 * 32 * 16 + 2 * 32 + 3 * 32 * 40) + 32
    )
    # Qwen2: biases on q, k and v, an output head of its own.
    layer = 4 * 32 * 32 + 3 * 32 + 2 * 32 + 3 * 32 * 40
    assert num_params(QWEN2) == 2 * 29 * 32 + 2 * layer + 32
    # Qwen3: heads of 12, four for queries, one for keys and values, one norm scale of 12 for each
    # of q and k.
    layer = 2 * 32 * 48 + 2 * 32 * 12 + 2 * 12 + 2 * 32 + 3 * 32 * 40
    assert num_params(QWEN3) == 29 * 32 + 2 * layer + 32


def test_parameters_are_plain_nested_dicts_with_stacked_layers():
    params = jax.jit(decoder.init, static_argnums=1)(jax.random.key(0), LLAMA)
    paths = jax.tree_util.tree_flatten_with_path(params)[0]
    assert all(isinstance(k, jax.tree_util.DictKey) for path, _ in paths for k in path)
    assert all(leaf.dtype == jnp.float32 for _, leaf in paths)
    assert {leaf.shape[0] for leaf in jax.tree.leaves(params["layers"])} == {
        LLAMA.num_hidden_layers
    }
    q = params["layers"]["attention"]["q"]["kernel"]
    assert not np.array_equal(q[0], q[1])  # each layer is drawn anew


@pytest.mark.parametrize("cfg", [one_layer(QWEN2), one_layer(MIXED)], ids=["qwen2", "mixed"])
def test_new_layers_change_nothing_until_they_are_trained(cfg):
    params = random_params(cfg)
    tokens = ids(1, 2, 12)
    positions = arange_like(tokens)
    deeper, more = deepen(params, jax.random.key(2), cfg=cfg, num_new_layers=2)
    assert more.num_hidden_layers == cfg.num_hidden_layers + 2

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient(params):
        logits, _ = decoder.forward(params, tokens, positions, cfg=more)
        return logits.var(), logits

    grads, got = gradient(deeper)
    np.testing.assert_array_equal(got, forward(params, tokens, positions, cfg=cfg)[0])
    assert np.abs(grads["layers"]["mlp"]["down"]["kernel"][-2:]).max() > 0  # so training moves them


# ---- the output head


def test_the_tied_head_reads_the_embedding_as_it_lies(params, cfg, tokenizer):
    """No program holds the embedding transposed: with jax 0.12.0 on CPU one row of it takes four
    times as long.
    """
    tokens = jnp.ones((2, 5), jnp.int32)
    positions = jnp.broadcast_to(jnp.arange(5, dtype=jnp.int32), (2, 5))
    prompt, stop = Prompt(tokens, tokens > 0), compile_stop(tokenizer)
    key, chosen = jax.random.key(0), jnp.array([3, 5, 7])
    programs = {
        "forward": lambda p: decoder.forward(p, tokens, positions, cfg=cfg),
        "generate": lambda p: rollout.generate(
            p, key, prompt, stop, cfg=cfg, sampler=Sampler(), max_new_tokens=2
        ),
        "logprobs": lambda p: logprobs.token_logprobs(p, tokens, positions, tokens, cfg=cfg),
        "completions": lambda p: logprobs.completion_logprobs(p, prompt, tokens[:, None], cfg=cfg),
        "choices": lambda p: logprobs._next_logprobs(p, prompt, chosen, cfg=cfg),
        "some tokens": lambda p: decoder.output_head(p, chosen)(jnp.ones((2, cfg.hidden_size))),
    }
    transposed = f"[{cfg.hidden_size},{cfg.vocab_size}]"
    for name, program in programs.items():
        text = str(jax.make_jaxpr(program)(params))
        assert transposed not in text and "[32,3]" not in text, name
    untied = dataclasses.replace(cfg, tie_word_embeddings=False)
    assert transposed in str(
        jax.make_jaxpr(decoder.output_head(random_params(untied)))(jnp.ones(32))
    )


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_head_gives_float32_logits_of_the_tokens_asked_for(cfg, tie, dtype):
    params = random_params(dataclasses.replace(cfg, tie_word_embeddings=tie))
    params = jax.tree.map(lambda x: x.astype(dtype), params)
    states = np.random.default_rng(0).normal(size=(2, 3, cfg.hidden_size)).astype(dtype)
    kernel = (
        np.float32(params["embed"]["embedding"]).T if tie else np.float32(params["head"]["kernel"])
    )
    expected = np.float32(states) @ kernel
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-2, "atol": 0.05}
    asked = slice(None), slice(9), np.array([3, 5, 7])

    @jax.jit
    def heads(params, states):
        return [decoder.output_head(params, tokens)(states) for tokens in asked]

    for tokens, logits in zip(asked, heads(params, states), strict=True):
        assert logits.dtype == jnp.float32
        np.testing.assert_allclose(logits, expected[..., tokens], **tolerance)
