"""Particle filtering of a language model's lines, weighed by a process reward model (PRM).

A step of ``particles.particle_filter`` is a line here (Puri et al. 2025, section 3.1). All
particles of all problems draw their next line together, token by token. Then the PRM reads the new
lines in one pass. A prompt is read once. Each particle has a cache in both models, and resampling
takes rows of these caches. All of it is one compiled program.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from jaxreason.decoding.completions import decode
from jaxreason.decoding.rollout import draw
from jaxreason.decoding.rows import Prefilled, padded, prefill
from jaxreason.decoding.sampling import Sampler
from jaxreason.decoding.stop import Stop, compile_stop
from jaxreason.errors import InputError
from jaxreason.mesh import map_rows, mesh_of, round_to_mesh, row_sharding, shard_batch
from jaxreason.models.cache import KV, Cache, fork, unstack
from jaxreason.models.decoder import DecoderConfig, Params, hidden_states, output_head
from jaxreason.models.heads import score_tokens, verifier_logits
from jaxreason.models.hf import LanguageModel
from jaxreason.models.tokens import Prompt, encode_prompts, pad_left
from jaxreason.progress import progress_bar
from jaxreason.rewards.reward_model import RewardModel
from jaxreason.search.particles import Scheme, log_evidence, particle_filter, systematic

# The log worth of a chain, from that before its last line and from the PRM's score r of that line,
# which is given as its logit, log(r / (1 - r)). What a line adds is its log potential.
WORTH: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "prod": lambda worth, logit: worth + jax.nn.log_sigmoid(logit),  # equation 2 of the paper
    "min": lambda worth, logit: jnp.minimum(worth, jax.nn.log_sigmoid(logit)),
    "last": lambda worth, logit: jax.nn.log_sigmoid(logit),
    "score": lambda worth, logit: worth + jax.nn.sigmoid(logit),  # softmax of r: its Algorithm 1
    "odds": lambda worth, logit: worth + logit,  # softmax of logits: its authors' code
}


class Filtered(NamedTuple):
    """N weighted chains of each of B problems."""

    texts: list[list[str]]  # B x N
    log_weights: np.ndarray  # [B, N] float32
    worth: np.ndarray  # [B, N] float32, see WORTH
    finished: np.ndarray  # [B, N] bool, False where the lines were not enough
    log_z: np.ndarray  # [B] float32, log of the estimate of Z
    num_tokens: np.ndarray  # [B] int32, drawn, by dropped particles too


class Size(NamedTuple):
    """What a filter is compiled for, beside the models."""

    num_particles: int
    max_lines: int
    max_line: int
    sampler: Sampler
    scheme: Scheme
    threshold: float


class _Reader(NamedTuple):
    """What a model has read of the chains."""

    last: jax.Array  # [B, N, E], the state behind the last token
    own: tuple[KV, ...]  # L of [B, N, K, D, S] and [B, N, K, S, D], the chains' part of the cache


class _Chains(NamedTuple):
    """The particles. All write a line into the same slots, and a short one leaves some empty."""

    tokens: jax.Array  # [B, N, S] int32
    mask: jax.Array  # [B, N, S] bool, False on empty slots
    ended: jax.Array  # [B, N] bool, by an end-of-text token
    worth: jax.Array  # [B, N] float32
    lowest: jax.Array  # [B, N] float32: log p of the least likely token, which the PRM's head reads
    policy: _Reader
    judge: _Reader
    num_slots: jax.Array  # [] int32, slots in use
    num_tokens: jax.Array  # [B] int32, drawn


def filter_lines(
    model: LanguageModel,
    reward: RewardModel,
    key: jax.Array,
    prompts: Sequence[str],
    *,
    num_particles: int,
    weigh: str = "prod",
    sampler: Sampler = Sampler(),
    max_lines: int = 8,
    max_line: int = 12,
    scheme: Scheme = systematic,
    threshold: float = 1.0,
    rows: int = 512,
    description: str | None = None,
) -> Filtered:
    """N particles for each prompt; a driver that batches the prompts and gathers on the host.

    Args:
      model, reward: the model that draws lines, and the PRM that weighs them.
      key: problem b draws from ``fold_in(key, b)``, whatever the batch.
      prompts: B texts.
      num_particles: N.
      weigh: how scores become weights, a key of :data:`WORTH`.
      sampler: of the tokens; the posterior is that of the model so tempered.
      max_lines: lines of a chain at most.
      max_line: tokens of a line at most; a longer line, or an empty one, has weight 0.
      scheme, threshold: see :func:`jaxreason.search.particles.particle_filter`.
      rows: particles under way at a time at most, but all of at least one problem.
      description: label of a progress bar over problems; None shows none.

    Raises:
      InputError: an unknown way to weigh, a size below 1, a threshold outside 0..1, or no prompt,
        or one that is empty or leaves no room for its lines in the context.
    """
    if weigh not in WORTH:
        raise InputError(f"weigh is {weigh!r}: expected one of {', '.join(WORTH)}")
    sizes = {"num_particles": num_particles, "max_lines": max_lines, "max_line": max_line}
    for name, value in {**sizes, "rows": rows, "number of prompts": len(prompts)}.items():
        if value < 1:
            raise InputError(f"{name} is {value}: expected at least 1")
    tokenizer, mesh = model.tokenizer, mesh_of(model.params)
    context = min(model.cfg.max_position_embeddings, reward.cfg.max_position_embeddings)
    encoded = encode_prompts(tokenizer, prompts, context, max_lines * max_line)
    width = padded(max(map(len, encoded)), 32)
    stop = compile_stop(tokenizer, ("\n",), model.eos_ids)
    (newline,) = tokenizer("\n", add_special_tokens=False).input_ids
    shared = model.params, reward.params, stop, newline, list(WORTH).index(weigh)
    size = Size(**sizes, sampler=sampler, scheme=scheme, threshold=threshold)
    run = functools.partial(_filter, cfg=model.cfg, reward_cfg=reward.cfg, size=size, mesh=mesh)

    def filter_batch(chosen: np.ndarray) -> tuple[jax.Array, jax.Array, Filtered]:
        prompt = pad_left([encoded[b] for b in chosen], tokenizer.pad_token_id, width)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, chosen)
        return run(shared, *shard_batch((keys, prompt), mesh))

    # Like problems go together: a batch is under way until its longest chain has ended.
    by_length = np.argsort([len(ids) for ids in encoded], kind="stable")
    at_once = round_to_mesh(min(max(1, rows // num_particles), len(encoded)), mesh)
    found = []
    with progress_bar(total=len(encoded), description=description, unit="problem") as bar:
        for chosen, result in map_rows(filter_batch, by_length, at_once):
            found.append(result)
            bar.update(len(chosen))
    as_asked = np.argsort(by_length)
    tokens, mask, filtered = jax.tree.map(lambda *xs: np.concatenate(xs)[as_asked], *found)
    texts = [decode(tokenizer, *chains) for chains in zip(tokens, mask, strict=True)]
    return filtered._replace(texts=texts)


@functools.partial(jax.jit, static_argnames=("cfg", "reward_cfg", "size", "mesh"))
def _filter(
    shared: tuple,
    keys: jax.Array,
    prompt: Prompt,
    *,
    cfg: DecoderConfig,
    reward_cfg: DecoderConfig,
    size: Size,
    mesh: Mesh | None,
) -> tuple[jax.Array, jax.Array, Filtered]:
    """Tokens ``[B, N, S]`` and which of them count, and all but the texts; every device of a mesh
    filters its part of the problems.
    """

    def run(shared: tuple, keys: jax.Array, prompt: Prompt) -> tuple:
        params, reward_params, stop, newline, weigh = shared
        of_policy = prefill(params, prompt, cfg=cfg)
        of_judge = prefill(reward_params["backbone"], prompt, cfg=reward_cfg)
        # Once, outside the loops: the layers' weights, each in one piece.
        params, backbone = jax.lax.optimization_barrier(
            (unstack(params), unstack(reward_params["backbone"]))
        )
        verifier = {**reward_params, "backbone": backbone}

        def advance(keys: jax.Array, before: _Chains) -> tuple[_Chains, jax.Array]:
            chains, is_line = _write(params, keys, before, of_policy, stop, newline, cfg, size)
            chains, logit = _judge(verifier, before, chains, of_judge, newline, reward_cfg, size)
            worth = jax.lax.switch(weigh, list(WORTH.values()), before.worth, logit)
            worth = jnp.where(before.ended, before.worth, worth)
            gained = jnp.where(before.ended | is_line, worth - before.worth, -jnp.inf)
            return chains._replace(worth=worth), gained

        particles = particle_filter(
            keys,
            _start(of_policy, of_judge, size),
            advance,
            num_particles=size.num_particles,
            num_steps=size.max_lines,
            is_done=lambda chains: chains.ended,
            scheme=size.scheme,
            threshold=size.threshold,
        )
        chains = particles.state
        filtered = Filtered(
            texts=[],
            log_weights=particles.log_weights,
            worth=chains.worth,
            finished=chains.ended,
            log_z=log_evidence(particles),
            num_tokens=chains.num_tokens,
        )
        return chains.tokens, chains.mask, filtered

    if mesh is not None:
        rows = row_sharding(mesh).spec
        specs = {"in_specs": (PartitionSpec(), rows, rows), "out_specs": rows}
        run = jax.shard_map(run, mesh=mesh, **specs, check_vma=False)
    return run(shared, keys, prompt)


def _start(of_policy: Prefilled, of_judge: Prefilled, size: Size) -> _Chains:
    """Particles that have written nothing, behind the prompts."""
    shape = len(of_policy.lengths), size.num_particles
    num_slots = size.max_lines * size.max_line

    def reader(read: Prefilled) -> _Reader:
        own = fork(read.cache, size.num_particles, num_slots).own
        return _Reader(
            last=jnp.repeat(read.last[:, None], size.num_particles, axis=1),
            own=jax.tree.map(lambda x: x.reshape(*shape, -1, *x.shape[1:]), own),
        )

    return _Chains(
        tokens=jnp.zeros((*shape, num_slots), jnp.int32),
        mask=jnp.zeros((*shape, num_slots), bool),
        ended=jnp.zeros(shape, bool),
        worth=jnp.zeros(shape),
        lowest=jnp.zeros(shape),
        policy=reader(of_policy),
        judge=reader(of_judge),
        num_slots=jnp.int32(0),
        num_tokens=jnp.zeros(shape[0], jnp.int32),
    )


def _write(
    params: Params,
    keys: jax.Array,
    chains: _Chains,
    read: Prefilled,
    stop: Stop,
    newline: jax.Array,
    cfg: DecoderConfig,
    size: Size,
) -> tuple[_Chains, jax.Array]:
    """Each chain's next line, and whether it is one ``[B, N]``: neither cut nor empty."""
    shape, head = chains.ended.shape, output_head(params)
    keys = _rows(jax.vmap(lambda key: jax.random.split(key, shape[1]))(keys))
    length = _rows(read.lengths[:, None] + chains.mask.sum(-1))  # of prompt and chain

    def unfinished(carry: tuple) -> jax.Array:
        t, state, *_ = carry
        return (t < size.max_line) & (state != stop.final).any()

    def step(carry: tuple) -> tuple:
        t, state, last, cache, tokens = carry
        alive, slot = state != stop.final, cache.length
        drawn = draw(keys, t, head(last), state, None, alive, stop, None, size.sampler)
        cache = cache._replace(own_mask=cache.own_mask.at[:, slot].set(alive))
        token, position = drawn.token[:, None], (length + t)[:, None]
        states, cache = hidden_states(params, token, position, cache, cfg=cfg)
        last = jnp.where(alive[:, None], states[:, 0], last)
        return t + 1, drawn.state, last, cache, tokens.at[:, slot].set(drawn.token)

    state = jnp.where(_rows(chains.ended), stop.final, 0)
    cache = _cache(chains.policy, read, chains.mask, chains.num_slots)
    begin = jnp.int32(0), state, _rows(chains.policy.last), cache, _rows(chains.tokens)
    _, state, last, cache, tokens = jax.lax.while_loop(unfinished, step, begin)

    tokens, mask = tokens.reshape(chains.tokens.shape), cache.own_mask.reshape(chains.mask.shape)
    is_new = mask & ~chains.mask
    num_new = is_new.sum(-1)
    is_complete = (state == stop.final).reshape(shape)
    goes_on = (is_new & (tokens == newline)).any(-1)
    written = chains._replace(
        tokens=tokens,
        mask=mask,
        ended=chains.ended | (is_complete & ~goes_on),
        policy=_reader(chains.policy, last, cache),
        num_slots=cache.length,
        num_tokens=chains.num_tokens + num_new.sum(-1),
    )
    return written, is_complete & (num_new > 1)


