"""Against TRL's trainers themselves: advantages, losses, and the gradients of all parameters."""

import warnings

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from families import build
from test_families import load
from test_trl import VARIANTS, assert_equal_advantages, assert_equal_losses, our_loss

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of TRL and of what it imports
    from trl_losses import (
        LENGTH,
        NUM_SAMPLES,
        REWARDS,
        fixed_tensors,
        generated,
        make_trainer,
        on_policy,
        trl_loss,
    )

from jaxreason.decoding.logprobs import completion_logprobs
from jaxreason.decoding.rollout import Rollout
from jaxreason.models.tokens import Prompt
from jaxreason.training.grpo import RLOO
from jaxreason.training.grpo_batch import make_batch

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("seed", [1, 2])
def test_loss_and_gradients(name, seed, tmp_path):
    fixed = fixed_tensors(build("llama"), seed)
    if name == "RLOO":
        fixed = on_policy(build("llama"), fixed)
    loss, advantages, gradients = trl_loss(name, fixed, tmp_path)
    assert_equal_advantages(name, advantages, REWARDS)
    params, cfg = load(tmp_path / "model")
    assert len(gradients) == 20
    assert_equal_losses(
        name, our_loss(name, params, cfg, fixed._asdict(), advantages), (loss, gradients)
    )


def test_rloo_takes_the_kl_from_the_reward(tmp_path):
    """The advantages of chains that TRL drew, with a reference that is not the policy."""
    trainer = make_trainer("RLOO", tmp_path, beta=RLOO.kl_coef)
    with torch.no_grad():
        for parameter in trainer.ref_model.parameters():
            parameter.mul_(0.9)
    trainer.ref_model.save_pretrained(tmp_path / "reference")
    found = generated(trainer)
    tokens, mask, prompt, prompt_mask = (
        found[key].numpy()
        for key in ("completion_ids", "completion_mask", "prompt_ids", "prompt_mask")
    )
    shape = (len(tokens) // NUM_SAMPLES, NUM_SAMPLES, -1)
    tokens, mask = (
        jnp.asarray(tokens.reshape(shape), jnp.int32),
        jnp.asarray(mask.reshape(shape), bool),
    )
    prompt = Prompt(prompt[::NUM_SAMPLES].astype(np.int32), prompt_mask[::NUM_SAMPLES].astype(bool))
    (policy, cfg), (reference, _) = load(tmp_path / "model"), load(tmp_path / "reference")
    ours, theirs = (completion_logprobs(p, prompt, tokens, cfg=cfg) for p in (policy, reference))
    batch, _ = make_batch(
        prompt,
        Rollout(tokens, ours * mask, mask, mask[..., 0]),
        jnp.asarray(REWARDS),
        theirs,
        objective=RLOO,
        limit=LENGTH,
    )
    np.testing.assert_allclose(
        batch.advantages[..., 0], found["advantages"].numpy().reshape(REWARDS.shape), atol=1e-4
    )
    plain, _ = make_batch(
        prompt,
        Rollout(tokens, ours * mask, mask, mask[..., 0]),
        jnp.asarray(REWARDS),
        None,
        objective=RLOO,
    )
    assert np.abs(plain.advantages - batch.advantages).max() > 0.01
