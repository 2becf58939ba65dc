"""Texts for texts: prompts are sorted by length, cut into batches, decoded and read back."""

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
from jaxreason.decoding.prompts import TAGS
from jaxreason.decoding.rollout import RETIRE_FROM, Rollout, Rule, generate, generate_retiring
from jaxreason.decoding.sampling import Sampler
from jaxreason.decoding.stop import compile_stop
from jaxreason.errors import InputError
from jaxreason.mesh import gather, mesh_of, num_row_parts, shard_batch
from jaxreason.models.decoder import unstack
from jaxreason.models.hf import LanguageModel
from jaxreason.models.tokens import encode_prompts, pad_left


class Completions(NamedTuple):
    """What a model wrote: N texts for each of G prompts, without the end-of-text token or stop
    string's tail.
    """

    texts: list[list[str]]  # G x N
    logprobs: np.ndarray  # [G, N] float32: log p(chain | prompt), untempered
    num_tokens: np.ndarray  # [G, N] int32, the ending token included
    finished: np.ndarray  # [G, N] bool
    rule_state: Any = None  # [G, N] arrays, as in Rollout


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
    """Texts for texts: :func:`generate` over batches of prompts of similar length, at most ``rows``
    chains at a time, but all of a prompt.

    On a mesh the prompts of a batch are cut among its devices, and every process gets all texts.

    Chain n of prompt g draws from ``split(fold_in(key, g), N)[n]``, whatever the batches. Given
    keys ``[G]`` instead of one, from ``split(key[g], N)[n]``. Prompts are padded to a multiple of
    ``multiple`` tokens: the larger, the fewer shapes are compiled. A rule and its state, arrays of
    numpy ``[G, N]``, are those of :func:`generate`.

    In a ``folder`` every finished batch is kept, and a call with the same arguments takes it from
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
    encoded = encode_prompts(
        model.tokenizer, prompts, model.cfg.max_position_embeddings, max_new_tokens
    )
    stop = compile_stop(model.tokenizer, stop_strings, model.eos_ids)
    mesh = mesh_of(model.params)
    parts = num_row_parts(mesh)  # each decodes as many prompts as the others
    batch_size = -(-min(max(1, rows // num_samples), max(1, len(encoded))) // parts) * parts
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
    impl = jax.random.key_impl(key)
    # On the host, and the chains' keys batch by batch: else every number of prompts would compile
    # programs of its own.
    prompt_keys = np.asarray(
        jax.random.key_data(key if key.ndim else _prompt_keys(key, len(encoded)))
    )
    shape = (len(encoded), num_samples)
    texts: list = [None] * len(encoded)
    logprobs, num_tokens = np.zeros(shape, np.float32), np.zeros(shape, np.int32)
    finished = np.zeros(shape, bool)
    ended_state = jax.tree.map(np.zeros_like, rule_state)

    layers = unstack(model.params)["layers"]
    run = generate_retiring if max_new_tokens >= RETIRE_FROM else generate
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
    order = np.argsort([len(ids) for ids in encoded], kind="stable")
    with (
        _interruptible(folder),
        tqdm(
            total=len(encoded), desc=description, unit="problem", disable=description is None
        ) as bar,
    ):
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            # The last batch repeats a prompt to keep the shape, and so the compiled program.
            padded = np.concatenate([chosen, np.repeat(chosen[:1], batch_size - len(chosen))])
            prompt = pad_left([encoded[i] for i in padded], model.tokenizer.pad_token_id, multiple)

            def write(padded=padded, prompt=prompt) -> Rollout:
                keys = _chain_keys(
                    jax.random.wrap_key_data(prompt_keys[padded], impl=impl), num_samples
                )
                return gather(
                    run(
                        model.params,
                        keys,
                        shard_batch(prompt, mesh),
                        stop,
                        cfg=model.cfg,
                        sampler=sampler,
                        max_new_tokens=max_new_tokens,
                        num_samples=num_samples,
                        layers=layers,
                        rule=rule,
                        rule_state=jax.tree.map(lambda x: x[padded], rule_state),
                    )
                )

            rollout = resume.once(
                folder and folder / f"{call}-{start}.npz", Rollout(0, 0, 0, 0, rule_state), write
            )
            for row, i in enumerate(chosen):
                texts[i] = decode(
                    model.tokenizer, rollout.tokens[row], rollout.mask[row], stop_strings
                )
                logprobs[i] = rollout.logprobs[row].sum(-1)
                num_tokens[i] = rollout.mask[row].sum(-1)
                finished[i] = rollout.finished[row]
                for whole, part in zip(
                    jax.tree.leaves(ended_state), jax.tree.leaves(rollout.rule_state), strict=True
                ):
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


def decode(
    tokenizer, tokens: np.ndarray, mask: np.ndarray, stop_strings: Sequence[str] = ()
) -> list[str]:
    """Texts of chains ``tokens[N, T]``, cut behind the first stop string.

    Special tokens, such as the end of a turn, are left out, but not the tags around thoughts and
    answers: some models have them as special tokens, and the answer could not be told from the
    thought.
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
