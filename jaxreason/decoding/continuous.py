"""Continuous batching: a finished chain gives its row to the next one (Orca, Yu et al. 2022,
section 3.1), so nothing waits for the longest chain.

The device draws ``CHUNK`` tokens of R rows; then the host takes out what they wrote and admits the
next chains into rows that are free. A row holds its prompt and its own tokens at the places that
they have in every row, so a chain's tokens depend neither on when nor on where it ran. Nor do the
bits of its log-probabilities, as long as the rows keep their width (``_narrow``).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxreason.decoding.rollout import Rollout, Rule
from jaxreason.decoding.rows import (
    CHUNK,
    Prefilled,
    Rows,
    Written,
    admit_chains,
    draw_chunk,
    drop_slots,
    empty_rows,
    padded,
    prefill,
    select_rows,
)
from jaxreason.decoding.sampling import Sampler
from jaxreason.decoding.stop import Stop
from jaxreason.mesh import gather, mesh_of, num_row_parts, round_to_mesh, shard_batch
from jaxreason.models.decoder import DecoderConfig, Params
from jaxreason.models.tokens import pad_left

SHRINK_FROM = 128  # new tokens; a shorter tail is over before another program is compiled


def generate_queue(
    params: Params,
    keys: jax.Array,
    prompts: Sequence[np.ndarray],
    stop: Stop,
    *,
    cfg: DecoderConfig,
    sampler: Sampler,
    max_new_tokens: int,
    rows: int,
    layers: tuple[Params, ...],
    chains: np.ndarray | None = None,
    multiple: int = 32,
    pad_id: int = 0,
    rule: Rule | None = None,
    rule_state: Any = None,
) -> Iterator[tuple[np.ndarray, Rollout]]:
    """Chains of any number of prompts, as they finish; the longest prompts begin.

    Every prompt is read once. Chain n of prompt g draws token t with ``fold_in(keys[g, n], t)``, as
    in :func:`jaxreason.decoding.rollout.generate`. Runs on the host, around compiled loops.

    Args:
      params, cfg: the model; ``layers`` are its layers one by one, from
        :func:`jaxreason.models.cache.unstack`.
      keys: ``[G, N]``, one for each of the N chains of each of G prompts.
      prompts: G arrays of token ids.
      stop, sampler, max_new_tokens, rule: as in ``generate``; T tokens of a chain at most.
      rows: R, chains under way at a time.
      chains: the numbers of those that are wanted; by default all.
      multiple: prompts are padded to a multiple of so many tokens, so that few programs are
        compiled.
      pad_id: what they are padded with.
      rule_state: of the rule, arrays of numpy ``[G, N]``.

    Yields:
      Numbers ``[k]`` of chains that ended, chain n of prompt g being ``g * N + n``, and what they
      wrote, arrays of numpy ``[k, T]`` and ``[k]``.
    """
    num_samples, mesh = keys.shape[1], mesh_of(params)
    # On the host: else every number of prompts would compile programs of its own.
    impl, key_data = jax.random.key_impl(keys), np.asarray(jax.random.key_data(keys))
    key_data = key_data.reshape(keys.size, *key_data.shape[2:])
    # Of a part of the chains as of all: the last bits of a sum depend on the shape of its program.
    num_rows = round_to_mesh(max(1, min(rows, keys.size)), mesh)
    at_once = _chains_at_once(num_rows, num_samples)
    num_read = round_to_mesh(-(-at_once // num_samples), mesh)  # prompts read at a time
    slots = np.array([padded(len(ids), multiple) for ids in prompts])  # of every prompt
    unstacked = {**params, "layers": layers}

    def rule_state_of(chains: np.ndarray) -> Any:
        return jax.tree.map(lambda x: np.asarray(x).reshape(-1)[chains], rule_state)

    def read(chosen: np.ndarray) -> Prefilled:
        prompt = pad_left([prompts[g] for g in np.resize(chosen, num_read)], pad_id, multiple)
        return prefill(params, shard_batch(prompt, mesh), cfg=cfg)

    def admit(rows: Rows, read: Prefilled, into: np.ndarray, source: np.ndarray, chains) -> Rows:
        # Always as many, so that one program is compiled: some are admitted twice.
        into, source, chains = (np.resize(x, at_once) for x in (into, source, chains))
        states = rule_state_of(chains)
        own_keys = jax.random.wrap_key_data(key_data[chains], impl=impl)
        return admit_chains(
            rows, read, into, source, own_keys, states, cfg=cfg, limit=max_new_tokens
        )

    by_length = np.argsort([-len(ids) for ids in prompts], kind="stable")
    waiting = (by_length[:, None] * num_samples + np.arange(num_samples)).reshape(-1)
    if chains is not None:
        waiting = waiting[np.isin(waiting, chains)]
    host, on_device = HostRows(num_rows, max_new_tokens), None
    of_prompts = np.array([-1])  # those that were read last
    while len(waiting) or host.busy.any():
        free = np.flatnonzero(~host.busy)
        while len(waiting) and len(free) >= min(at_once, len(waiting)):
            count = _chains_to_admit(waiting[:at_once] // num_samples, num_read)
            admitted, waiting = np.split(waiting, [count])
            into, free = np.split(free, [count])
            chosen, source = np.unique(admitted // num_samples, return_inverse=True)
            if not np.array_equal(chosen, of_prompts):
                prefilled, of_prompts = read(chosen), chosen
            if on_device is None:
                shape = num_rows, slots.max() + host.width
                on_device = empty_rows(
                    prefilled, rule_state_of(waiting[:0]), stop.final, impl, shape, mesh
                )
            on_device = admit(on_device, prefilled, into, source, admitted)
            host.admit(into, admitted)
        open_chains = np.concatenate([host.chain[host.busy], waiting[:1]])
        needed = slots[open_chains // num_samples].max() + host.width
        on_device = _narrow(on_device, needed)
        if _is_tail(host, len(waiting), mesh):
            kept = np.argsort(~host.busy, kind="stable")[: len(host.chain) // 4]
            host, on_device = host.select(kept), select_rows(on_device, kept)
        on_device, written = draw_chunk(
            unstacked, on_device, stop, rule, cfg=cfg, sampler=sampler, limit=max_new_tokens
        )
        ended, rollout = host.add(gather(written), stop.final)
        if len(ended):
            yield ended, rollout


def _chains_to_admit(of_prompts: np.ndarray, num_read: int) -> int:
    """How many of the next chains can be admitted together, if so many prompts are read at a time.

    Args:
      of_prompts: ``[k]``, the prompt of each chain; the chains of a prompt follow each other.
      num_read: prompts.
    """
    prompts_so_far = np.cumsum(np.diff(of_prompts, prepend=-1) != 0)
    return int((prompts_so_far <= num_read).sum())


def _narrow(rows: Rows, width: int) -> Rows:
    """Without the slots in front that only prompts that are done needed, if those are a quarter of
    all: every width is another program.
    """
    now = rows.cache.prefix_mask.shape[1]
    return drop_slots(rows, now - width) if width <= 0.75 * now else rows


def _chains_at_once(num_rows: int, num_samples: int) -> int:
    """How many chains are admitted at a time: about an eighth of the rows, whole prompts or equal
    parts of one, so that every prompt is read once.
    """
    eighth = max(1, num_rows // 8)
    if eighth >= num_samples:
        return eighth // num_samples * num_samples
    return max(size for size in range(1, eighth + 1) if num_samples % size == 0)


class HostRows:
    """What the host knows of R rows: the chain in each, and what it wrote so far."""

    def __init__(self, num_rows: int, max_new_tokens: int):
        shape = num_rows, padded(max_new_tokens, CHUNK)
        self.limit = max_new_tokens
        self.chain = np.full(num_rows, -1)  # its number; -1 where a row is free
        self.age = np.zeros(num_rows, int)
        self.tokens = np.zeros(shape, np.int32)
        self.logprobs = np.zeros(shape, np.float32)
        self.mask = np.zeros(shape, bool)

    @property
    def busy(self) -> np.ndarray:
        """``[R]`` bool: the rows with a chain under way."""
        return self.chain >= 0

    def admit(self, rows: np.ndarray, chains: np.ndarray) -> None:
        self.chain[rows], self.age[rows] = chains, 0
        self.tokens[rows], self.logprobs[rows], self.mask[rows] = 0, 0.0, False

    @property
    def width(self) -> int:
        """Slots of a row for new tokens, in whole chunks."""
        return self.tokens.shape[1]

    def add(self, new: Written, final: int) -> tuple[np.ndarray, Rollout]:
        """Keeps what the rows wrote, and frees the rows of the k chains that ended; k may be 0.

        Returns:
          Numbers ``[k]`` of the chains, and what they wrote, ``[k, T]`` and ``[k]``.
        """
        rows = np.flatnonzero(self.busy)
        at = rows[:, None], self.age[rows, None] + np.arange(CHUNK)
        self.tokens[at], self.logprobs[at] = new.tokens[rows], new.logprobs[rows]
        self.mask[at] = new.mask[rows]
        self.age[rows] += CHUNK
        finished = new.state[rows] == final
        ended = rows[finished | (self.age[rows] >= self.limit)]
        chains, self.chain[ended] = self.chain[ended], -1
        return chains, Rollout(
            tokens=self.tokens[ended, : self.limit],
            logprobs=self.logprobs[ended, : self.limit],
            mask=self.mask[ended, : self.limit],
            finished=new.state[ended] == final,
            rule_state=jax.tree.map(lambda x: x[ended], new.rule_state),
        )

    def select(self, rows: np.ndarray) -> "HostRows":
        """These rows alone."""
        fewer = HostRows(len(rows), self.limit)
        for name in ("chain", "age", "tokens", "logprobs", "mask"):
            setattr(fewer, name, getattr(self, name)[rows])
        return fewer


def _is_tail(host: HostRows, num_waiting: int, mesh: Mesh | None) -> bool:
    """Whether a quarter of the rows is enough for what is left, and worth another program."""
    num_rows = len(host.chain)
    fits = num_rows >= 16 and num_rows // 4 % num_row_parts(mesh) == 0
    return (
        fits and not num_waiting and host.limit >= SHRINK_FROM and host.busy.sum() <= num_rows // 4
    )
