"""The readable GRPO and the fast one take the same steps: tokens, rewards, losses and weights."""

import functools

import jax
import numpy as np
import optax
import pytest
from test_grpo import ANSWERS, TEXTS, rollout_of

from jaxreason import compile_stop
from jaxreason.models import decoder
from jaxreason.models.decoder import DecoderConfig
from jaxreason.models.tokens import pad_left
from jaxreason.training import grpo_minimal, token_rewards
from jaxreason.training.grpo import Objective
from jaxreason.training.grpo_device import Problems, encode_problems, make_grpo_step, run_steps
from jaxreason.training.loop import init_state

EOS, MARK, SIZE = 1, 2, 4  # so few tokens that chance writes right answers
CFG = DecoderConfig(SIZE, 16, 16, 1, 2, 2, 8, 64)
STEPS, PROBLEMS, CHAINS, LENGTH, UPDATES = 3, 4, 64, 6, 3
RATE, CLIP, BETA = 1e-2, 0.2, 0.04


class FewTokens:
    """A tokenizer of ids alone."""

    eos_token_id, added_tokens_decoder = EOS, {}

    class backend_tokenizer:
        decoder = "ByteLevel"

    def __len__(self):
        return SIZE

    def convert_ids_to_tokens(self, ids):
        return ["a" for _ in ids]

    def __call__(self, text, add_special_tokens):
        assert text == token_rewards.MARK and not add_special_tokens
        return type("Encoding", (), {"input_ids": [MARK]})


@pytest.fixture(scope="module")
def given():
    """Parameters, problems whose prompts differ in length, and when to stop."""
    params = decoder.init(jax.random.key(0), CFG)
    prompts = pad_left([np.arange(n, dtype=np.int32) % 2 + 2 for n in (1, 3, 2, 5, 1, 4)], 0)
    # Of 0 to 2 tokens.
    answers = np.array([[3, -1], [-1, -1], [3, 3], [3, -1], [-1, -1], [3, -1]], np.int32)
    return params, Problems(prompts, answers), compile_stop(FewTokens())


# What group_advantages may be: the module's own, and two mistakes.
KINDS = (
    grpo_minimal.group_advantages,
    lambda rewards: rewards - rewards.mean(-1, keepdims=True),  # no standard deviation
    lambda rewards: (rewards - rewards.mean()) / (rewards.std() + 1e-4),  # a mean over all chains
)


@pytest.fixture(scope="module")
def simple(given):
    """``(kind, clip, beta) -> (new parameters, history)``, all of them in one program."""
    params, problems, stop = given

    def train(kind, clip, beta):
        run = grpo_minimal.make_train(
            CFG,
            stop,
            problems.prompt,
            problems.answer,
            mark=MARK,
            eos=EOS,
            num_steps=STEPS,
            num_problems=PROBLEMS,
            num_samples=CHAINS,
            max_new_tokens=LENGTH,
            num_updates=UPDATES,
            learning_rate=RATE,
            clip=clip,
            beta=beta,
        )
        with pytest.MonkeyPatch.context() as patch:
            chosen = functools.partial(jax.lax.switch, kind, KINDS)
            patch.setattr(grpo_minimal, "group_advantages", chosen)
            return run(params, jax.random.key(7))

    jitted = jax.jit(train)
    return lambda kind=0, clip=CLIP, beta=BETA: jax.device_get(jitted(kind, clip, beta))


@pytest.fixture(scope="module")
def fast(given):
    """New parameters, metrics, and the tokens of every step."""
    params, problems, stop = given
    exact, written = token_rewards.exact_match(FewTokens()), []

    def reward(rollout, answer):
        jax.debug.callback(lambda x: written.append(np.array(x)), rollout.tokens, ordered=True)
        return exact(rollout, answer)

    tx = optax.adamw(RATE)
    step = make_grpo_step(
        cfg=CFG,
        objective=Objective(clip_low=CLIP, clip_high=CLIP, kl_coef=BETA),
        reference=jax.device_get(params),  # as on several devices
        tx=tx,
        stop=stop,
        reward_fn=reward,
        num_samples=CHAINS,
        max_new_tokens=LENGTH,
        epochs=UPDATES,
    )
    run = jax.jit(functools.partial(run_steps, step, num_steps=STEPS, size=PROBLEMS))
    state, metrics = jax.device_get(run(init_state(params, tx), problems, jax.random.key(7)))
    jax.effects_barrier()
    return state.params, metrics, np.stack(written)


def furthest(ours, theirs) -> float:
    """The largest difference of any weight."""
    apart = jax.tree.map(lambda a, b: np.abs(a - b).max(), ours, theirs)
    return max(jax.tree.leaves(apart))


def test_it_takes_the_steps_of_the_fast_one(given, simple, fast):
    params, history = simple()
    expected, metrics, written = fast
    np.testing.assert_array_equal(history.tokens, written)
    np.testing.assert_allclose(history.reward, metrics["reward"], rtol=1e-6)
    np.testing.assert_allclose(history.loss, metrics["loss"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(history.kl, metrics["kl"], rtol=1e-4, atol=1e-7)
    assert furthest(params, expected) < 2e-6
    # All of the loss took part.
    assert metrics["reward"].min() > 0 and metrics["clip_fraction"].min() > 0
    assert metrics["kl"].max() > 1e-3 and furthest(expected, given[0]) > 1e-2


MISTAKES = {
    "no standard deviation": {"kind": 1},
    "a mean over all chains": {"kind": 2},
    "another clip": {"clip": 0.19},
    "no KL term": {"beta": 0.0},
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_would_be_seen(name, simple, fast):
    params, _ = simple(**MISTAKES[name])
    assert furthest(params, fast[0]) > 1e-4


def test_its_reward_is_the_fast_one(tokenizer):
    """Of every text, whichever of five answers is the right one."""
    texts = sorted(
        {text.format(a=a + more) for text in TEXTS for a in [*ANSWERS, "12"] for more in ("", "0")}
    )
    said = [f" {answer}" for answer in ANSWERS] + [" 1234"]
    answers = encode_problems(tokenizer, ["Tom has"] * 5, said).answer
    written = rollout_of(tokenizer, texts, num_problems=5)
    short = written._replace(
        mask=written.mask & (np.arange(24) < 9),
        finished=~written.mask[..., 9] & written.finished,
    )
    [mark] = tokenizer(token_rewards.MARK, add_special_tokens=False).input_ids
    exact = jax.jit(token_rewards.exact_match(tokenizer))
    plain = jax.jit(grpo_minimal.exact_match, static_argnums=(3, 4))
    for rollout in (written, short):
        ours = plain(rollout.tokens, rollout.mask, answers, mark, tokenizer.eos_token_id)
        np.testing.assert_array_equal(ours, exact(rollout, answers))
    right = np.asarray(exact(written, answers)).sum(-1)
    assert (right[:4] >= 4).all() and (right < len(texts)).all()
