r"""Distillation: a student learns from a teacher.

1. From its *texts* (sequence-level distillation, Kim & Rush 2016; of reasoning, Ho et al. 2023,
   DeepSeek-AI 2025 section 2.4): sample chains, keep the right ones (:func:`filter_traces`),
   fine-tune on them (``sft.encode_pairs``, ``sft.sft_loss``).
2. From its *distributions* on its own texts (Hinton et al. 2015, section 2; :func:`kd_loss`): with
   $p^T = \mathrm{softmax}(z / T)$,

   $$L = \alpha T^2\, \mathrm{KL}(p^T_{teacher} \| p^T_{student})
       - (1 - \alpha) \log p_{student}(\text{token}),$$

   a mean over the tokens of completions. $T^2$ keeps the gradient's size, which falls as $1/T^2$.
3. *On-policy*, from its distributions on the student's texts (Agarwal et al. 2024, GKD, algorithm
   1; Gu et al. 2024, MiniLLM; Lu et al. 2025, Thinking Machines): the student writes, and
   $\mathrm{KL}(p_{student} \| p_{teacher})$ is taken at each of its tokens
   (:func:`on_policy_loss`), so that it learns in the states it gets into.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from transformers import PreTrainedTokenizerBase

from jaxreason.answers.verify import Gold, is_correct
from jaxreason.decoding import prompts as templates
from jaxreason.decoding.completions import Completions
from jaxreason.decoding.logprobs import completion_states
from jaxreason.errors import InputError
from jaxreason.models.decoder import DecoderConfig, Params, hidden_states, output_head
from jaxreason.models.hf import LanguageModel
from jaxreason.models.tokens import Prompt
from jaxreason.training.sft import Batch, Document, pack

Divergence = Literal["forward", "reverse"]


# ---- texts


class Trace(NamedTuple):
    """An example: what is asked, and what is to be written."""

    prompt: str
    completion: str


class Filtered(NamedTuple):
    """Traces that are kept, and how many each filter removed of those that the filters before it
    had left.
    """

    traces: list[Trace]
    removed: dict[str, int]  # "unfinished", "wrong", "too long", "duplicate", "surplus"


def filter_traces(
    prompts: Sequence[str],
    completions: Completions,
    golds: Sequence[Gold],
    *,
    max_tokens: int | None = None,
    max_per_prompt: int | None = None,
) -> Filtered:
    """Rejection sampling: of N chains for each of G prompts those that are worth imitating,
    *before* anything is trained on them.

    In turn it removes chains that never ended; whose final answer is wrong; that are longer than
    ``max_tokens``; that occur already for their prompt (a duplicate adds weight and nothing else);
    and, of a prompt with more than ``max_per_prompt`` left, the later ones, so that easy problems
    do not crowd out hard ones (Yuan et al. 2023, RFT, section 3.3). A right answer behind a wrong
    step passes.

    Args:
      prompts: G of them.
      completions: of N chains for each.
      golds: G, as for ``verify.grade``.
      max_tokens, max_per_prompt: None is no limit.

    Raises:
      InputError: the numbers of prompts, completions and golds differ, or a limit is below 1.
    """
    if not len(prompts) == len(completions.texts) == len(golds):
        raise InputError(
            f"{len(prompts)} prompts, {len(completions.texts)} groups of completions and "
            f"{len(golds)} answers: expected as many of each"
        )
    for name, limit in (("max_tokens", max_tokens), ("max_per_prompt", max_per_prompt)):
        if limit is not None and limit < 1:
            raise InputError(f"{name} is {limit}: expected at least 1, or None for no limit")
    kept: list[Trace] = []
    removed = dict.fromkeys(("unfinished", "wrong", "too long", "duplicate", "surplus"), 0)
    for g, (prompt, gold) in enumerate(zip(prompts, golds, strict=True)):
        seen: set[str] = set()
        for n, text in enumerate(completions.texts[g]):
            if not completions.finished[g, n]:
                removed["unfinished"] += 1
            elif not is_correct(text, gold):
                removed["wrong"] += 1
            elif max_tokens is not None and completions.num_tokens[g, n] > max_tokens:
                removed["too long"] += 1
            elif text in seen:
                removed["duplicate"] += 1
            elif max_per_prompt is not None and len(seen) >= max_per_prompt:
                removed["surplus"] += 1
            else:
                seen.add(text)
                kept.append(Trace(prompt, text))
    return Filtered(kept, removed)


def answer_traces(
    questions: Sequence[str],
    answers: Sequence[int | str],
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> list[Trace]:
    """Behaviour cloning of answers alone: the direct prompt and what it asks for.

    No reasoning is shown. With a tokenizer, prompts take its chat template.
    """
    traces = []
    for question, answer in zip(questions, answers, strict=True):
        prompt = templates.direct(question, tokenizer)
        said = templates.direct_answer(answer, tokenizer)
        traces.append(Trace(prompt, said.removeprefix(templates.opening(prompt))))
    return traces


def trace_batches(
    documents: Sequence[Document], rows: int, length: int, pad_id: int, seed: int = 0
) -> Callable[[int], Batch]:
    """``batch_fn(step)`` for ``loop.fit``: documents drawn without replacement, packed.

    A batch is a function of the step alone.

    Args:
      documents: from ``sft.encode_pairs``.
      rows, length: B and T of a batch.
      pad_id: the token of padding.
      seed: of the draws.

    Raises:
      InputError: there are no documents, or one is longer than a row, which ``sft.pack`` would pass
        over.
    """
    longest = max((len(document.tokens) for document in documents), default=0)
    if not 0 < longest <= length:
        raise InputError(
            f"{len(documents)} examples, the longest of {longest} tokens: expected some, of at "
            f"most {length} each"
        )

    def batch_fn(step: int) -> Batch:
        order = np.random.default_rng([seed, step]).permutation(len(documents))
        return pack((documents[i] for i in order), rows, length, pad_id)

    return batch_fn


# ---- distributions


def shared_vocabulary(student: LanguageModel, teacher: LanguageModel) -> int:
    """How many token ids mean the same to both: the ``vocab_size`` of the losses below.

    Embeddings of one family may be padded to different sizes (Qwen2.5 0.5B and 7B); ids beyond the
    smaller one stand for nothing.

    Raises:
      InputError: the tokenizers differ, so that token 17 of one is not token 17 of the other.
    """
    ours, theirs = student.tokenizer.get_vocab(), teacher.tokenizer.get_vocab()
    if ours != theirs:
        differing = len(ours.items() ^ theirs.items())
        raise InputError(
            f"student {student.name!r} ({len(ours)} tokens) and teacher {teacher.name!r} "
            f"({len(theirs)}) differ in {differing} entries of their vocabularies: expected one "
            "tokenizer; distil through texts instead (filter_traces, sft.encode_pairs)"
        )
    return min(student.cfg.vocab_size, teacher.cfg.vocab_size)


def divergence(
    student: jax.Array,
    teacher: jax.Array,
    *,
    kind: Divergence = "forward",
    temperature: float = 1.0,
) -> jax.Array:
    """KL between the next-token distributions of logits ``[..., V]`` -> ``[...]``, in nats, both at
    the temperature.

    "forward" is KL(teacher || student): the student must cover all that the teacher might say.
    "reverse" is KL(student || teacher): it must say nothing that the teacher would not, and may
    settle on one of several ways.
    """
    chex.assert_equal_shape([student, teacher])
    s = jax.nn.log_softmax(student.astype(jnp.float32) / temperature)
    t = jax.nn.log_softmax(teacher.astype(jnp.float32) / temperature)
    p, q = (t, s) if kind == "forward" else (s, t)
    return (jnp.exp(p) * (p - q)).sum(-1)


def kd_loss(
    params: Params,
    batch: Batch,
    teacher_params: Params,
    *,
    cfg: DecoderConfig,
    teacher_cfg: DecoderConfig,
    temperature: float = 1.0,
    alpha: float = 0.5,
    kind: Divergence = "forward",
    vocab_size: int | None = None,
    chunk: int = 1024,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of item 2 in the head of this module, on packed texts: a weighted mean over
    completion tokens.

    A mean over *tokens*: dividing a sum by the batch size ("batchmean"), which is 1 for one text,
    would let the loss grow with its length.

    Args:
      params, cfg: of the student.
      batch: from ``sft.pack``; the weights are those of ``sft.sft_loss``, 0 on prompts.
      teacher_params, teacher_cfg: frozen.
      temperature: T, of both distributions; 1 leaves them as they are.
      alpha: 0 is fine-tuning on the texts alone, 1 the teacher's distributions alone.
      kind: of :func:`divergence`.
      vocab_size: from :func:`shared_vocabulary`; None where both configs have the same.
      chunk: tokens whose logits are formed at a time; ``[B, T, V]`` of two models never exist.

    Returns:
      The loss ``[]``, and the metrics "loss", "kl" and "nll", in nats a token.

    Raises:
      InputError: the vocabularies differ in size, or temperature or alpha is out of its range.
    """
    vocab_size = _check(cfg, teacher_cfg, vocab_size, kind, temperature, alpha)

    def states_of(params: Params, cfg: DecoderConfig) -> jax.Array:
        """Before every token but the first, ``[B, T - 1, E]``."""
        states, _ = hidden_states(
            params, batch.tokens, batch.positions, cfg=cfg, segment_ids=batch.segment_ids
        )
        return states[:, :-1]

    kl, nll = _by_token(
        params,
        teacher_params,
        states_of(params, cfg),
        states_of(teacher_params, teacher_cfg),
        batch.tokens[:, 1:],
        kind=kind,
        temperature=temperature,
        vocab_size=vocab_size,
        chunk=chunk,
    )
    weights = batch.weights[:, 1:] * (batch.positions[:, 1:] > 0)
    total = jnp.where(weights.sum() > 0, weights.sum(), 1.0)
    kl, nll = (kl * weights).sum() / total, (nll * weights).sum() / total
    loss = alpha * temperature**2 * kl + (1 - alpha) * nll
    return loss, {"loss": loss, "kl": kl, "nll": nll}


