"""Reward models: a verifier of every step (PRM) or of the whole solution (ORM): its loss, its
training, its scores, its files.
"""

import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from jaxreason.errors import InputError, one_line
from jaxreason.mesh import gather, mesh_of, num_row_parts, shard_batch, shard_params
from jaxreason.models.decoder import DecoderConfig, Params, branch_states
from jaxreason.models.heads import init_verifier_head, judge_states
from jaxreason.models.hf import LanguageModel, load_model, save_model
from jaxreason.models.names import find_reward_model
from jaxreason.models.tokens import Prompt, encode_prompts, pad_left, token_bytes
from jaxreason.models.weights import digest, read_json
from jaxreason.rewards.step_labels import RewardKind, split_steps, step_ends

AGGREGATIONS = ("min", "prod", "last", "mean")


class RewardModel(NamedTuple):
    """A decoder with a scalar head."""

    params: Params  # {"backbone", "head"}
    cfg: DecoderConfig
    tokenizer: PreTrainedTokenizerBase
    name: str
    kind: RewardKind
    sha256: str = ""  # of the files of backbone and head


def from_policy(policy: LanguageModel, kind: RewardKind) -> RewardModel:
    """An untrained reward model on a copy of the policy's weights."""
    backbone = jax.tree.map(jnp.array, policy.params)
    head = shard_params(init_verifier_head(policy.cfg.hidden_size), mesh_of(policy.params))
    params = {"backbone": backbone, "head": head}
    return RewardModel(params, policy.cfg, policy.tokenizer, f"{policy.name}-{kind}", kind)


# ---- scores
# --------------------------------------------------------------------------------------------------


