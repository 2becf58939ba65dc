"""Power sampling on models with so few chains that the probability of each is known."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_params
from scipy import special, stats

from jaxreason.decoding.power import Chains, log_acceptance, move, power_chains
from jaxreason.decoding.power_texts import complete_power
from jaxreason.decoding.sampling import Sampler
from jaxreason.decoding.stop import Stop, compile_stop
from jaxreason.errors import InputError
from jaxreason.models.decoder import DecoderConfig, forward
from jaxreason.models.hf import LanguageModel
from jaxreason.models.tokens import Prompt, pad_left

V, T, END = 5, 4, 1
ALPHA, ROWS, STEPS = 2.0, 1000, 3
CFG = DecoderConfig(
    vocab_size=V,
    hidden_size=8,
    intermediate_size=8,
    num_hidden_layers=1,
    num_attention_heads=1,
    num_key_value_heads=1,
    head_dim=8,
    max_position_embeddings=16,
)
PROMPT = np.array([2, 3], np.int32)
STOP = Stop(np.array([[int(token == END), 1] for token in range(V)], np.int32))
# A model in a table: the logits of token t by the token before it, [T, V, V]. END is rare at first:
# short chains keep p^alpha when it is not, and are seldom proposed, so many steps are needed.
TABLE = np.random.default_rng(2).normal(size=(T, V, V))
TABLE[:-1, :, END] -= 3


def logits_of_table(tokens):
    """``[R, T, V]`` before every token; before the first one as behind a 0."""
    before = np.pad(tokens[:, :-1], ((0, 0), (1, 0)))
    return TABLE[np.arange(tokens.shape[1]), before]


def logits_of_model(params, tokens):
    whole = np.concatenate([np.tile(PROMPT, (len(tokens), 1)), tokens], axis=1)
    positions = np.broadcast_to(np.arange(whole.shape[1]), whole.shape)
    logits, _ = jax.jit(forward, static_argnames="cfg")(params, whole, positions, cfg=CFG)
    return np.asarray(logits, np.float64)[:, len(PROMPT) - 1 : -1]


def all_chains(logits_of, length=T):
    """All chains of at most so many tokens, and log q of their tokens at temperature 1 / ALPHA."""
    rows = np.array(list(itertools.product(range(V), repeat=length)), np.int32)
    behind = np.cumsum(rows == END, axis=1) - (rows == END) > 0
    tokens = rows[~(behind & (rows != 0)).any(1)]
    mask = np.cumsum(tokens == END, axis=1) - (tokens == END) == 0
    log_p, log_q = (
        np.take_along_axis(special.log_softmax(x, axis=-1), tokens[..., None], -1)[..., 0] * mask
        for x in (logits_of(tokens), ALPHA * logits_of(tokens))
    )
    chains = Chains(
        tokens=tokens,
        length=mask.sum(1),
        finished=(tokens == END).any(1),
        logprob=log_p.sum(1),
        log_proposal=log_q.sum(1),
        num_drawn=mask.sum(1),
        num_accepted=0 * mask.sum(1),
    )
    return chains, log_q


def kernel(chains, log_q):
    """``[S, S]`` how probable a step is from each chain to each, added up over all places."""
    here = jax.tree.map(lambda x: x[:, None], chains)
    there = jax.tree.map(lambda x: x[None], chains)
    accepted = np.minimum(1, np.exp(np.asarray(log_acceptance(here, there, ALPHA), np.float64)))
    steps = np.zeros((len(log_q), len(log_q)))
    for start in range(chains.tokens.shape[1]):
        kept = (here.tokens[..., :start] == there.tokens[..., :start]).all(-1)
        possible = kept & (here.length > start) & (there.length > start)
        steps += possible / here.length * np.exp(log_q[:, start:].sum(1)) * accepted
    return steps + np.diag(1 - steps.sum(1))


def which(tokens, chains):
    """The place of each row among all chains."""
    place = {tuple(row): i for i, row in enumerate(chains.tokens.tolist())}
    return np.array([place[tuple(row)] for row in np.asarray(tokens).tolist()])


def p_value(places, probability):
    """Of the chi-square test; chains that are expected fewer than five times count as one."""
    drawn, expected = np.bincount(places, minlength=len(probability)), len(places) * probability
    often = expected >= 5
    drawn, expected = (np.append(x[often], x[~often].sum()) for x in (drawn, expected))
    return stats.chisquare(drawn, expected).pvalue


@jax.jit
def walk(keys, begun):
    """Chains of the table after 40 steps."""
    table, rows = jnp.asarray(TABLE, jnp.float32), jnp.arange(len(keys))

    def redraw(keys, chains, start):
        zero = jnp.zeros_like(chains.length)
        new = chains._replace(length=zero, logprob=0.0 * zero, log_proposal=0.0 * zero)
        before, alive = zero, zero == 0
        for t in range(T):
            logits = table[t, before]
            token = jax.vmap(jax.random.categorical)(
                jax.vmap(jax.random.fold_in, (0, None))(keys, t), ALPHA * logits
            )
            token = jnp.where(t < start, chains.tokens[:, t], token) * alive
            log_p, log_q = (
                jax.nn.log_softmax(x)[rows, token] * alive for x in (logits, ALPHA * logits)
            )
            new = new._replace(
                tokens=new.tokens.at[:, t].set(token),
                length=new.length + alive,
                logprob=new.logprob + log_p,
                log_proposal=new.log_proposal + log_q,
            )
            before, alive = token, alive & (token != END)
        return new._replace(finished=~alive)

    def step(n, chains):
        return move(redraw, jax.vmap(jax.random.fold_in, (0, None))(keys, n), chains, ALPHA)

    return jax.lax.fori_loop(0, 40, step, begun)


def test_p_to_the_alpha_is_what_steps_leave_as_it_is():
    """And as many chains go from x to y as from y to x."""
    chains, log_q = all_chains(logits_of_table)
    assert len(chains.tokens) == 341
    assert np.exp(chains.logprob).sum() == pytest.approx(1)
    assert np.exp(chains.log_proposal).sum() == pytest.approx(1)
    flow = special.softmax(ALPHA * chains.logprob)[:, None] * kernel(chains, log_q)
    np.testing.assert_allclose(flow, flow.T, rtol=1e-3, atol=1e-12)


def test_chains_of_the_table_are_distributed_as_p_to_the_alpha():
    """Ten seeds; the test can tell p^alpha from the low temperature."""
    chains, _ = all_chains(logits_of_table)
    target, cold = special.softmax(ALPHA * chains.logprob), np.exp(chains.log_proposal)
    keys = jnp.stack([jax.random.split(jax.random.key(seed), ROWS) for seed in range(10)])
    begun = jax.tree.map(lambda x: np.repeat(x[:1], 10 * ROWS, axis=0), chains)
    places = which(walk(keys.reshape(-1), begun).tokens, chains).reshape(10, ROWS)
    assert min(p_value(row, target) for row in places) > 0.01
    assert max(p_value(row, cold) for row in places) < 1e-6


@pytest.fixture(scope="module")
def toy():
    return random_params(CFG)


@pytest.fixture(scope="module")
def sample(toy):
    """``ROWS`` chains of the model that have taken so many steps at lengths 2 and 4."""
    prompt = Prompt(np.tile(PROMPT, (ROWS, 1)), np.ones((ROWS, len(PROMPT)), bool))

    def draw(keys, num_steps):
        chains = power_chains(
            toy,
            keys,
            prompt,
            STOP,
            cfg=CFG,
            alpha=ALPHA,
            proposal=Sampler(1 / ALPHA),
            block=2,
            num_steps=num_steps,
            max_new_tokens=T,
        )
        return jax.device_get(chains)

    return draw


def test_chains_of_a_model_are_as_probable_as_blocks_and_steps_make_them(toy, sample):
    """The exact probabilities after three steps at two tokens and three at four."""
    logits_of = functools.partial(logits_of_model, toy)
    (short, short_q), (chains, log_q) = (all_chains(logits_of, length) for length in (2, T))
    begun = (chains.tokens[None, :, :2] == short.tokens[:, None]).all(-1)  # [S2, S4]
    grown = begun * np.exp(log_q[:, 2:].sum(1))
    probability = np.exp(short.log_proposal)
    probability = probability @ np.linalg.matrix_power(kernel(short, short_q), STEPS) @ grown
    probability = probability @ np.linalg.matrix_power(kernel(chains, log_q), STEPS)
    keys = jax.random.split(jax.random.key(0), ROWS)
    moved, plain = (which(sample(keys, n).tokens, chains) for n in (STEPS, 0))
    assert p_value(moved, probability) > 0.01 and p_value(plain, probability) < 1e-6
    assert p_value(plain, np.exp(chains.log_proposal)) > 0.01


def test_what_chains_say_of_themselves(toy, sample):
    """Their logs are those of the full forward pass, their counts those of what was drawn, and none
    depends on its place in the batch.
    """
    keys = jax.random.split(jax.random.key(0), ROWS)
    plain, moved, turned = sample(keys, 0), sample(keys, STEPS), sample(keys[::-1], STEPS)
    chains, _ = all_chains(functools.partial(logits_of_model, toy))
    same = which(moved.tokens, chains)
    for name in ("length", "finished", "logprob", "log_proposal"):
        np.testing.assert_allclose(
            getattr(moved, name), getattr(chains, name)[same], rtol=1e-4, atol=1e-4
        )
    np.testing.assert_array_equal(plain.num_drawn, plain.length)
    assert not plain.num_accepted.any()
    assert (moved.num_drawn > 2 * STEPS).all() and (moved.num_accepted <= 2 * STEPS).all()
    np.testing.assert_array_equal(turned.tokens, moved.tokens[::-1])


def test_texts_are_those_of_the_chains_two_prompts_at_a_time(cfg, tokenizer):
    cfg = dataclasses.replace(cfg, num_hidden_layers=1)
    model = LanguageModel(random_params(cfg), cfg, tokenizer, "shallow", "")
    prompts, key = ["Tom has", "Tom has apples", "aab"], jax.random.key(0)
    options = {"alpha": ALPHA, "block": 4, "num_steps": 2, "max_new_tokens": 8}
    found = complete_power(model, key, prompts, rows=2, **options)
    encode, stop = model.tokenizer, compile_stop(model.tokenizer, (), model.eos_ids)
    for batch in ([0, 1], [2, 2]):
        chains = power_chains(
            model.params,
            jax.vmap(jax.random.fold_in, (None, 0))(key, np.array(batch)),
            pad_left([np.array(encode(prompts[g]).input_ids) for g in batch], 0),
            stop,
            cfg=model.cfg,
            proposal=Sampler(1 / ALPHA),
            **options,
        )
        for row, g in enumerate(batch):
            ids = np.asarray(chains.tokens[row, : chains.length[row]])
            assert found.texts[g] == encode.decode(ids, skip_special_tokens=True)
            assert found.num_tokens[g] == len(ids)
            assert found.logprobs[g] == chains.logprob[row]
            assert found.num_drawn[g] == chains.num_drawn[row]
            assert found.accepted[g] == chains.num_accepted[row] / 4


@pytest.mark.parametrize("bad", [{"alpha": 0.0}, {"block": 0}, {"temperature": 0.0}])
def test_numbers_out_of_range_are_named(model, bad):
    options = {"alpha": 4.0, "block": 4, "num_steps": 1, "max_new_tokens": 8} | bad
    with pytest.raises(InputError, match=f"{next(iter(bad))} "):
        complete_power(model, jax.random.key(0), ["Tom"], **options)
