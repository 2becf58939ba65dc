"""Generation: prefill every prompt once, then decode many continuations from it."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

from jaxreason import resume
from jaxreason.errors import InputError
from jaxreason.memory import check_decoding
from jaxreason.mesh import gather, mesh_of, num_row_parts, shard_batch
from jaxreason.models.decoder import KV, Cache, DecoderConfig, Params, fork, hidden_states, output_head, unstack
from jaxreason.models.hf import LanguageModel
from jaxreason.prompts import TAGS
from jaxreason.sampling import Sampler, sample
from jaxreason.tokens import Prompt, encode_prompts, pad_left, token_bytes


class Stop(NamedTuple):
    """When a chain ends: an automaton over tokens whose last state is final (see :func:`compile_stop`)."""

    next_state: np.ndarray  # [V + 1, S] int32: state after a token; the last row is of ids the tokenizer does not have


class Rollout(NamedTuple):
    """N continuations of each of B prompts, at most T tokens each; the token that ends a chain belongs to it."""

    tokens: jax.Array  # [B, N, T] int32, 0 after the end
    logprobs: jax.Array  # [B, N, T] float32, of the model itself: neither tempered nor filtered; 0 after the end
    mask: jax.Array  # [B, N, T] bool
    finished: jax.Array  # [B, N] bool, False where T tokens were not enough
    rule_state: Any = None  # [B, N] arrays: the state in which the rule ended, if there was one


# (state, token drawn) -> (state, token written), pure, over rows [R]. As a ``jax.tree_util.Partial`` its tables are arguments of the
# compiled program: other tables of the same shape are no other program.
Rule = Callable[[Any, jax.Array], tuple[Any, jax.Array]]


def compile_stop(tokenizer, strings: Sequence[str] = (), eos_ids: Sequence[int] = ()) -> Stop:
    """Stops on the tokenizer's end-of-text token, on ``eos_ids``, and as soon as the completion contains a string.

    Strings are matched on bytes by an Aho-Corasick automaton (Aho & Corasick 1975) whose steps are composed per token,
    so a string is found inside a token and across the borders of any number of tokens.

    Raises:
      InputError: a string is empty.
    """
    if any(not s for s in strings):
        raise InputError("stop string is empty: expected at least one character")
    # The trie: states are the distinct prefixes of the strings, by length; a match moves to the final state, for good.
    patterns = [s.encode() for s in strings]
    prefixes = sorted({p[:n] for p in patterns for n in range(len(p))} | {b""}, key=len)
    state_of = {prefix: state for state, prefix in enumerate(prefixes)}
    final = len(prefixes)
    by_byte = np.full((final + 1, 256), final, np.int32)
    for prefix, state in state_of.items():
        for byte in range(256):
            text = prefix + bytes([byte])
            if not any(text.endswith(p) for p in patterns):
                by_byte[state, byte] = next(state_of[text[i:]] for i in range(len(text) + 1) if text[i:] in state_of)
    pieces = token_bytes(tokenizer)
    # Embeddings may be padded beyond the tokenizer: JAX reads the last row for those ids, and it changes nothing.
    ends = {tokenizer.eos_token_id, *eos_ids} - {None}
    next_state = np.tile(np.arange(final + 1, dtype=np.int32), (max(len(pieces), *(i + 1 for i in ends), 0) + 1, 1))
    for token, piece in enumerate(pieces):
        for byte in piece if patterns else b"":
            next_state[token] = by_byte[next_state[token], byte]
    next_state[list(ends)] = final
    return Stop(next_state)


@functools.partial(jax.jit, static_argnames=("cfg", "sampler", "max_new_tokens", "num_samples"))
def generate(
    params: Params,
    key: jax.Array,
    prompt: Prompt,
    stop: Stop,
    *,
    cfg: DecoderConfig,
    sampler: Sampler,
    max_new_tokens: int,
    num_samples: int = 1,
    layers: tuple[Params, ...] | None = None,
    rule: Rule | None = None,
    rule_state: Any = None,
) -> Rollout:
    """Draws ``num_samples`` chains from every prompt in one compiled loop.

    A prompt is prefilled once and its keys and values are shared by its chains. Every chain draws from its own key, so
    it does not depend on what else is in the batch.

    Args:
      params, cfg: the model.
      key: one key, or keys ``[B, N]``, one for each chain.
      prompt: B prompts, padded on the left.
      stop: from :func:`compile_stop`.
      sampler, max_new_tokens, num_samples: static.
      layers: the layers of ``params`` one by one, from :func:`jaxreason.models.decoder.unstack`. Outside of jit that costs
        nothing on a CPU; without them they are copied out of the stack here.
      rule: may write something else than what was drawn, such as a budget (:mod:`jaxreason.budget`).
      rule_state: of the rule, arrays ``[B, N]``.
    """
    b, rows = len(prompt.tokens), len(prompt.tokens) * num_samples
    keys = (jax.random.split(key, (b, num_samples)) if key.ndim == 0 else key).reshape(rows)
    rule_state = jax.tree.map(lambda x: jnp.asarray(x).reshape(rows), rule_state)
    prefilled = _prefill(params, keys, prompt, rule_state, cfg=cfg, max_new_tokens=max_new_tokens)
    # Once, outside the loop: the layers' weights, each in one piece.
    params = jax.lax.optimization_barrier(unstack(params)) if layers is None else {**params, "layers": layers}
    ended = _decode(params, prefilled, stop, 0, rule, cfg=cfg, sampler=sampler)
    finished = ended.state == stop.next_state.shape[1] - 1
    by_row = Rollout(*ended[-3:], finished, ended.rule_state)
    return jax.tree.map(lambda x: x.reshape(b, num_samples, *x.shape[1:]), by_row)


class _Chains(NamedTuple):
    """R chains under way."""

    t: jax.Array  # [] int32, tokens drawn of each
    keys: jax.Array  # [R]
    lengths: jax.Array  # [R] int32, of the prompts
    state: jax.Array  # [R] int32, of the stop automaton
    rule_state: Any  # [R] arrays, or None
    logits: jax.Array  # [R, V] float32, of the next token
    cache: Cache
    tokens: jax.Array  # [R, T] and so on, as in Rollout
    logprobs: jax.Array
    mask: jax.Array


def _prefill(
    params: Params, keys: jax.Array, prompt: Prompt, rule_state: Any = None, *, cfg: DecoderConfig, max_new_tokens: int
) -> _Chains:
    """R / B chains of every prompt, before their first token."""
    rows, shape = len(keys), (len(keys), max_new_tokens)
    positions = jnp.maximum(jnp.cumsum(prompt.mask, axis=-1) - 1, 0)
    states, cache = hidden_states(params, prompt.tokens, positions, cfg=cfg, segment_ids=prompt.mask.astype(jnp.int32))
    num_samples = rows // len(prompt.tokens)
    lengths, logits = (
        jnp.repeat(x, num_samples, axis=0)
        for x in (prompt.mask.sum(-1).astype(jnp.int32), output_head(params)(states[:, -1]))
    )
    buffers = jnp.zeros(shape, jnp.int32), jnp.zeros(shape), jnp.zeros(shape, bool)
    cache = fork(cache, num_samples, max_new_tokens)
    return _Chains(jnp.int32(0), keys, lengths, jnp.zeros(rows, jnp.int32), rule_state, logits, cache, *buffers)


def _decode(
    params: Params,
    chains: _Chains,
    stop: Stop,
    retire: int | jax.Array,
    rule: Rule | None = None,
    *,
    cfg: DecoderConfig,
    sampler: Sampler,
) -> _Chains:
    """Draws until at most ``retire`` of the chains are left, or T tokens; ``params`` from :func:`unstack`."""
    next_state = jnp.asarray(stop.next_state)
    final, steps = next_state.shape[1] - 1, chains.tokens.shape[1]

    def unfinished(c: _Chains):
        return (c.t < steps) & ((c.state != final).sum() > retire)

    def step(c: _Chains) -> _Chains:
        t, alive = c.t, c.state != final
        token = jax.vmap(lambda key, row: sample(jax.random.fold_in(key, t), row, sampler))(c.keys, c.logits)
        rule_state = c.rule_state
        if rule is not None:
            rule_state, token = rule(rule_state, token)
            rule_state = jax.tree.map(lambda new, old: jnp.where(alive, new, old), rule_state, c.rule_state)
        chosen = jnp.take_along_axis(c.logits, token[:, None], axis=-1)[:, 0] - jax.nn.logsumexp(c.logits, axis=-1)
        token = jnp.where(alive, token, 0)
        states, cache = hidden_states(params, token[:, None], (c.lengths + t)[:, None], c.cache, cfg=cfg)
        return c._replace(
            t=t + 1,
            state=jnp.where(alive, next_state[token, c.state], c.state),
            rule_state=rule_state,
            logits=output_head(params)(states[:, 0]),
            cache=cache,
            tokens=c.tokens.at[:, t].set(token),
            logprobs=c.logprobs.at[:, t].set(jnp.where(alive, chosen, 0.0)),
            mask=c.mask.at[:, t].set(alive),
        )

    return jax.lax.while_loop(unfinished, step, chains)


_prefill_jit = jax.jit(_prefill, static_argnames=("cfg", "max_new_tokens"))
_decode_jit = jax.jit(_decode, static_argnames=("cfg", "sampler"), donate_argnums=1)


@jax.jit
def _select(chains: _Chains, rows: jax.Array) -> _Chains:
    """The chains ``rows [r]`` alone, each with the keys and values of its prompt for itself."""
    b, num_rows = len(chains.cache.prefix_mask), len(chains.keys)
    width = -(-chains.cache.prefix_mask.shape[1] // 128) * 128  # few shapes, so that few programs are compiled
    of_prompt = rows // (num_rows // b)

    def pad(x: jax.Array, axis: int) -> jax.Array:
        return jnp.pad(x, [(0, width - x.shape[axis] if i == axis else 0) for i in range(x.ndim)])

    def take(x: jax.Array, count: int, chosen: jax.Array) -> jax.Array:
        return x.reshape(count, -1, *x.shape[1:])[chosen].reshape(-1, *x.shape[1:])  # [count * K, ...]

    cache = Cache(
        tuple(KV(pad(take(kv.k, b, of_prompt), 2), pad(take(kv.v, b, of_prompt), 1)) for kv in chains.cache.prefix),
        pad(chains.cache.prefix_mask[of_prompt], 1),
        jax.tree.map(lambda x: take(x, num_rows, rows), chains.cache.own),
        chains.cache.length,
    )
    by_row = {name: x for name, x in chains._asdict().items() if name not in ("t", "cache")}
    return _Chains(t=chains.t, cache=cache, **jax.tree.map(lambda x: x[rows], by_row))


RETIRE_FROM = 128  # new tokens; a shorter tail is over before another program is compiled


def generate_retiring(
    params: Params,
    keys: jax.Array,
    prompt: Prompt,
    stop: Stop,
    *,
    cfg: DecoderConfig,
    sampler: Sampler,
    max_new_tokens: int,
    num_samples: int = 1,
    layers: tuple[Params, ...],
    rule: Rule | None = None,
    rule_state: Any = None,
) -> Rollout:
    """:func:`generate`, from the host: whenever only a quarter of the chains is left, it goes on with that quarter alone.

    Few chains are much longer than the others, and a step costs what its rows cost, finished or not. A chain draws from its
    own key and so writes the same tokens. Arguments as there, ``keys [B, N]``; arrays of numpy.
    """
    shape = keys.shape
    final, parts = stop.next_state.shape[1] - 1, num_row_parts(mesh_of(params))
    rule_state = jax.tree.map(lambda x: x.reshape(-1), rule_state)
    chains = _prefill_jit(params, keys.reshape(-1), prompt, rule_state, cfg=cfg, max_new_tokens=max_new_tokens)
    params = {name: leaf for name, leaf in params.items() if name != "layers"} | {"layers": layers}
    rows = np.arange(keys.size)  # those still in ``chains``
    written = None
    while True:
        retire = len(rows) // 4 // parts * parts if len(rows) >= 16 else 0
        chains = _decode_jit(params, chains, stop, retire, rule, cfg=cfg, sampler=sampler)
        t, now = gather((chains.t, Rollout(*chains[-3:], chains.state == final, chains.rule_state)))
        written = (
            jax.tree.map(lambda x: np.zeros((keys.size, *x.shape[1:]), x.dtype), now) if written is None else written
        )
        for whole, part in zip(jax.tree.leaves(written), jax.tree.leaves(now), strict=True):
            whole[rows] = part
        if t == max_new_tokens or now.finished.all():
            break
        kept = np.argsort(now.finished, kind="stable")[:retire]  # the unfinished first
        rows, chains = rows[kept], _select(chains, kept)
    return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), written)


class Completions(NamedTuple):
    """What a model wrote: N texts for each of G prompts, without the end-of-text token or stop string's tail."""

    texts: list[list[str]]  # G x N
    logprobs: np.ndarray  # [G, N] float32: log p(chain | prompt), untempered
    num_tokens: np.ndarray  # [G, N] int32, the ending token included
    finished: np.ndarray  # [G, N] bool
    rule_state: Any = None  # [G, N] arrays, as in Rollout