def step_scores(
    reward: RewardModel,
    prompts: Sequence[str],
    texts: Sequence[Sequence[str]],
    *,
    rows: int = 256,
    description: str | None = None,
) -> np.ndarray:
    """The probability that each step is right, float32 ``[G, N, S]``, NaN behind the last step of a
    chain.

    Prompts are read once for up to 16 chains, and chains that a prompt has twice once.

    Args:
      prompts: G; texts: N of each, any number of lines, whether or not the last one ends with a
        newline.
      rows: chains at a time.

    Raises:
      InputError: a prompt and a chain are longer than the context of the reward model.
    """
    pieces, tokenizer = token_bytes(reward.tokenizer), reward.tokenizer
    heads = encode_prompts(tokenizer, prompts, reward.cfg.max_position_embeddings)
    different = [list(dict.fromkeys("".join(split_steps(text)) for text in row)) for row in texts]
    flat = [(g, text) for g, row in enumerate(different) for text in row if text]
    ids = (
        dict(
            zip(
                flat,
                tokenizer([t for _, t in flat], add_special_tokens=False).input_ids,
                strict=True,
            )
        )
        if flat
        else {}
    )
    width = min(16, max(4, 1 << (max(map(len, different), default=1) - 1).bit_length()))
    items = []  # prompt, up to `width` texts of similar length
    for g, row in enumerate(different):
        row = sorted((t for t in row if t), key=lambda t: len(ids[g, t]))
        items += [(g, row[i : i + width]) for i in range(0, len(row), width)]
    items.sort(key=lambda item: (len(ids[item[0], item[1][-1]]), len(heads[item[0]])))
    scores: dict[tuple[int, str], np.ndarray] = {}
    # Sizes are rounded up, so that few shapes are compiled: one takes longer than to score a
    # thousand chains of tiny's.
    size = max(1, rows // width)
    if len(items) <= size // 8:
        size //= 8
    mesh = mesh_of(reward.params)
    size = -(-size // num_row_parts(mesh)) * num_row_parts(mesh)
    for start in tqdm(
        range(0, len(items), size), desc=description, unit="batch", disable=description is None
    ):
        chosen = items[start : start + size]
        padded = chosen + chosen[:1] * (size - len(chosen))
        prompt = pad_left([heads[g] for g, _ in padded], tokenizer.pad_token_id, multiple=64)
        longest = max(len(ids[g, row[-1]]) for g, row in chosen)
        together = max(len(heads[g]) + len(ids[g, row[-1]]) for g, row in chosen)
        if together > reward.cfg.max_position_embeddings:
            raise InputError(
                f"a prompt and its chain have {together} tokens, and the context of {reward.name} "
                f"{reward.cfg.max_position_embeddings}: score shorter chains"
            )
        tokens = np.full(
            (len(padded) * width, -(-longest // 64) * 64), tokenizer.pad_token_id, np.int32
        )
        for i, (g, row) in enumerate(padded):
            for n, text in enumerate(row):
                tokens[i * width + n, : len(ids[g, text])] = ids[g, text]
        prompt, tokens = shard_batch((prompt, tokens), mesh)
        probabilities = gather(_score(reward.params, prompt, tokens, cfg=reward.cfg))
        for i, (g, row) in enumerate(chosen):
            for n, text in enumerate(row):
                scores[g, text] = probabilities[i * width + n, step_ends(ids[g, text], pieces)]
    longest = max((len(s) for s in scores.values()), default=1)
    found = np.full((len(texts), max(map(len, texts), default=0), longest), np.nan, np.float32)
    for g, row in enumerate(texts):
        for n, text in enumerate(row):
            if (steps := "".join(split_steps(text))) and (g, steps) in scores:
                found[g, n, : len(scores[g, steps])] = scores[g, steps]
    return found


@functools.partial(jax.jit, static_argnames="cfg")
def _score(params: Params, prompt: Prompt, tokens: jax.Array, *, cfg: DecoderConfig) -> jax.Array:
    """Probability at every token of ``tokens [b * N, T]``, N continuations of each of the b
    prompts.
    """
    of_prompt, states = branch_states(
        params["backbone"], prompt.tokens, prompt.mask, tokens, cfg=cfg
    )
    before = jnp.repeat(of_prompt[:, -1], len(tokens) // len(prompt.tokens), axis=0)
    logits = judge_states(
        params, states, before, tokens, jnp.ones_like(tokens, bool), jnp.ones_like(tokens)
    )
    return jax.nn.sigmoid(logits)


def aggregate(scores: np.ndarray, how: str) -> np.ndarray:
    """One score for each chain ``[...]`` from the scores of its steps.

    Args:
      scores: ``[..., S]``, NaN behind the last step; a chain of no steps scores 0.
      how: "min", "prod", "mean" or "last".

    Lightman et al. 2023 take the product, the chance that all steps are right; Wang et al. 2024 the
    minimum.

    Raises:
      InputError: an unknown aggregation.
    """
    if how not in AGGREGATIONS:
        raise InputError(f"aggregation {how!r}: expected one of {', '.join(AGGREGATIONS)}")
    real = ~np.isnan(scores)
    count = real.sum(-1)
    if how == "min":
        found = np.where(real, scores, np.inf).min(-1)
    elif how == "prod":
        found = np.where(real, scores, 1.0).prod(-1)
    elif how == "mean":
        found = np.where(real, scores, 0.0).sum(-1) / np.maximum(count, 1)
    else:
        found = np.take_along_axis(scores, np.maximum(count - 1, 0)[..., None], -1)[..., 0]
    return np.where(count > 0, found, 0.0).astype(np.float32)


def first_error(scores: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Index ``[...]`` of the first step whose score is below the threshold, -1 if there is none.

    Args:
      scores: ``[..., S]``, NaN behind the last step.
      threshold: between 0 and 1.
    """
    below = scores < threshold  # NaN is not
    return np.where(below.any(-1), below.argmax(-1), -1)


# ---- files
# ---------------------------------------------------------------------------------------------------


def save_reward_model(directory: str | Path, reward: RewardModel) -> None:
    """Writes ``reward_model.json``, ``head.safetensors`` and the backbone, an ordinary model
    directory in ``backbone/``.
    """
    directory = Path(directory)
    save_model(directory / "backbone", reward.params["backbone"], reward.cfg, reward.tokenizer)
    save_file(
        {name: np.asarray(x) for name, x in reward.params["head"].items()},
        directory / "head.safetensors",
    )
    (directory / "reward_model.json").write_text(
        json.dumps({"kind": reward.kind, "step": "line"}, indent=1) + "\n"
    )


def load_reward_model(
    name: str | Path, policy: LanguageModel | None = None, mesh: Mesh | None = None
) -> RewardModel:
    """Loads a shipped reward model (``tiny-prm``, ``tiny-orm``) or a directory of
    :func:`save_reward_model`.

    Args:
      name: what to load.
      policy: whose chains it is to score; given, :func:`check_matches` is asked.
      mesh: devices to spread it over; None is where the policy lies, if given.

    Raises:
      InputError: not found, damaged, or not made for the policy.
    """
    directory = find_reward_model(os.fspath(name))
    path = directory / "reward_model.json"
    if (kind := read_json(path).get("kind")) not in ("prm", "orm"):
        raise InputError(f"{str(path)!r}: kind is {kind!r}: expected 'prm' or 'orm'")
    mesh = mesh_of(policy.params) if mesh is None and policy is not None else mesh
    backbone = load_model(str(directory / "backbone"), mesh=mesh)
    file = directory / "head.safetensors"
    try:
        head = {name: jnp.asarray(x) for name, x in load_file(file).items()}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{str(file)!r} is missing or damaged ({one_line(error)})") from error
    shapes = {name: x.shape for name, x in head.items()}
    expected = {name: x.shape for name, x in init_verifier_head(backbone.cfg.hidden_size).items()}
    if shapes != expected:
        raise InputError(
            f"{str(file)!r} holds {shapes}: expected {expected}, for a backbone of width {backbone.cfg.hidden_size}"
        )
    sha256 = digest([directory / "backbone" / "model.safetensors", file])
    reward = RewardModel(
        {"backbone": backbone.params, "head": shard_params(head, mesh)},
        backbone.cfg,
        backbone.tokenizer,
        name,
        kind,
        sha256,
    )
    if policy is not None:
        check_matches(reward, policy)
    return reward


def check_matches(reward: RewardModel, policy: LanguageModel) -> None:
    """That a reward model was made from this kind of policy.

    Raises:
      InputError: another tokenizer or another width; the message names both.
    """
    if reward.tokenizer.get_vocab() != policy.tokenizer.get_vocab():
        raise InputError(
            f"reward model {reward.name} has another tokenizer than {policy.name} ({len(reward.tokenizer)} and "
            f"{len(policy.tokenizer)} tokens): expected one trained from this policy"
        )
    if reward.cfg.hidden_size != policy.cfg.hidden_size:
        raise InputError(
            f"reward model {reward.name} has width {reward.cfg.hidden_size}, and {policy.name} {policy.cfg.hidden_size}: "
            "expected one trained from this policy"
        )
