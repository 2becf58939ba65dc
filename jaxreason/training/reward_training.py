"""Training a reward model on labelled chains.

In the order of the data: :func:`examples` tokenises chains and puts a target at the end of every
step, :func:`pack_examples` lays them into rows, :func:`reward_loss` compares the model's scores
with the targets, and :func:`fit_early_stopping` trains until the held-out loss stops falling.
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
from jaxreason.training.sft import Batch, Document, pack


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
    judged: jax.Array  # [B, T] bool, True on the chains


def examples(
    tokenizer: PreTrainedTokenizerBase, chains: Sequence[LabelledChain], kind: RewardKind, **options
) -> list[LabelledTokens]:
    """Tokens and targets of labelled chains, one example each.

    Args:
      tokenizer: of the model.
      chains: from ``step_labels.monte_carlo_labels`` or ``step_labels.label_steps``.
      kind, options: as in ``step_labels.step_targets``.
    """
    pieces = token_bytes(tokenizer)
    heads = encode_prompts(tokenizer, [chain.prompt for chain in chains], 2**31)
    tails = tokenizer([chain.text for chain in chains], add_special_tokens=False).input_ids
    made = []
    for chain, head, tail in zip(chains, heads, tails, strict=True):
        tokens = np.concatenate([head, np.int32(tail)])
        targets = np.full(len(tokens), np.nan, np.float32)
        ends = len(head) + np.array(step_ends(tail, pieces))
        targets[ends] = step_targets(chain, kind, **options)
        judged = np.arange(len(tokens)) >= len(head)
        made.append(LabelledTokens(tokens, targets, judged))
    return made


def pack_examples(
    found: Iterable[LabelledTokens], rows: int, length: int, pad_id: int
) -> StepBatch:
    """First-fit packing of the examples that fit, as ``sft.pack``.

    Args:
      found: from :func:`examples`.
      rows, length: B and T.
      pad_id: the token of padding.
    """
    found = list(found)

    def lay(values: list[np.ndarray]) -> Batch:
        """The examples with these numbers, one a token, in the place of their weights."""
        documents = [Document(e.tokens, x) for e, x in zip(found, values, strict=True)]
        return pack(documents, rows, length, pad_id)

    counted = lay([~np.isnan(e.targets) for e in found])
    targets = lay([np.nan_to_num(e.targets) for e in found])
    judged = lay([e.judged for e in found])
    return StepBatch(
        tokens=counted.tokens,
        positions=counted.positions,
        segment_ids=counted.segment_ids,
        targets=targets.weights,
        weights=counted.weights,
        judged=judged.weights > 0,
    )


def reward_loss(
    params: Params, batch: StepBatch, *, cfg: DecoderConfig
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Binary cross-entropy, in nats: the mean over labelled steps ``[]``, and the metric "loss".

    Wang et al. 2024, equation 2; of an ORM equation 1.
    """
    logits = reward_logits(
        params, batch.tokens, batch.positions, batch.judged, cfg=cfg, segment_ids=batch.segment_ids
    )
    each = optax.sigmoid_binary_cross_entropy(logits, batch.targets)
    loss = (each * batch.weights).sum() / jnp.maximum(batch.weights.sum(), 1.0)
    return loss, {"loss": loss}


class EarlyStopped(NamedTuple):
    """What :func:`fit_early_stopping` found."""

    params: Params  # at the lowest held-out loss, the last of equals
    losses: list[float]  # held out, one for every ``every`` steps


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
) -> EarlyStopped:
    """``loop.fit`` until the held-out loss stops falling, and the parameters where it was lowest.

    Interrupted and run again, it goes on from ``directory``, where the losses and the best
    parameters lie too.

    Args:
      state, update, batch_fn, directory, description: as in ``loop.fit``.
      held_out_loss: ``(params) -> loss``.
      max_steps: training ends here at the latest.
      every: steps between two held-out losses.
      patience: training ends when so many of them in a row brought no new low.
    """
    directory = Path(directory)
    record, best = directory / "held_out.json", directory / "best.safetensors"
    losses: list[float] = json.loads(record.read_text()) if record.exists() else []
    structure, mesh = jax.tree.structure(state.params), mesh_of(state.params)
    while len(losses) * every < max_steps and _since_lowest(losses) <= patience:
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
            _write_whole(record, json.dumps(losses))
    wait_for_all("held_out")
    found = load_file(best)
    leaves = [jnp.asarray(found[str(i)]) for i in range(structure.num_leaves)]
    params = jax.tree.unflatten(structure, leaves)
    return EarlyStopped(shard_params(params, mesh), losses)


def _since_lowest(losses: list[float]) -> int:
    """How many losses there are from the lowest on, the first of equals; 0 of none."""
    return len(losses) - int(np.argmin(losses)) if losses else 0


def _write_whole(path: Path, text: str) -> None:
    """A kill leaves the old file or the new one, and no half."""
    written = path.with_suffix(".new")
    written.write_text(text)
    written.replace(path)
