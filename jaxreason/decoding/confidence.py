"""How sure a model was at each token of texts that it wrote."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.decoding.logprobs import completion_states
from jaxreason.models.decoder import DecoderConfig, Params, output_head
from jaxreason.models.hf import LanguageModel
from jaxreason.models.tokens import Prompt, encode_prompts, pad_left
from jaxreason.progress import progress_bar

PROMPTS = 8  # read at a time


class Confidence(NamedTuple):
    """N texts of each of G prompts, of at most T tokens."""

    # [G, N, T] float32 in nats: minus the mean log p of the k likeliest tokens (Fu et al. 2025,
    # "Deep Think with Confidence", section 3.1)
    top_k: np.ndarray
    # [G, N, T] float32 in nats: KL(uniform || model) (Kang et al. 2025, "Scalable Best-of-N
    # Selection for Large Language Models via Self-Certainty")
    self_certainty: np.ndarray
    mask: np.ndarray  # [G, N, T] bool, the tokens of the texts, and the end of text


def text_confidence(
    model: LanguageModel,
    prompts: Sequence[str],
    texts: Sequence[Sequence[str]],
    *,
    k: int = 20,
    chunk: int = 1024,
    description: str | None = None,
) -> Confidence:
    """The confidence of every token of texts, read again in one pass, with the end of text behind.

    A tokenizer that splits a text otherwise than the model wrote it makes this an approximation.

    Args:
      model: which wrote the texts.
      prompts: G texts.
      texts: N of each prompt.
      k: likeliest tokens that count; at most as many as the vocabulary has.
      chunk: tokens whose logits exist at a time.
      description: shows a progress bar with this text.

    Raises:
      InputError: a prompt is empty or longer than the context.
    """
    tokenizer = model.tokenizer
    encoded = encode_prompts(tokenizer, prompts, model.cfg.max_position_embeddings)
    width = -(-max(map(len, encoded)) // 32) * 32
    flat = [text + tokenizer.eos_token for row in texts for text in row]
    ids = tokenizer(flat, add_special_tokens=False).input_ids
    longest = -(-max(map(len, ids)) // 32) * 32
    shape = len(prompts), len(texts[0]), longest
    tokens = np.full((len(ids), longest), tokenizer.pad_token_id, np.int32)
    mask = np.zeros(tokens.shape, bool)
    for row, of_text in enumerate(ids):
        tokens[row, : len(of_text)], mask[row, : len(of_text)] = of_text, True
    tokens, mask = tokens.reshape(shape), mask.reshape(shape)

    top_k, self_certainty = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    starts = progress_bar(
        range(0, len(prompts), PROMPTS), description=description, unit=f"{PROMPTS} prompts"
    )
    for start in starts:
        rows = np.arange(start, start + PROMPTS) % len(prompts)  # always as many: one program
        prompt = pad_left([encoded[g] for g in rows], tokenizer.pad_token_id, multiple=width)
        found = _confidence(
            model.params,
            prompt,
            tokens[rows],
            cfg=model.cfg,
            k=min(k, model.cfg.vocab_size),
            chunk=chunk,
        )
        top_k[rows], self_certainty[rows] = found
    return Confidence(top_k=top_k, self_certainty=self_certainty, mask=mask)


@functools.partial(jax.jit, static_argnames=("cfg", "k", "chunk"))
def _confidence(
    params: Params, prompt: Prompt, tokens: jax.Array, *, cfg: DecoderConfig, k: int, chunk: int
) -> tuple[jax.Array, jax.Array]:
    """Both measures ``[B, N, T]``, of the states before each token."""
    states = completion_states(params, prompt, tokens, cfg=cfg)
    head = output_head(params)

    def of_state(state: jax.Array) -> tuple[jax.Array, jax.Array]:
        logprobs = jax.nn.log_softmax(head(state))
        certainty = -logprobs.mean() - jnp.log(len(logprobs))
        return -jax.lax.top_k(logprobs, k)[0].mean(), certainty

    flat = states.reshape(-1, states.shape[-1])
    found = jax.lax.map(of_state, flat, batch_size=chunk)
    return jax.tree.map(lambda x: x.reshape(tokens.shape), found)
