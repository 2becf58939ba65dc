"""Texts for texts: prompts are sorted by length, decoded in batches, and their chains read back."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

from jaxreason import resume
from jaxreason.decoding.memory import check_decoding
from jaxreason.decoding.prompts import TAGS, warn_of_plain_prompts
from jaxreason.decoding.rollout import RETIRE_FROM, Rollout, Rule, generate, generate_retiring
from jaxreason.decoding.sampling import Sampler
from jaxreason.decoding.stop import compile_stop
from jaxreason.errors import InputError
from jaxreason.mesh import gather, map_rows, mesh_of, round_to_mesh, shard_batch
from jaxreason.models.cache import unstack
from jaxreason.models.hf import LanguageModel
from jaxreason.models.tokens import encode_prompts, pad_left


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
    folder: Path | None = None,
) -> Completions:
    """Texts for texts: :func:`generate` over batches of prompts of similar length.

    Chain n of prompt g draws from ``split(fold_in(key, g), N)[n]``, whatever the batches. On a mesh
    the prompts of a batch are cut among its devices, and every process gets all texts.

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
      rows: chains decoded at a time at most, but all of a prompt.
      multiple: prompts are padded to a multiple of so many tokens: the larger, the fewer shapes are
        compiled.
      description: shows a progress bar with this text.
      rule, rule_state: as in :func:`generate`; the state is of numpy arrays ``[G, N]``.
      folder: every finished batch is kept here, and a call with the same arguments takes it from
        there: interrupted, it goes on. The weights are not compared, so the folder has to be theirs
        (:meth:`jaxreason.course.run.Run.kept`).

    Raises:
      InputError: a prompt is empty or leaves no room for ``max_new_tokens`` in the context, there
        are not as many keys as prompts, or the chains do not fit into memory.
    """
    if num_samples < 1:
        raise InputError(f"number of chains is {num_samples}: expected at least 1")
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens is {max_new_tokens}: expected at least 1")
    warn_of_plain_prompts(model.tokenizer, prompts)
    tokenizer, mesh = model.tokenizer, mesh_of(model.params)
    encoded = encode_prompts(tokenizer, prompts, model.cfg.max_position_embeddings, max_new_tokens)
    stop = compile_stop(tokenizer, stop_strings, model.eos_ids)
    batch_size = round_to_mesh(min(max(1, rows // num_samples), max(1, len(encoded))), mesh)
    if key.shape not in ((), (len(encoded),)):
        raise InputError(
            f"keys of shape {key.shape}: expected one, or one for each of {len(encoded)} prompts"
        )
    check_decoding(
        model.cfg,
        rows=batch_size * num_samples,
        chains=num_samples,
        total=len(encoded) * num_samples,
        prompt_tokens=max(map(len, encoded), default=0),
        new_tokens=max_new_tokens,
        dtype=jax.tree.leaves(model.params)[0].dtype,
        mesh=mesh,
    )
    # On the host, and the chains' keys batch by batch: else every number of prompts would compile
    # programs of its own.
    impl = jax.random.key_impl(key)
    prompt_keys = np.asarray(
        jax.random.key_data(key if key.ndim else _prompt_keys(key, len(encoded)))
    )
    layers = unstack(model.params)["layers"]
    decode_batch = generate_retiring if max_new_tokens >= RETIRE_FROM else generate

    def write(chosen: np.ndarray) -> Rollout:
        """The chains of the chosen prompts."""
        prompt = pad_left([encoded[i] for i in chosen], tokenizer.pad_token_id, multiple)
        keys = jax.random.wrap_key_data(prompt_keys[chosen], impl=impl)
        return decode_batch(
            model.params,
            _chain_keys(keys, num_samples),
            shard_batch(prompt, mesh),
            stop,
            cfg=model.cfg,
            sampler=sampler,
            max_new_tokens=max_new_tokens,
            num_samples=num_samples,
            layers=layers,
            rule=rule,
            rule_state=jax.tree.map(lambda x: x[chosen], rule_state),
        )

    if folder is not None:
        call = resume.digest(
            model.cfg,
            encoded,
            prompt_keys,
            num_samples,
            sampler,
            max_new_tokens,
            stop,
            batch_size,
            multiple,
            jax.tree.leaves(rule),
            rule_state,
        )

    def write_once(chosen: np.ndarray) -> Rollout:
        """What :func:`write` gave in a run that was interrupted, if the folder has it."""
        path = None if folder is None else folder / f"{call}-{chosen[0]}.npz"
        like = Rollout(tokens=0, logprobs=0, mask=0, finished=0, rule_state=rule_state)
        return resume.once(path, like, lambda: gather(write(chosen)))

    shape = (len(encoded), num_samples)
    found = Completions(
        texts=[[] for _ in encoded],
        logprobs=np.zeros(shape, np.float32),
        num_tokens=np.zeros(shape, np.int32),
        finished=np.zeros(shape, bool),
        rule_state=jax.tree.map(np.zeros_like, rule_state),
    )
    by_length = np.argsort([len(ids) for ids in encoded], kind="stable")
    bar = tqdm(total=len(encoded), desc=description, unit="problem", disable=description is None)
    with _interruptible(folder), bar:
        for chosen, rollout in map_rows(write_once, by_length, batch_size):
            for i, tokens, mask in zip(chosen, rollout.tokens, rollout.mask, strict=True):
                found.texts[i] = decode(tokenizer, tokens, mask, stop_strings)
            found.logprobs[chosen] = rollout.logprobs.sum(-1)
            found.num_tokens[chosen] = rollout.mask.sum(-1)
            found.finished[chosen] = rollout.finished
            _set_rows(found.rule_state, chosen, rollout.rule_state)
            bar.update(len(chosen))
    return found


def _set_rows(whole: Any, rows: np.ndarray, part: Any) -> None:
    """Sets the rows of every array of a tree."""
    for to, x in zip(jax.tree.leaves(whole), jax.tree.leaves(part), strict=True):
        to[rows] = x


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
