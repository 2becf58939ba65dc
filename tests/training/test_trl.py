"""Every variant's advantages, loss and gradients are those of TRL's trainers (golden fixture of
tests/parity).
"""

import dataclasses
import functools
from pathlib import Path

import jax
import numpy as np
import pytest
from test_families import load, unpack

from jaxreason.decoding.logprobs import completion_logprobs
from jaxreason.models.families.llama import KEYS
from jaxreason.models.tokens import Prompt
from jaxreason.models.weights import get_path
from jaxreason.training.grpo import (
    CISPO,
    DAPO,
    DR_GRPO,
    GRPO,
    GSPO,
    RLOO,
    Objective,
    group_advantages,
    token_weights,
)
from jaxreason.training.grpo_batch import GroupBatch, batch_loss

VARIANTS = {
    "GRPO": GRPO,
    "DR_GRPO": DR_GRPO,
    "DAPO": DAPO,
    "GSPO": GSPO,
    "RLOO": RLOO,
    "CISPO": dataclasses.replace(CISPO, clip_high=0.2),  # near enough for tokens to be clipped
}


def loss_of(objective: Objective):
    """``(scores, batch) -> (loss, metrics)``, with the weights of the objective."""

    def loss_fn(scores, batch: GroupBatch):
        weights = token_weights(batch.mask, objective.average)
        return batch_loss(scores, batch._replace(weights=weights), objective=objective)

    return loss_fn


@functools.partial(jax.jit, static_argnames="cfg")
def loss_and_gradients(number, params, batch: GroupBatch, *, cfg):
    """Of the variant of that number: all are one program, as the model takes long to compile."""

    def loss_fn(params):
        scores = completion_logprobs(params, batch.prompt, batch.tokens, cfg=cfg, chunk=16)
        return jax.lax.switch(number, [*map(loss_of, VARIANTS.values())], scores, batch)

    return jax.value_and_grad(loss_fn, has_aux=True)(params)


def our_loss(name: str, params, cfg, fixed: dict[str, np.ndarray], advantages: np.ndarray):
    """Loss, metrics and the gradient of every parameter, by the names of transformers."""
    mask = fixed["mask"]
    batch = GroupBatch(
        prompt=Prompt(fixed["prompt"].astype(np.int32), fixed["prompt_mask"]),
        tokens=fixed["tokens"].astype(np.int32),
        mask=mask,
        logprobs=fixed["logprobs"],
        reference=fixed["reference"],
        advantages=np.broadcast_to(advantages[..., None], mask.shape),
        weights=None,
    )
    number = [*VARIANTS].index(name)
    (loss, metrics), gradients = loss_and_gradients(number, params, batch, cfg=cfg)
    named = {}
    for key, path in KEYS.items():
        try:
            gradient = np.asarray(get_path(gradients, path))
        except KeyError:
            continue
        layers = gradient if "{}" in key else [gradient]
        named |= {key.format(i): x.T if path[-1] == "kernel" else x for i, x in enumerate(layers)}
    return float(loss), metrics, named


def assert_equal_losses(name: str, ours, theirs) -> None:
    """Ours ``(loss, metrics, gradients)`` and theirs ``(loss, gradients)``, all of them that there
    are.
    """
    loss, metrics, gradients = ours
    expected, expected_gradients = theirs
    # TRL's RLOO has one ratio of the whole chain and sums over its tokens, ours one of each token
    # and a mean over the limit: where the policy drew the chains itself all ratios are 1, and the
    # gradients differ by the limit alone.
    scale = 6 if name == "RLOO" else 1
    if name == "RLOO":
        assert metrics["ratio_max"] == pytest.approx(1.0, abs=1e-4)
    else:
        assert loss == pytest.approx(expected, abs=1e-5)
        assert metrics["clip_fraction"] > 0.02
    for key, gradient in expected_gradients.items():
        np.testing.assert_allclose(
            scale * gradients[key], gradient, atol=1e-5, rtol=1e-5, err_msg=key
        )
    assert max(np.abs(gradient).max() for gradient in expected_gradients.values()) > 1e-2


def assert_equal_advantages(name: str, theirs: np.ndarray, rewards: np.ndarray) -> None:
    """The same, but that TRL's std has N - 1 for its denominator, where ours has N."""
    jitted = jax.jit(group_advantages, static_argnames="kind")
    ours = np.asarray(jitted(rewards, kind=VARIANTS[name].advantages))
    if VARIANTS[name].advantages == "standardised":
        ours = (
            ours
            * (rewards.std(1, keepdims=True) + 1e-4)
            / (rewards.std(1, ddof=1, keepdims=True) + 1e-4)
        )
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert np.abs(theirs).max() > 0.5


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(Path(__file__).parent / "trl.npz"))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    unpack("llama", folder)
    return load(folder)


@pytest.mark.parametrize("name", VARIANTS)
def test_advantages_are_trls(name, golden):
    assert_equal_advantages(name, golden[f"{name}/advantages"], golden["rewards"])


@pytest.mark.parametrize("name", VARIANTS)
def test_loss_and_gradients_are_trls(name, golden, llama):
    fixed = golden | ({"logprobs": golden["on_policy"]} if name == "RLOO" else {})
    gradients = {
        key.partition("/")[2]: x for key, x in golden.items() if key.startswith(f"{name}/model.")
    }
    assert len(gradients) == 3
    ours = our_loss(name, *llama, fixed, golden[f"{name}/advantages"])
    assert_equal_losses(name, ours, (golden[f"{name}/loss"], gradients))