def complete(
    model: LanguageModel,
    prompts: Sequence[str],
    key: jax.Array,
    *,
    sampler: Sampler,
    max_new_tokens: int,
    num_samples: int = 1,
    stop_strings: Sequence[str] = (),
    rows: int = 512,
    multiple: int = 32,
    description: str | None = None,
    rule: Rule | None = None,
    rule_state: Any = None,
    folder: Path | None = None,
) -> Completions:
    """Texts for texts: :func:`generate` over batches of prompts of similar length, at most ``rows`` chains at a time, but all of a prompt.

    On a mesh the prompts of a batch are cut among its devices, and every process gets all texts.

    Chain n of prompt g draws from ``split(fold_in(key, g), N)[n]``, whatever the batches. Given keys ``[G]`` instead of one,
    from ``split(key[g], N)[n]``. Prompts are padded to a multiple of ``multiple`` tokens: the larger, the fewer shapes are compiled. A
    rule and its state, arrays of numpy ``[G, N]``, are those of :func:`generate`.

    In a ``folder`` every finished batch is kept, and a call with the same arguments takes it from there: interrupted, it goes on.
    The weights are not compared, so the folder has to be theirs (:meth:`jaxreason.lesson.Lesson.kept`).

    Raises:
      InputError: a prompt is empty or leaves no room for ``max_new_tokens`` in the context, there are not as many keys as prompts, or
        the chains do not fit into memory.
    """
    if num_samples < 1:
        raise InputError(f"number of chains is {num_samples}: expected at least 1")
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens is {max_new_tokens}: expected at least 1")
    encoded = encode_prompts(model.tokenizer, prompts, model.cfg.max_position_embeddings, max_new_tokens)
    stop = compile_stop(model.tokenizer, stop_strings, model.eos_ids)
    mesh = mesh_of(model.params)
    parts = num_row_parts(mesh)  # each decodes as many prompts as the others
    batch_size = -(-min(max(1, rows // num_samples), max(1, len(encoded))) // parts) * parts
    if key.shape not in ((), (len(encoded),)):
        raise InputError(f"keys of shape {key.shape}: expected one, or one for each of {len(encoded)} prompts")
    check_decoding(
        model.cfg, rows=batch_size * num_samples, chains=num_samples, total=len(encoded) * num_samples,
        prompt_tokens=max(map(len, encoded), default=0), new_tokens=max_new_tokens,
        dtype=jax.tree.leaves(model.params)[0].dtype, mesh=mesh,
    )  # fmt: skip
    impl = jax.random.key_impl(key)
    # On the host, and the chains' keys batch by batch: else every number of prompts would compile programs of its own.
    prompt_keys = np.asarray(jax.random.key_data(key if key.ndim else _prompt_keys(key, len(encoded))))
    shape = (len(encoded), num_samples)
    texts: list = [None] * len(encoded)
    logprobs, num_tokens = np.zeros(shape, np.float32), np.zeros(shape, np.int32)
    finished = np.zeros(shape, bool)
    ended_state = jax.tree.map(np.zeros_like, rule_state)

    layers = unstack(model.params)["layers"]
    run = generate_retiring if max_new_tokens >= RETIRE_FROM else generate
    if folder is not None:
        call = resume.digest(
            model.cfg, encoded, prompt_keys, num_samples, sampler, max_new_tokens, stop, batch_size, multiple, jax.tree.leaves(rule), rule_state
        )  # fmt: skip
    order = np.argsort([len(ids) for ids in encoded], kind="stable")
    with (
        _interruptible(folder),
        tqdm(total=len(encoded), desc=description, unit="problem", disable=description is None) as bar,
    ):
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            # The last batch repeats a prompt to keep the shape, and so the compiled program.
            padded = np.concatenate([chosen, np.repeat(chosen[:1], batch_size - len(chosen))])
            prompt = pad_left([encoded[i] for i in padded], model.tokenizer.pad_token_id, multiple)

            def write(padded=padded, prompt=prompt) -> Rollout:
                keys = _chain_keys(jax.random.wrap_key_data(prompt_keys[padded], impl=impl), num_samples)
                return gather(
                    run(model.params, keys, shard_batch(prompt, mesh), stop, cfg=model.cfg, sampler=sampler,
                        max_new_tokens=max_new_tokens, num_samples=num_samples, layers=layers, rule=rule,
                        rule_state=jax.tree.map(lambda x: x[padded], rule_state))
                )  # fmt: skip

            rollout = resume.once(folder and folder / f"{call}-{start}.npz", Rollout(0, 0, 0, 0, rule_state), write)
            for row, i in enumerate(chosen):
                texts[i] = decode(model.tokenizer, rollout.tokens[row], rollout.mask[row], stop_strings)
                logprobs[i] = rollout.logprobs[row].sum(-1)
                num_tokens[i] = rollout.mask[row].sum(-1)
                finished[i] = rollout.finished[row]
                for whole, part in zip(jax.tree.leaves(ended_state), jax.tree.leaves(rollout.rule_state), strict=True):
                    whole[i] = part[row]
            bar.update(len(chosen))
    return Completions(texts, logprobs, num_tokens, finished, ended_state)


@contextlib.contextmanager
def _interruptible(folder: Path | None) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if folder is None:
            raise
        raise KeyboardInterrupt(f"interrupted; {resume.again(folder)}") from None


@functools.partial(jax.jit, static_argnums=1)
def _prompt_keys(key: jax.Array, num_prompts: int) -> jax.Array:
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(num_prompts))


@functools.partial(jax.jit, static_argnums=1)
def _chain_keys(prompt_keys: jax.Array, num_samples: int) -> jax.Array:
    return jax.vmap(lambda k: jax.random.split(k, num_samples))(prompt_keys)


def decode(tokenizer, tokens: np.ndarray, mask: np.ndarray, stop_strings: Sequence[str] = ()) -> list[str]:
    """Texts of chains ``tokens[N, T]``, cut behind the first stop string.

    Special tokens, such as the end of a turn, are left out, but not the tags around thoughts and answers: some models
    have them as special tokens, and the answer could not be told from the thought.
    """
    chex.assert_equal_shape([tokens, mask])
    special = {i for i, t in tokenizer.added_tokens_decoder.items() if t.special and t.content not in TAGS}
    sequences = [[i for i in row[keep].tolist() if i not in special] for row, keep in zip(tokens, mask, strict=True)]
    texts = tokenizer.batch_decode(sequences, skip_special_tokens=False)
    for stop in stop_strings:
        texts = [text[: text.index(stop) + len(stop)] if stop in text else text for text in texts]
    return texts
