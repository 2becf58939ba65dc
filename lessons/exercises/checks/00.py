"""Checks of lesson 00."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.course.exercises import expect, expect_close


def check_set_token(answers):
    tokens = jnp.arange(6).reshape(2, 3)
    found = answers.set_token(tokens, 1, 2, 9)
    expect_close(found, [[0, 1, 2], [3, 4, 9]], "[[0, 1, 2], [3, 4, 5]] with 9 in row 1, place 2")
    expect(isinstance(found, jax.Array), f"it gave a {type(found).__name__}, not a JAX array")
    try:
        found = jax.jit(answers.set_token)(tokens, 0, 1, 9)
    except jax.errors.JAXTypeError as error:
        name = type(error).__name__
        expect(False, f"inside of jax.jit it raised {name}: the place is a tracer there")
    expect_close(found, [[0, 9, 2], [3, 4, 5]], "the same in row 0, place 1, inside of jax.jit")


def check_draw_uniforms(answers):
    key = jax.random.key(7)
    expected = [float(jax.random.uniform(jax.random.fold_in(key, t))) for t in range(3)]
    found = answers.draw_uniforms(key, 3)
    expect(len(set(np.asarray(found).tolist())) > 1, f"three draws gave {found}: all are equal")
    expect_close(found, expected, "three draws with key 7")
    expect_close(answers.draw_uniforms(key, 2), expected[:2], "two draws with key 7")


def check_count_params(answers):
    params = {"embed": np.zeros((5, 4)), "layers": {"mlp": {"kernel": np.zeros((2, 4, 3))}}}
    found = answers.count_params(params)
    expect(found == 44, f"a [5, 4] and a [2, 4, 3] array in a nested dict: got {found}")
    found = answers.count_params({"scale": np.zeros(3), "bias": np.zeros(())})
    expect(found == 4, f"three numbers and a scalar: got {found}")


def check_discounted_returns(answers):
    for rewards, gamma, expected in (
        ([1.0, 2.0, 4.0], 0.5, [3.0, 4.0, 4.0]),
        ([0.0, 0.0, 1.0], 0.1, [0.01, 0.1, 1.0]),
    ):
        found = answers.discounted_returns(jnp.array(rewards), gamma)
        expect_close(found, expected, f"the returns of rewards {rewards} at gamma {gamma}")
    program = jax.make_jaxpr(lambda rewards: answers.discounted_returns(rewards, 0.9))(jnp.ones(50))
    steps = len(program.eqns)
    expect(steps < 25, f"for 50 rewards the program has {steps} operations: the loop was unrolled")
