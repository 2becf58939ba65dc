"""Training a reward model: packed examples with a target at every step end, the loss, and early
stopping.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from safetensors.numpy import load_file, save_file
from transformers import PreTrainedTokenizerBase

from jaxreason.hosts import is_first, wait_for_all
from jaxreason.mesh import gather, mesh_of, shard_params
from jaxreason.models.decoder import DecoderConfig, Params
from jaxreason.models.heads import reward_logits
from jaxreason.models.tokens import encode_prompts, token_bytes
from jaxreason.rewards.step_labels import LabelledChain, RewardKind, step_ends, step_targets
from jaxreason.training.loop import TrainState, fit
from jaxreason.training.sft import Document, pack


class LabelledTokens(NamedTuple):
    """A tokenised prompt and chain; ``targets`` is NaN except where a step ends."""

    tokens: np.ndarray  # [T] int32
    targets: np.ndarray  # [T] float32
    judged: np.ndarray  # [T] bool, False on the prompt


class StepBatch(NamedTuple):
    """Examples packed end to end, as in ``sft.Batch``."""

    tokens: jax.Array  # [B, T] int32
    positions: jax.Array  # [B, T] int32
    segment_ids: jax.Array  # [B, T] int32, 0 is padding
    targets: jax.Array  # [B, T] float32
    weights: jax.Array  # [B, T] float32, 1 where a target counts
    judged: jax.Array  # [B, T] bool


def examples(
    tokenizer: PreTrainedTokenizerBase, chains: Sequence[LabelledChain], kind: RewardKind, **options
) -> list[LabelledTokens]:
    """Tokens and targets of labelled chains; options as in :func:`step_targets`."""
    pieces = token_bytes(tokenizer)
    heads = encode_prompts(tokenizer, [chain.prompt for chain in chains], 2**31)
    tails = tokenizer([chain.text for chain in chains], add_special_tokens=False).input_ids
    made = []
    for chain, head, tail in zip(chains, heads, tails, strict=True):
        targets = np.full(len(head) + len(tail), np.nan, np.float32)
        targets[len(head) + np.array(step_ends(tail, pieces))] = step_targets(
            chain, kind, **options
        )
        made.append(
            LabelledTokens(
                np.concatenate([head, np.int32(tail)]),
                targets,
                np.arange(len(targets)) >= len(head),
            )
        )
    return made


def pack_examples(
    found: Iterable[LabelledTokens], rows: int, length: int, pad_id: int
) -> StepBatch:
    """First-fit packing of the examples that fit, as ``sft.pack``."""
    found = list(found)

    def lay(values: list[np.ndarray]):
        return pack(
            [Document(e.tokens, x) for e, x in zip(found, values, strict=True)],
            rows,
            length,
            pad_id,
        )

    counted = lay([~np.isnan(e.targets) for e in found])
    targets, judged = lay([np.nan_to_num(e.targets) for e in found]), lay([e.judged for e in found])
    return StepBatch(
        counted.tokens,
        counted.positions,
        counted.segment_ids,
        targets.weights,
        counted.weights,
        judged.weights > 0,
    )


def reward_loss(
    params: Params, batch: StepBatch, *, cfg: DecoderConfig
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Binary cross-entropy over labelled steps, in nats (Wang et al. 2024, eq. 2; of an ORM eq. 1).
    """
    logits = reward_logits(
        params, batch.tokens, batch.positions, batch.judged, cfg=cfg, segment_ids=batch.segment_ids
    )
    each = optax.sigmoid_binary_cross_entropy(logits, batch.targets)
    loss = (each * batch.weights).sum() / jnp.maximum(batch.weights.sum(), 1.0)
    return loss, {"loss": loss}


def fit_early_stopping(
    state: TrainState,
    update: Callable,
    batch_fn: Callable[[int], Any],
    held_out_loss: Callable[[Params], float],
    directory: str | Path,
    *,
    max_steps: int,
    every: int,
    patience: int = 2,
    description: str = "train",
) -> tuple[Params, list[float]]:
    """``train.fit``, and the parameters at the lowest held-out loss.

    The loss is taken every ``every`` steps; training ends when ``patience`` of them in a row
    brought no new low. Resumes from ``directory``, where it also keeps the best parameters.

    Returns:
      the best parameters, and the held-out losses.
    """
    directory = Path(directory)
    record, best = directory / "held_out.json", directory / "best.safetensors"
    losses: list[float] = json.loads(record.read_text()) if record.exists() else []
    (leaves, structure), mesh = jax.tree.flatten(state.params), mesh_of(state.params)
    while (
        len(losses) * every < max_steps and len(losses) - int(np.argmin(losses or [0])) <= patience
    ):
        target = min(max_steps, (len(losses) + 1) * every)
        state = fit(
            state,
            update,
            batch_fn,
            target,
            directory / "state",
            save_every=every,
            description=description,
        )
        losses.append(float(held_out_loss(state.params)))
        if losses[-1] == min(losses):
            kept = {str(i): x for i, x in enumerate(gather(jax.tree.leaves(state.params)))}
            if is_first():
                save_file(kept, best)
        if is_first():
            written = record.with_suffix(
                ".new"
            )  # a kill leaves the old file or the new one, and no half
            written.write_text(json.dumps(losses))
            written.replace(record)
    wait_for_all("held_out")
    found = load_file(best)
    params = jax.tree.unflatten(structure, [jnp.asarray(found[str(i)]) for i in range(len(leaves))])
    return shard_params(params, mesh), losses
