"""Power sampling of texts: prompts become tokens, their chains are drawn, and read back."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from jaxreason.decoding.completions import decode
from jaxreason.decoding.memory import check_decoding
from jaxreason.decoding.power import Chains, power_chains
from jaxreason.decoding.rows import padded
from jaxreason.decoding.sampling import Sampler
from jaxreason.decoding.stop import compile_stop
from jaxreason.errors import InputError
from jaxreason.mesh import map_rows, mesh_of, round_to_mesh, shard_batch
from jaxreason.models.hf import LanguageModel
from jaxreason.models.precision import arithmetic
from jaxreason.models.tokens import encode_prompts, pad_left
from jaxreason.progress import progress_bar


class PowerTexts(NamedTuple):
    """One text for each of G prompts."""

    texts: list[str]  # G
    logprobs: np.ndarray  # [G] float32, log p(text | prompt) in nats, untempered
    num_tokens: np.ndarray  # [G] int32, of the text, the ending token included
    num_drawn: np.ndarray  # [G] int32, tokens drawn to get it, in rejected ends too
    accepted: np.ndarray  # [G] float, share of the steps whose candidate was accepted


def complete_power(
    model: LanguageModel,
    key: jax.Array,
    prompts: Sequence[str],
    *,
    alpha: float,
    block: int,
    num_steps: int,
    max_new_tokens: int,
    temperature: float | None = None,
    stop_strings: Sequence[str] = (),
    rows: int = 64,
    description: str | None = None,
) -> PowerTexts:
    """One text for each prompt, from p^alpha if enough steps are taken (Karan & Du 2025).

    Prompt g draws from ``fold_in(key, g)``, whatever else is in its batch.

    Args:
      model: writes the texts.
      key: one key.
      prompts: G texts.
      alpha: the power; 4 in the paper.
      block: tokens that a text grows by; a sixteenth of ``max_new_tokens`` in the paper.
      num_steps: steps of Metropolis-Hastings at each length; 0 is plain sampling.
      max_new_tokens: tokens of a text at most.
      temperature: of the proposal; by default 1 / alpha, as in the paper.
      stop_strings: each ends a text, as do the model's own end-of-text tokens.
      rows: texts at a time at most.
      description: shows a progress bar with this text.

    Raises:
      InputError: a number is out of range, a prompt is empty or leaves no room for
        ``max_new_tokens`` in the context, or the texts do not fit into memory.
    """
    if min(block, max_new_tokens) < 1 or num_steps < 0:
        raise InputError(
            f"block is {block}, max_new_tokens {max_new_tokens}, num_steps {num_steps}: expected "
            "at least 1, 1 and 0"
        )
    if not alpha > 0 or (temperature is not None and not temperature > 0):
        raise InputError(f"alpha is {alpha}, temperature {temperature}: expected more than 0")
    tokenizer, mesh = model.tokenizer, mesh_of(model.params)
    encoded = encode_prompts(tokenizer, prompts, model.cfg.max_position_embeddings, max_new_tokens)
    width, size = padded(max(map(len, encoded)), 32), round_to_mesh(min(rows, len(encoded)), mesh)
    check_decoding(
        model.cfg,
        rows=size,
        total=len(encoded),
        prompt_tokens=width,
        new_tokens=max_new_tokens,
        dtype=arithmetic(model.params)["cache"],
        mesh=mesh,
    )
    stop = compile_stop(tokenizer, stop_strings, model.eos_ids)
    fold_in = jax.jit(jax.vmap(jax.random.fold_in, (None, 0)))

    def draw(chosen: np.ndarray) -> Chains:
        prompt = pad_left([encoded[g] for g in chosen], tokenizer.pad_token_id, multiple=width)
        prompt, chosen = shard_batch((prompt, chosen), mesh)
        return power_chains(
            model.params,
            fold_in(key, chosen),
            prompt,
            stop,
            cfg=model.cfg,
            alpha=alpha,
            proposal=Sampler(1 / alpha if temperature is None else temperature),
            block=block,
            num_steps=num_steps,
            max_new_tokens=max_new_tokens,
        )

    batches = progress_bar(
        map_rows(draw, np.arange(len(encoded)), size),
        total=-(-len(encoded) // size),
        description=description,
        unit="batch",
    )
    chains = jax.tree.map(lambda *parts: np.concatenate(parts), *(found for _, found in batches))
    mask = np.arange(max_new_tokens) < chains.length[:, None]
    return PowerTexts(
        texts=decode(tokenizer, chains.tokens, mask, stop_strings),
        logprobs=chains.logprob,
        num_tokens=chains.length,
        num_drawn=chains.num_drawn,
        accepted=chains.num_accepted / max(1, num_steps * -(-max_new_tokens // block)),
    )