def _judge(
    params: Params,
    before: _Chains,
    chains: _Chains,
    read: Prefilled,
    newline: jax.Array,
    cfg: DecoderConfig,
    size: Size,
) -> tuple[_Chains, jax.Array]:
    """The PRM reads each chain's new line, and gives its logit ``[B, N]``."""
    line, is_new = (
        jax.lax.dynamic_slice_in_dim(_rows(x), before.num_slots, size.max_line, 1)
        for x in (chains.tokens, chains.mask)
    )
    row, num_new = jnp.arange(len(line)), is_new.sum(-1)
    end = jnp.maximum(num_new - 1, 0)
    line = line.at[row, end].set(newline)  # the PRM has learned lines that end so
    length = _rows(read.lengths[:, None] + before.mask.sum(-1))
    positions = length[:, None] + jnp.arange(size.max_line)
    cache = _cache(before.judge, read, chains.mask, before.num_slots)
    states, cache = hidden_states(params["backbone"], line, positions, cache, cfg=cfg)

    last = _rows(before.judge.last)
    earlier = jnp.concatenate([last[:, None], states[:, :-1]], 1)  # the state before each token
    logprobs = score_tokens(params["backbone"], earlier, line)
    lowest = jnp.minimum(_rows(before.lowest), jnp.where(is_new, logprobs, 0.0).min(-1))
    last = jnp.where(num_new[:, None] > 0, states[row, end], last)
    logit = verifier_logits(params["head"], last, lowest)
    judged = chains._replace(
        lowest=lowest.reshape(before.lowest.shape), judge=_reader(before.judge, last, cache)
    )
    return judged, logit.reshape(before.ended.shape)


# ---- problems and particles as rows of a batch


def _rows(x: jax.Array) -> jax.Array:
    """``[B, N, ...]`` -> ``[B * N, ...]``."""
    return x.reshape(-1, *x.shape[2:])


def _cache(reader: _Reader, read: Prefilled, mask: jax.Array, length: jax.Array) -> Cache:
    """The cache of all rows, with ``length`` slots in use."""
    own = jax.tree.map(lambda x: x.reshape(-1, *x.shape[3:]), reader.own)
    return read.cache._replace(own=own, length=length, own_mask=_rows(mask))


def _reader(like: _Reader, last: jax.Array, cache: Cache) -> _Reader:
    """What is left when rows have read on: states ``[B * N, E]``, and their cache."""
    return jax.tree.map(lambda x, old: x.reshape(old.shape), _Reader(last, cache.own), like)
