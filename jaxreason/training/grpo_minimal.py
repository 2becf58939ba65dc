r"""GRPO in one file, from drawing problems to new weights: read it from top to bottom.

The loss is equation 3 of DeepSeekMath (Shao et al. 2024), which is equation 1 of DeepSeek-R1
(DeepSeek-AI 2025) but for the mean over a chain's tokens. A policy $\pi_{old}$ writes N chains
$o_1 .. o_N$ to one prompt. Chain i earns the reward $r_i$, 1 if its answer is right and 0 if not,
and its advantage is how much better that is than the others of its group:

$$A_i = \frac{r_i - \mathrm{mean}(r)}{\mathrm{std}(r)}.$$

With $\rho_{i,t} = \pi_\theta(o_{i,t}) / \pi_{old}(o_{i,t})$, what a token has become likelier by,

$$L = -\frac{1}{N} \sum_i \frac{1}{|o_i|} \sum_t \Big[
  \min\big(\rho_{i,t} A_i,\ \mathrm{clip}(\rho_{i,t}, 1 - \epsilon, 1 + \epsilon) A_i\big)
  - \beta D_{i,t} \Big], \qquad
D_{i,t} = \frac{\pi_{ref}}{\pi_\theta} - \log \frac{\pi_{ref}}{\pi_\theta} - 1.$$

$D$ estimates the KL divergence from the policy that training began with (equation 4). Two functions
come from elsewhere: ``generate`` samples chains, ``completion_logprobs`` reads them again.

``grpo_device.make_grpo_step`` computes the same, with the options that make it fast; a test
compares both, token for token and weight for weight.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxreason.decoding.logprobs import completion_logprobs
from jaxreason.decoding.rollout import generate
from jaxreason.decoding.sampling import Sampler
from jaxreason.decoding.stop import Stop
from jaxreason.models.decoder import DecoderConfig, Params
from jaxreason.models.tokens import Prompt


class History(NamedTuple):
    """What was seen at each of S steps."""

    tokens: jax.Array  # [S, B, N, T] int32, the chains, 0 after the end
    reward: jax.Array  # [S] float32, the mean over all chains
    loss: jax.Array  # [S] float32, the mean over a step's updates
    kl: jax.Array  # [S] float32, nats a token from the policy that training began with


def exact_match(
    tokens: jax.Array, mask: jax.Array, answer: jax.Array, mark: int, eos: int
) -> jax.Array:
    """1 where a chain ends with the mark, the answer and the end of text, else 0.

    Args:
      tokens, mask: ``[B, N, T]`` int32 and bool.
      answer: ``[B, A]`` int32, -1 behind the answer.
      mark, eos: the tokens that stand before and behind the answer.

    Returns:
      ``[B, N]`` float32.
    """
    lengths = (answer >= 0).sum(-1, keepdims=True)
    slots = jnp.arange(answer.shape[1] + 2)
    after_mark = jnp.pad(answer, ((0, 0), (1, 1)), constant_values=mark)
    expected = jnp.where(slots == lengths + 1, eos, after_mark)[:, None]  # [B, 1, A + 2]

    first = mask.sum(-1, keepdims=True) - (lengths + 2)[:, None]  # [B, N, 1], where it has to begin
    places = jnp.clip(first + slots, 0, tokens.shape[-1] - 1)
    said = jnp.take_along_axis(tokens, places, axis=-1)  # [B, N, A + 2]
    same = (said == expected) | (slots > lengths + 1)[:, None]
    return (same.all(-1) & (first[..., 0] >= 0)).astype(jnp.float32)


def group_advantages(rewards: jax.Array) -> jax.Array:
    """How many standard deviations a reward lies above the mean of its group, ``[B, N]``."""
    mean = rewards.mean(-1, keepdims=True)
    std = rewards.std(-1, keepdims=True)
    return (rewards - mean) / (std + 1e-4)


def grpo_loss(
    logprobs: jax.Array,
    old_logprobs: jax.Array,
    reference: jax.Array,
    advantages: jax.Array,
    mask: jax.Array,
    clip: float,
    beta: float,
) -> tuple[jax.Array, jax.Array]:
    """L of this module's head, and the mean of D over all tokens.

    Args:
      logprobs, old_logprobs, reference: ``[B, N, T]``, log-probabilities of the tokens by the
        policy, by the policy that wrote them, and by the one that training began with.
      advantages: ``[B, N]``.
      mask: bool ``[B, N, T]``, the tokens that were written.
      clip, beta: epsilon and beta.
    """
    ratio = jnp.exp(logprobs - old_logprobs)
    clipped = jnp.clip(ratio, 1 - clip, 1 + clip)
    gain = jnp.minimum(ratio * advantages[..., None], clipped * advantages[..., None])
    kl = jnp.exp(reference - logprobs) - (reference - logprobs) - 1
    per_token = jnp.where(mask, gain - beta * kl, 0.0)
    per_chain = per_token.sum(-1) / mask.sum(-1)
    return -per_chain.mean(), jnp.where(mask, kl, 0.0).sum() / mask.sum()


def make_train(
    cfg: DecoderConfig,
    stop: Stop,
    prompts: Prompt,
    answers: jax.Array,
    *,
    mark: int,
    eos: int,
    num_steps: int = 100,
    num_problems: int = 16,
    num_samples: int = 8,
    max_new_tokens: int = 64,
    num_updates: int = 2,
    learning_rate: float = 1e-3,
    clip: float = 0.2,
    beta: float = 0.04,
) -> Callable[[Params, jax.Array], tuple[Params, History]]:
    """``train(params, key) -> (params, history)``: all steps in one scan; to be jitted.

    Args:
      cfg: of the policy.
      stop: from ``compile_stop(tokenizer)``.
      prompts: ``[K, P]``, of all problems, as ``grpo_device.encode_problems`` makes them.
      answers: ``[K, A]`` int32, -1 behind the answer, from there too.
      mark, eos: the tokens before and behind an answer.
      num_steps, num_problems: a step takes the next so many problems, around and around.
      num_samples, max_new_tokens: N and T, of the chains.
      num_updates: how often a step learns from its chains. From the second on, ratios leave 1.
      learning_rate: of AdamW.
      clip, beta: epsilon and beta.
    """
    optimizer = optax.adamw(learning_rate)

    def train(params: Params, key: jax.Array) -> tuple[Params, History]:
        reference_params = params

        def step(carry, number):
            params, opt_state = carry

            # 1. Draw problems.
            rows = (number * num_problems + jnp.arange(num_problems)) % len(answers)
            prompt = Prompt(jnp.asarray(prompts.tokens)[rows], jnp.asarray(prompts.mask)[rows])
            answer = jnp.asarray(answers)[rows]

            # 2. Sample N chains from each prompt, at temperature 1.
            chains = generate(
                params,
                jax.random.fold_in(key, number),
                prompt,
                stop,
                cfg=cfg,
                sampler=Sampler(),
                max_new_tokens=max_new_tokens,
                num_samples=num_samples,
            )

            # 3. Reward them, and compare each with its group.
            rewards = exact_match(chains.tokens, chains.mask, answer, mark, eos)
            advantages = group_advantages(rewards)

            # 4. Learn from them, a few times.
            reference = completion_logprobs(reference_params, prompt, chains.tokens, cfg=cfg)

            def loss_fn(params):
                logprobs = completion_logprobs(params, prompt, chains.tokens, cfg=cfg)
                return grpo_loss(
                    logprobs, chains.logprobs, reference, advantages, chains.mask, clip, beta
                )

            def update(carry, _):
                params, opt_state = carry
                (loss, kl), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
                updates, opt_state = optimizer.update(grads, opt_state, params)
                return (optax.apply_updates(params, updates), opt_state), (loss, kl)

            carry, (losses, kls) = jax.lax.scan(update, (params, opt_state), None, num_updates)
            seen = History(
                tokens=chains.tokens, reward=rewards.mean(), loss=losses.mean(), kl=kls.mean()
            )
            return carry, seen

        start = (params, optimizer.init(params))
        (params, _), history = jax.lax.scan(step, start, jnp.arange(num_steps))
        return params, history

    return train
