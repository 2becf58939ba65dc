"""Texts for texts: prompts become tokens, their chains are drawn in a queue, and read back."""

import contextlib
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxreason import resume
from jaxreason.decoding.continuous import generate_queue
from jaxreason.decoding.memory import check_decoding
from jaxreason.decoding.prompts import TAGS, warn_of_plain_prompts
from jaxreason.decoding.rollout import Rollout, Rule
from jaxreason.decoding.sampling import Sampler
from jaxreason.decoding.stop import compile_stop
from jaxreason.decoding.store import ChainStore, weights_digest
from jaxreason.errors import InputError
from jaxreason.mesh import mesh_of
from jaxreason.models.cache import unstack
from jaxreason.models.hf import LanguageModel
from jaxreason.models.precision import arithmetic
from jaxreason.models.tokens import encode_prompts
from jaxreason.progress import progress_bar


class Completions(NamedTuple):
    """What a model wrote: N texts for each of G prompts.

    A text has no end-of-text token, and nothing behind a stop string.
    """

    texts: list[list[str]]  # G x N
    logprobs: np.ndarray  # [G, N] float32: log p(chain | prompt) in nats, untempered
    num_tokens: np.ndarray  # [G, N] int32, the ending token included
    finished: np.ndarray  # [G, N] bool
    rule_state: Any = None  # [G, N] arrays: the state in which the rule ended, if there was one


def complete(
    model: LanguageModel,
    key: jax.Array,
    prompts: Sequence[str],
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
    store: Path | None = None,
) -> Completions:
    """Texts for texts, by continuous batching
    (:func:`jaxreason.decoding.continuous.generate_queue`).

    Chain n of prompt g draws from ``split(fold_in(key, g), N)[n]``, whatever else is under way. On
    a mesh the rows are cut among its devices, and every process gets all texts.

    A chat model should be asked in its own format: prompts that :mod:`jaxreason.decoding.prompts`
    wrote for other models, without its tokenizer, get a warning.

    Args:
      model: writes the texts.
      key: one key; or keys ``[G]``, and chain n of prompt g draws from ``split(key[g], N)[n]``.
      prompts: G texts.
      sampler: how a token is drawn.
      max_new_tokens: tokens of a chain at most.
      num_samples: N, chains of every prompt.
      stop_strings: each ends a chain, as do the model's own end-of-text tokens.
      rows: chains decoded at a time at most.
      multiple: prompts are padded to a multiple of so many tokens: the larger, the fewer shapes are
        compiled.
      description: shows a progress bar with this text.
      rule, rule_state: as in :func:`jaxreason.decoding.rollout.generate`; the state is of numpy
        arrays ``[G, N]``.
      store: a folder in which every finished chain is kept, and from which it is taken if its
        weights, prompt, key, sampler, limits and rule are the same, and drawn by the same version
        of JAX on a device of the same kind: an interrupted call goes on. Of several processes
        none reads or keeps anything.

    Raises:
      InputError: a prompt is empty or leaves no room for ``max_new_tokens`` in the context, there
        are not as many keys as prompts, the chains do not fit into memory, or the store is damaged.
    """
    if num_samples < 1:
        raise InputError(f"number of chains is {num_samples}: expected at least 1")
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens is {max_new_tokens}: expected at least 1")
    warn_of_plain_prompts(model.tokenizer, prompts)
    tokenizer, mesh = model.tokenizer, mesh_of(model.params)
    encoded = encode_prompts(tokenizer, prompts, model.cfg.max_position_embeddings, max_new_tokens)
    stop = compile_stop(tokenizer, stop_strings, model.eos_ids)
    if key.shape not in ((), (len(encoded),)):
        raise InputError(
            f"keys of shape {key.shape}: expected one, or one for each of {len(encoded)} prompts"
        )
    check_decoding(
        model.cfg,
        rows=min(rows, len(encoded) * num_samples),
        total=len(encoded) * num_samples,
        prompt_tokens=max(map(len, encoded), default=0),
        new_tokens=max_new_tokens,
        dtype=arithmetic(model.params)["cache"],
        mesh=mesh,
    )
    keys = _chain_keys(key, len(encoded), num_samples)
    draw = functools.partial(
        generate_queue,
        model.params,
        keys,
        encoded,
        stop,
        cfg=model.cfg,
        sampler=sampler,
        max_new_tokens=max_new_tokens,
        rows=rows,
        layers=unstack(model.params)["layers"],
        multiple=multiple,
        pad_id=tokenizer.pad_token_id,
        rule=rule,
        rule_state=rule_state,
    )
    finished_chains = draw()
    if store is not None and jax.process_count() == 1:
        # A rule by its tables and its name: its repr is another in every process.
        tables, name = jax.tree.leaves(rule), getattr(getattr(rule, "func", rule), "__name__", None)
        weights = weights_digest(model.params)
        machine = jax.__version__, jax.local_devices()[0].device_kind
        same = resume.digest(
            weights, model.cfg, sampler, max_new_tokens, stop.next_state, machine, name, *tables
        )
        finished_chains = _draw_once(draw, store, same, encoded, keys, rule_state, max_new_tokens)

    shape = (len(encoded), num_samples)
    found = Completions(
        texts=[[""] * num_samples for _ in encoded],
        logprobs=np.zeros(shape, np.float32),
        num_tokens=np.zeros(shape, np.int32),
        finished=np.zeros(shape, bool),
        rule_state=jax.tree.map(np.zeros_like, rule_state),
    )
    bar = progress_bar(total=len(encoded) * num_samples, description=description, unit="chain")
    with _interruptible(store), bar:
        for chains, rollout in finished_chains:
            places = np.divmod(chains, num_samples)
            texts = decode(tokenizer, rollout.tokens, rollout.mask, stop_strings)
            for g, n, text in zip(*places, texts, strict=True):
                found.texts[g][n] = text
            found.logprobs[places] = rollout.logprobs.sum(-1)
            found.num_tokens[places] = rollout.mask.sum(-1)
            found.finished[places] = rollout.finished
            _set_rows(found.rule_state, places, rollout.rule_state)
            bar.update(len(chains))
    return found


