"""Reward models: a verifier of every step (PRM) or of the whole solution (ORM); scores and files.

:mod:`jaxreason.training.reward_training` trains them.
"""

import functools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from transformers import PreTrainedTokenizerBase

from jaxreason.errors import InputError, one_line
from jaxreason.mesh import map_rows, mesh_of, round_to_mesh, shard_batch, shard_params
from jaxreason.models.decoder import DecoderConfig, Params, branch_states
from jaxreason.models.heads import init_verifier_head, judge_states
from jaxreason.models.hf import LanguageModel, load_model, save_model
from jaxreason.models.names import find_reward_model
from jaxreason.models.tokens import Prompt, encode_prompts, pad_left, token_bytes
from jaxreason.models.weights import digest, read_json
from jaxreason.progress import progress_bar
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
    return RewardModel(
        params={"backbone": backbone, "head": head},
        cfg=policy.cfg,
        tokenizer=policy.tokenizer,
        name=f"{policy.name}-{kind}",
        kind=kind,
    )


# ---- scores


class _Chain(NamedTuple):
    """What a reward model reads of a text."""

    prompt: int  # number of its prompt
    steps: str  # each ended by a newline
    ids: list[int]  # their tokens


def step_scores(
    reward: RewardModel,
    prompts: Sequence[str],
    texts: Sequence[Sequence[str]],
    *,
    rows: int = 256,
    description: str | None = None,
) -> np.ndarray:
    """The probability that each step is right.

    A prompt is read once for up to 16 chains, and chains that it has twice are read once.

    Args:
      reward: the reward model.
      prompts: G texts.
      texts: N of each prompt, of any number of lines; the last line may end with a newline or not.
      rows: chains at a time.
      description: shows a progress bar with this text.

    Returns:
      float32 ``[G, N, S]``, NaN behind the last step of a chain.

    Raises:
      InputError: a prompt is empty, or with a chain longer than the context.
    """
    tokenizer, mesh = reward.tokenizer, mesh_of(reward.params)
    heads = encode_prompts(tokenizer, prompts, reward.cfg.max_position_embeddings)
    steps = [["".join(split_steps(text)) for text in row] for row in texts]
    most = max((len(set(row)) for row in steps), default=1)
    width = min(16, max(4, _power_of_two(most)))
    bundles = _bundle(_different_chains(tokenizer, steps), width)
    bundles.sort(key=lambda bundle: (len(bundle[-1].ids), len(heads[bundle[-1].prompt])))
    _check_context(reward, heads, bundles)
    # Sizes are rounded up, so that few shapes are compiled: one takes longer than to score a
    # thousand chains of tiny's.
    size = max(1, rows // width)
    if len(bundles) <= size // 8:
        size = max(1, size // 8)
    size = round_to_mesh(size, mesh)

    def score(chosen: np.ndarray) -> jax.Array:  # [size, width, T]
        batch = [bundles[i] for i in chosen]
        prompt_ids = [heads[bundle[0].prompt] for bundle in batch]
        prompt = pad_left(prompt_ids, tokenizer.pad_token_id, multiple=64)
        tokens = _pad_bundles(batch, width, tokenizer.pad_token_id)
        return _score(reward.params, *shard_batch((prompt, tokens), mesh), cfg=reward.cfg)

    pieces = token_bytes(tokenizer)
    scores: dict[tuple[int, str], np.ndarray] = {}
    batches = progress_bar(
        map_rows(score, np.arange(len(bundles)), size),
        total=-(-len(bundles) // size),
        description=description,
        unit="batch",
    )
    for chosen, probabilities in batches:
        for i, of_bundle in zip(chosen, probabilities, strict=True):
            # The bundle fills the first of the rows.
            for chain, of_chain in zip(bundles[i], of_bundle, strict=False):
                ends = step_ends(chain.ids, pieces)
                scores[chain.prompt, chain.steps] = of_chain[ends]
    return _by_text(steps, scores)


def _power_of_two(number: int) -> int:
    """The least power of two that is not below the number; 2 for 0."""
    return 1 << (number - 1).bit_length()


def _different_chains(
    tokenizer: PreTrainedTokenizerBase, steps: Sequence[Sequence[str]]
) -> list[list[_Chain]]:
    """The chains of each prompt, one of each kind; those without a step are left out."""
    different = [[text for text in dict.fromkeys(row) if text] for row in steps]
    flat = [text for row in different for text in row]
    ids = iter(tokenizer(flat, add_special_tokens=False).input_ids if flat else [])
    return [[_Chain(g, text, next(ids)) for text in row] for g, row in enumerate(different)]


def _bundle(chains: Sequence[Sequence[_Chain]], width: int) -> list[list[_Chain]]:
    """Up to ``width`` chains of one prompt in each bundle, of similar length, the longest last."""
    bundles = []
    for row in chains:
        by_length = sorted(row, key=lambda chain: len(chain.ids))
        bundles += [by_length[i : i + width] for i in range(0, len(row), width)]
    return bundles


def _check_context(
    reward: RewardModel, heads: Sequence[np.ndarray], bundles: Sequence[Sequence[_Chain]]
) -> None:
    """That every chain fits into the context together with its prompt.

    Raises:
      InputError: one does not.
    """
    longest = [len(heads[bundle[-1].prompt]) + len(bundle[-1].ids) for bundle in bundles]
    if max(longest, default=0) > reward.cfg.max_position_embeddings:
        raise InputError(
            f"a prompt and its chain have {max(longest)} tokens, and the context of {reward.name} "
            f"{reward.cfg.max_position_embeddings}: score shorter chains"
        )


def _pad_bundles(bundles: Sequence[Sequence[_Chain]], width: int, pad_id: int) -> np.ndarray:
    """The tokens of b bundles, int32 ``[b * width, T]``, padded on the right."""
    longest = max(len(bundle[-1].ids) for bundle in bundles)
    tokens = np.full((len(bundles), width, -(-longest // 64) * 64), pad_id, np.int32)
    for i, bundle in enumerate(bundles):
        for n, chain in enumerate(bundle):
            tokens[i, n, : len(chain.ids)] = chain.ids
    return tokens.reshape(len(bundles) * width, -1)


def _by_text(
    steps: Sequence[Sequence[str]], scores: Mapping[tuple[int, str], np.ndarray]
) -> np.ndarray:
    """The scores of each text's steps, float32 ``[G, N, S]``, NaN behind the last."""
    most_texts = max(map(len, steps), default=0)
    most_steps = max(map(len, scores.values()), default=1)
    found = np.full((len(steps), most_texts, most_steps), np.nan, np.float32)
    for g, row in enumerate(steps):
        for n, text in enumerate(row):
            if text:
                found[g, n, : len(scores[g, text])] = scores[g, text]
    return found


@functools.partial(jax.jit, static_argnames="cfg")
def _score(params: Params, prompt: Prompt, tokens: jax.Array, *, cfg: DecoderConfig) -> jax.Array:
    """Probability at every token of N continuations ``[b * N, T]`` of b prompts: ``[b, N, T]``."""
    of_prompt, states = branch_states(
        params["backbone"], prompt.tokens, prompt.mask, tokens, cfg=cfg
    )
    num_prompts = len(prompt.tokens)
    before = jnp.repeat(of_prompt[:, -1], len(tokens) // num_prompts, axis=0)
    everything = jnp.ones_like(tokens)
    logits = judge_states(params, states, before, tokens, everything > 0, everything)
    return jax.nn.sigmoid(logits).reshape(num_prompts, -1, tokens.shape[-1])


def aggregate(scores: np.ndarray, how: str) -> np.ndarray:
    """One score for each chain, from those of its steps.

    Lightman et al. 2023 take the product, the chance that all steps are right; Wang et al. 2024 the
    minimum.

    Args:
      scores: float ``[..., S]``, NaN behind the last step.
      how: one of :data:`AGGREGATIONS`.

    Returns:
      float32 ``[...]``; 0 for a chain without steps.

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
    """The index of the first step below the threshold, int ``[...]``; -1 if none is.

    Args:
      scores: ``[..., S]``, NaN behind a chain's last step.
    """
    below = scores < threshold  # NaN is not
    return np.where(below.any(-1), below.argmax(-1), -1)


# ---- files


def save_reward_model(directory: str | Path, reward: RewardModel) -> None:
    """Writes ``reward_model.json``, ``head.safetensors`` and a model directory ``backbone/``."""
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
    """Loads a reward model.

    Args:
      name: a shipped one (``tiny-prm``, ``tiny-orm``), or a directory that
        :func:`save_reward_model` wrote.
      policy: whose chains it is to score; if given, :func:`check_matches` is asked.
      mesh: devices to spread it over; None is where the policy lies, if given.

    Raises:
      InputError: not found, damaged, or not made for the policy.
    """
    directory = find_reward_model(os.fspath(name))
    path = directory / "reward_model.json"
    kind = read_json(path).get("kind")
    if kind not in ("prm", "orm"):
        raise InputError(f"{str(path)!r}: kind is {kind!r}: expected 'prm' or 'orm'")
    mesh = mesh_of(policy.params) if mesh is None and policy is not None else mesh
    backbone = load_model(str(directory / "backbone"), "float32", mesh)
    file = directory / "head.safetensors"
    try:
        head = {name: jnp.asarray(x) for name, x in load_file(file).items()}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{str(file)!r} is missing or damaged ({one_line(error)})") from error
    shapes = {name: x.shape for name, x in head.items()}
    expected = {name: x.shape for name, x in init_verifier_head(backbone.cfg.hidden_size).items()}
    if shapes != expected:
        raise InputError(
            f"{str(file)!r} holds {shapes}: expected {expected}, for a backbone of width "
            f"{backbone.cfg.hidden_size}"
        )
    sha256 = digest([directory / "backbone" / "model.safetensors", file])
    reward = RewardModel(
        params={"backbone": backbone.params, "head": shard_params(head, mesh)},
        cfg=backbone.cfg,
        tokenizer=backbone.tokenizer,
        name=name,
        kind=kind,
        sha256=sha256,
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
            f"reward model {reward.name} has another tokenizer than {policy.name} "
            f"({len(reward.tokenizer)} and {len(policy.tokenizer)} tokens): "
            "expected one trained from this policy"
        )
    if reward.cfg.hidden_size != policy.cfg.hidden_size:
        raise InputError(
            f"reward model {reward.name} has width {reward.cfg.hidden_size}, and {policy.name} "
            f"{policy.cfg.hidden_size}: expected one trained from this policy"
        )