class Samples(NamedTuple):
    """What the student wrote: N completions of each of B prompts, as in ``Rollout``."""

    prompt: Prompt  # [B, P]
    tokens: jax.Array  # [B, N, T] int32
    mask: jax.Array  # [B, N, T] bool


def on_policy_loss(
    params: Params,
    samples: Samples,
    teacher_params: Params,
    *,
    cfg: DecoderConfig,
    teacher_cfg: DecoderConfig,
    temperature: float = 1.0,
    kind: Divergence = "reverse",
    vocab_size: int | None = None,
    chunk: int = 1024,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The divergence from the teacher at the tokens that the student drew itself, a mean over them.

    The sum over the vocabulary is exact, so nothing is estimated but which states the student gets
    into; no gradient goes through the drawing (GKD, section 3.1). One drawn token's log-ratio in
    place of the sum is policy gradient with that as its reward, the same on average (Lu et al.
    2025). No answer is needed: a problem without a known answer teaches as well.

    Args:
      params, cfg: of the student.
      samples: what it wrote.
      teacher_params, teacher_cfg, temperature, vocab_size, chunk: as in :func:`kd_loss`.
      kind: of :func:`divergence`.

    Returns:
      The loss ``[]``, and the metrics "loss", "kl" and "entropy", of the student, in nats a token.

    Raises:
      InputError: as in :func:`kd_loss`.
    """
    vocab_size = _check(cfg, teacher_cfg, vocab_size, kind, temperature)
    chex.assert_equal_shape([samples.tokens, samples.mask])
    states = completion_states(params, samples.prompt, samples.tokens, cfg=cfg)
    of_teacher = completion_states(teacher_params, samples.prompt, samples.tokens, cfg=teacher_cfg)
    kl, nll = _by_token(
        params,
        teacher_params,
        states,
        of_teacher,
        samples.tokens,
        kind=kind,
        temperature=temperature,
        vocab_size=vocab_size,
        chunk=chunk,
    )
    count = jnp.maximum(samples.mask.sum(), 1)
    loss = jnp.where(samples.mask, kl, 0.0).sum() / count
    entropy = jnp.where(samples.mask, nll, 0.0).sum() / count
    return loss, {"loss": loss, "kl": loss, "entropy": entropy}


def _check(
    cfg: DecoderConfig,
    teacher_cfg: DecoderConfig,
    vocab_size: int | None,
    kind: str,
    temperature: float,
    alpha: float = 0.0,
) -> int:
    """Refuses what cannot be compared; returns the size of the vocabulary that both have."""
    student_size, teacher_size = cfg.vocab_size, teacher_cfg.vocab_size
    smaller = min(student_size, teacher_size)
    if vocab_size is None and student_size != teacher_size:
        raise InputError(
            f"vocab_size of the student is {student_size}, of the teacher {teacher_size}: expected "
            "the same vocabulary; pass vocab_size=shared_vocabulary(student, teacher), or distil "
            "through texts"
        )
    if vocab_size is not None and not 1 <= vocab_size <= smaller:
        raise InputError(
            f"vocab_size is {vocab_size}: expected 1 to {smaller}, the smaller of both models"
        )
    if not temperature > 0 or not 0 <= alpha <= 1:
        raise InputError(
            f"temperature is {temperature}, alpha {alpha}: expected temperature > 0 and alpha in "
            "0..1"
        )
    if kind not in ("forward", "reverse"):
        raise InputError(f"kind is {kind!r}: expected 'forward' or 'reverse'")
    return vocab_size or student_size


def _by_token(
    params: Params,
    teacher_params: Params,
    states: jax.Array,
    teacher_states: jax.Array,
    targets: jax.Array,
    *,
    kind: Divergence,
    temperature: float,
    vocab_size: int,
    chunk: int,
) -> tuple[jax.Array, jax.Array]:
    """Divergence and -log p(target) at every target ``[...]``, logits formed for a chunk at a time.

    The states ``[..., E]`` are those before the targets.
    """
    head = output_head(params, slice(vocab_size))
    teacher_head = output_head(teacher_params, slice(vocab_size))

    @jax.checkpoint
    def score(given: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        state, teacher_state, target = given
        logits = head(state)
        kl = divergence(logits, teacher_head(teacher_state), kind=kind, temperature=temperature)
        return kl, jax.nn.logsumexp(logits) - logits[target]

    flat = (
        states.reshape(-1, states.shape[-1]),
        teacher_states.reshape(-1, teacher_states.shape[-1]),
        targets.reshape(-1),
    )
    kl, nll = jax.lax.map(score, flat, batch_size=chunk)
    return kl.reshape(targets.shape), nll.reshape(targets.shape)