def _draw_once(
    draw: Callable[..., Iterator[tuple[np.ndarray, Rollout]]],
    folder: Path,
    same: str,
    prompts: Sequence[np.ndarray],
    keys: jax.Array,
    rule_state: Any,
    max_new_tokens: int,
) -> Iterator[tuple[np.ndarray, Rollout]]:
    """What :func:`generate_queue` yields, of chains that are not in the store; those that are come
    first.

    Args:
      draw: the call of ``generate_queue``, which takes ``chains``.
      folder: of the store.
      same: a digest of what determines all chains; ``prompts``, ``keys [G, N]`` and
        ``rule_state [G, N]`` tell one from another.
      max_new_tokens: T.
    """
    key_data = np.asarray(jax.random.key_data(keys)).reshape(keys.size, -1)
    states = [np.asarray(x).reshape(-1) for x in jax.tree.leaves(rule_state)]
    ids = [
        hashlib.sha256(
            b"".join(
                [
                    same.encode(),
                    key_data[i].tobytes(),
                    *(state[i].tobytes() for state in states),
                    np.asarray(prompts[i // keys.shape[1]]).tobytes(),
                ]
            )
        ).digest()
        for i in range(keys.size)
    ]
    with contextlib.closing(ChainStore(folder, rule_state)) as store:
        there, rollout = store.get(ids, max_new_tokens)
        if len(there):
            yield there, rollout
        for chains, rollout in draw(chains=np.setdiff1d(np.arange(keys.size), there)):
            store.put([ids[i] for i in chains], rollout)
            yield chains, rollout


def _set_rows(whole: Any, places: tuple[np.ndarray, np.ndarray], part: Any) -> None:
    """Sets places ``(g [k], n [k])`` of every array ``[G, N]`` of a tree."""
    for to, x in zip(jax.tree.leaves(whole), jax.tree.leaves(part), strict=True):
        to[places] = x


@contextlib.contextmanager
def _interruptible(store: Path | None) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if store is None:
            raise
        raise KeyboardInterrupt(f"interrupted; {resume.again(store)}") from None


def _chain_keys(key: jax.Array, num_prompts: int, num_samples: int) -> jax.Array:
    """The keys ``[G, N]`` of all chains, from one key or from one of every prompt ``[G]``."""
    impl, count = jax.random.key_impl(key), 1 << max(0, num_prompts - 1).bit_length()
    if key.ndim:  # few shapes, so that few programs are compiled: the last prompts are no one's
        data = np.asarray(jax.random.key_data(key))
        made = _split_keys(
            jax.random.wrap_key_data(np.resize(data, (count, *data.shape[1:])), impl=impl),
            num_samples,
        )
    else:
        made = _fold_and_split(key, count, num_samples)
    return jax.random.wrap_key_data(np.asarray(jax.random.key_data(made))[:num_prompts], impl=impl)


@functools.partial(jax.jit, static_argnums=1)
def _split_keys(prompt_keys: jax.Array, num_samples: int) -> jax.Array:
    return jax.vmap(lambda k: jax.random.split(k, num_samples))(prompt_keys)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _fold_and_split(key: jax.Array, num_prompts: int, num_samples: int) -> jax.Array:
    prompt_keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(num_prompts))
    return _split_keys(prompt_keys, num_samples)


def decode(
    tokenizer, tokens: np.ndarray, mask: np.ndarray, stop_strings: Sequence[str] = ()
) -> list[str]:
    """Texts of chains ``tokens [N, T]``, cut behind the first stop string.

    Special tokens, such as the end of a turn, are left out, but not the tags around thoughts and
    answers: some models have them as special tokens, and the answer could not be told from the
    thought.

    Args:
      tokenizer: of the model.
      tokens, mask: ``[N, T]`` int and bool, as in :class:`jaxreason.decoding.rollout.Rollout`.
      stop_strings: what follows one is cut off.
    """
    chex.assert_equal_shape([tokens, mask])
    special = {
        i for i, t in tokenizer.added_tokens_decoder.items() if t.special and t.content not in TAGS
    }
    sequences = [
        [i for i in row[keep].tolist() if i not in special]
        for row, keep in zip(tokens, mask, strict=True)
    ]
    texts = tokenizer.batch_decode(sequences, skip_special_tokens=False)
    for stop in stop_strings:
        texts = [text[: text.index(stop) + len(stop)] if stop in text else text for text in texts]
    return texts
